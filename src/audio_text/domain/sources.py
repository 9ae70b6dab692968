"""Where a recording may lie that is not in our store: on the web, or in a bucket."""

import re
from pathlib import PurePosixPath
from urllib.parse import unquote

import msgspec

from audio_text.domain.urls import LONGEST, WebUrl
from audio_text.errors import RemoteUrlError

_BUCKET_URL = re.compile(r"s3://([A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9])/([^\x00-\x1f\x7f]+)", re.IGNORECASE)
_SCHEME = re.compile(r"(https?|s3):", re.IGNORECASE)


class BucketObject(msgspec.Struct, frozen=True, kw_only=True):
    """An object of a bucket; its key is taken as it stands in the URL."""

    bucket: str
    key: str

    @classmethod
    def parse(cls, text: str) -> "BucketObject":
        """Read s3://bucket/key. Raises RemoteUrlError."""
        found = _BUCKET_URL.fullmatch(text) if len(text) <= LONGEST else None
        if found is None:
            raise RemoteUrlError("The address of an object has to be like s3://bucket/key.")
        return cls(bucket=found[1], key=found[2])

    @property
    def shown(self) -> str:
        """The URL, for everybody's eyes."""
        return f"s3://{self.bucket}/{self.key}"

    @property
    def name(self) -> str:
        """What the file is called there."""
        return PurePosixPath(self.key).name


Source = WebUrl | BucketObject


def source_of(text: str) -> Source | None:
    """What an address means; None for one that is neither https, http nor s3. Raises RemoteUrlError."""
    scheme = _SCHEME.match(text)
    if scheme is None:
        return None
    return BucketObject.parse(text) if scheme[1].lower() == "s3" else WebUrl.parse(text)


def name_of(url: WebUrl) -> str:
    """What the file behind a URL is called, by its path."""
    return PurePosixPath(unquote(url.path, errors="replace")).name
