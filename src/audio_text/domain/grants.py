"""Upload links that we sign ourselves: what they allow, and how it is written into a URL."""

import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import urlencode

import msgspec

from audio_text.errors import ConfigurationError, UploadLinkError


class UploadGrant(msgspec.Struct, frozen=True, kw_only=True):
    """The right to PUT exactly these many bytes of this type (empty: any) under this key, until `expires`.

    `expires` is Unix time in seconds.
    """

    key: str
    size_bytes: int
    content_type: str
    expires: int

    def query(self, signing_key: bytes) -> str:
        """The query of the link, without its question mark. Raises ConfigurationError for an empty key."""
        return urlencode(
            {
                "expires": self.expires,
                "size": self.size_bytes,
                "type": self.content_type,
                "signature": self._signature(signing_key),
            }
        )

    @classmethod
    def from_query(cls, key: str, query: Mapping[str, str], *, signing_key: bytes, now: float) -> "UploadGrant":
        """Read a grant back. Raises UploadLinkError unless we signed it, for this key, and it still holds."""
        try:
            grant = cls(
                key=key,
                size_bytes=int(query["size"]),
                content_type=query.get("type", ""),
                expires=int(query["expires"]),
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
        text = "\n".join(("PUT", self.key, str(self.size_bytes), self.content_type, str(self.expires)))
        return hmac.new(signing_key, text.encode(errors="backslashreplace"), hashlib.sha256).hexdigest()
