"""Upload links that we sign ourselves: what they allow, and how it is written into a URL."""

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec

from audio_text.errors import ConfigurationError, UploadLinkError


class UploadGrant(msgspec.Struct, frozen=True, kw_only=True):
    """The right to PUT exactly these many bytes of this type (empty: any) under this key, until `expires`.

    `expires` is Unix time in seconds; `sha256` is what the bytes must have, in hexadecimal (empty: any). With a `part`,
    counted from 1, they are that part of a larger file, from `offset` on.
    """

    key: str
    size_bytes: int
    expires: int
    content_type: str = ""
    sha256: str = ""
    part: int = 0
    offset: int = 0

    def query(self, signing_key: bytes) -> str:
        """The query of the link, without its question mark. Raises ConfigurationError for an empty key."""
        fields = {
            "expires": self.expires,
            "size": self.size_bytes,
            "type": self.content_type,
            "sha256": self.sha256,
            "part": self.part,
            "offset": self.offset,
            "signature": self._signature(signing_key),
        }
        return urlencode({name: value for name, value in fields.items() if value})

    @classmethod
    def from_query(cls, key: str, query: Mapping[str, str], *, signing_key: bytes, now: float) -> "UploadGrant":
        """Read a grant back. Raises UploadLinkError unless we signed it, for this key, and it still holds."""
        try:
            grant = cls(
                key=key,
                size_bytes=int(query["size"]),
                expires=int(query["expires"]),
                content_type=query.get("type", ""),
                sha256=query.get("sha256", ""),
                part=int(query.get("part", 0)),
                offset=int(query.get("offset", 0)),
            )
            signature = query["signature"].encode()
        except (KeyError, ValueError) as error:
            raise UploadLinkError from error
        if not hmac.compare_digest(grant._signature(signing_key).encode(), signature) or now >= grant.expires:
            raise UploadLinkError
        return grant

    def _signature(self, signing_key: bytes) -> str:
        """HMAC-SHA256 over all of it, in hexadecimal."""
        if not signing_key:
            raise ConfigurationError("AUDIO_TEXT_DISK_SIGNING_KEY is not set: upload links cannot be signed.")
        facts = (self.key, self.size_bytes, self.expires, self.content_type, self.sha256, self.part, self.offset)
        text = "\n".join(("PUT", *map(str, facts)))
        return hmac.new(signing_key, text.encode(errors="backslashreplace"), hashlib.sha256).hexdigest()
