"""A store in memory, for tests of services."""

import hashlib
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from urllib.parse import urlencode

import msgspec

from audio_text.domain.media import media_type
from audio_text.domain.multipart import MultipartUpload, in_words
from audio_text.domain.object_keys import key_behind
from audio_text.errors import (
    ChecksumMismatchError,
    ForeignUrlError,
    StoreUnavailableError,
    UploadIncompleteError,
    UploadLinkError,
    UploadMismatchError,
    UploadMissingError,
    UploadNotFoundError,
    UploadTooLargeError,
)
from audio_text.ports import StoredObject, UploadTarget

ADDRESS = "http://store.test/audio/"


class Link(msgspec.Struct, frozen=True):
    """What a URL that was handed out is good for."""

    key: str
    size_bytes: int
    content_type: str | None
    expires_at: datetime
    sha256: str | None = None
    part: int = 0


class FakeAudioStore:
    """An AudioStore of bytes; `put` puts an object there without a link, `is_down` makes everything fail.

    `written_at` is open to tests that need an object to be old, `declared` to those in which the SHA-256 of an object
    was not compared when it was uploaded.
    """

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.content_types: dict[str, str | None] = {}
        self.links: dict[str, Link] = {}
        self.parts: dict[str, dict[int, bytes]] = {}
        self.declared: dict[str, str] = {}
        self.is_down = False
        self.written_at: dict[str, datetime] = {}

    def put(self, key: str, data: bytes, content_type: str | None = None) -> str:
        """Store an object; returns a URL that `key_of` understands."""
        self.objects[key] = data
        self.content_types[key] = content_type
        self.written_at[key] = datetime.now(UTC)
        return f"{ADDRESS}{key}"

    def upload(self, url: str, data: bytes, content_type: str | None) -> None:
        """PUT to a URL that was handed out. Raises as the disk store's `receive` does."""
        self._answer()
        link = self.links.get(url)
        if link is None or datetime.now(UTC) >= link.expires_at:
            raise UploadLinkError
        if link.content_type and content_type != link.content_type:
            raise UploadMismatchError
        if len(data) > link.size_bytes:
            raise UploadTooLargeError
        if len(data) < link.size_bytes:
            raise UploadMismatchError
        if link.part:
            self._parts(link.key)[link.part] = data
            return
        _check_digest(data, link.sha256)
        self.put(link.key, data, content_type)

    async def prepare(self) -> None:
        self._answer()

    async def presign_upload(
        self, key: str, *, content_type: str | None, size_bytes: int, expires_seconds: int, sha256: str | None = None
    ) -> UploadTarget:
        expires_at = datetime.now(UTC) + timedelta(seconds=expires_seconds)
        return self._target(Link(key, size_bytes, media_type(content_type), expires_at, sha256))

    async def begin_multipart(
        self, key: str, *, content_type: str | None, size_bytes: int, sha256: str | None = None
    ) -> str:
        self._answer()
        self.parts[key] = {}
        return f"upload-{len(self.parts)}"

    async def presign_part(self, upload: MultipartUpload, number: int, *, expires_seconds: int) -> UploadTarget:
        expires_at = datetime.now(UTC) + timedelta(seconds=expires_seconds)
        return self._target(Link(upload.key, upload.size_of(number), None, expires_at, part=number))

    async def received_parts(self, upload: MultipartUpload) -> list[int]:
        self._answer()
        return sorted(self._parts(upload.key))

    async def complete_multipart(self, upload: MultipartUpload) -> None:
        self._answer()
        parts = self._parts(upload.key)
        if missing := upload.missing(parts):
            raise UploadIncompleteError(f"Parts of the upload are missing: {in_words(missing)}.")
        data = b"".join(parts[number] for number in sorted(parts))
        _check_digest(data, upload.sha256)
        self.put(upload.key, data)
        del self.parts[upload.key]

    async def abort_multipart(self, upload: MultipartUpload) -> None:
        self._answer()
        self.parts.pop(upload.key, None)

    async def write(self, key: str, *, content_type: str | None, body: AsyncIterator[bytes]) -> StoredObject:
        self._answer()
        self.put(key, b"".join([piece async for piece in body]), media_type(content_type))
        return await self.stat(key)

    def url_of(self, key: str) -> str:
        return f"{ADDRESS}{key}"

    def key_of(self, url: str) -> str:
        key = key_behind(url, [ADDRESS])
        if key is None:
            raise ForeignUrlError
        return key

    async def stat(self, key: str) -> StoredObject:
        return StoredObject(key=key, size_bytes=len(self._object(key)), content_type=self.content_types.get(key))

    async def read_range(self, key: str, start: int, length: int) -> bytes:
        return self._object(key)[start : start + max(0, length)]

    @asynccontextmanager
    async def fetch(self, key: str) -> AsyncGenerator[Path, None]:
        data = self._object(key)
        _check_digest(data, self.declared.get(key))
        with tempfile.NamedTemporaryFile(suffix=PurePosixPath(key).suffix) as file:
            file.write(data)
            file.flush()
            yield Path(file.name)

    async def delete(self, key: str) -> None:
        self._answer()
        self.objects.pop(key, None)
        self.written_at.pop(key, None)

    async def list_older(self, *, seconds: float) -> AsyncGenerator[list[str], None]:
        self._answer()
        oldest = datetime.now(UTC) - timedelta(seconds=seconds)
        for key in [key for key, written_at in self.written_at.items() if written_at < oldest]:
            yield [key]

    async def remove_abandoned(self) -> int:
        self._answer()
        return 0

    async def check(self) -> None:
        self._answer()

    def _target(self, link: Link) -> UploadTarget:
        query = urlencode({"expires": link.expires_at.timestamp(), "signature": len(self.links)})
        url = f"{ADDRESS}{link.key}?{query}"
        self.links[url] = link
        headers = {"Content-Type": link.content_type} if link.content_type else {}
        return UploadTarget(url=url, headers=headers, expires_at=link.expires_at)

    def _parts(self, key: str) -> dict[int, bytes]:
        if key not in self.parts:
            raise UploadNotFoundError
        return self.parts[key]

    def _object(self, key: str) -> bytes:
        self._answer()
        if key not in self.objects:
            raise UploadMissingError
        return self.objects[key]

    def _answer(self) -> None:
        if self.is_down:
            raise StoreUnavailableError


def _check_digest(data: bytes, declared: str | None) -> None:
    if declared and hashlib.sha256(data).hexdigest() != declared:
        raise ChecksumMismatchError
