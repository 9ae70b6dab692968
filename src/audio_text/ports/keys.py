"""API keys."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol

import msgspec

from audio_text.domain.access import ApiKey, Credential
from audio_text.domain.owners import EVERYBODY, Whose


class KeyMatch(msgspec.Struct, frozen=True, kw_only=True):
    """A key that a secret belongs to. `replaced_at`: from then on the secret, which has a successor, holds no more."""

    key: ApiKey
    replaced_at: datetime | None = None


class KeyRepository(Protocol):
    """The table of keys. It knows SHA-256s of secrets (hexadecimal), and no secret. Raises DatabaseUnavailableError."""

    async def add(self, key: ApiKey, *, digest: str) -> None:
        """Store a new key, committed when this returns."""
        ...

    async def match(self, digest: str) -> KeyMatch | None:
        """The key whose secret, or its last one before a rotation, has this digest; revoked or expired ones, too."""
        ...

    async def matches(self, credentials: Collection[Credential]) -> dict[Credential, KeyMatch]:
        """The same of many at once; those that are no key's any more are left out."""
        ...

    async def get(self, key_id: str) -> ApiKey:
        """Read one. Raises KeyNotFoundError."""
        ...

    async def find(
        self, *, owner: Whose = EVERYBODY, limit: int, before: tuple[datetime, str] | None = None
    ) -> list[ApiKey]:
        """Keys, newest first (created_at, then id), strictly earlier than `before`."""
        ...

    async def revoke(self, key_id: str) -> ApiKey:
        """Note that it holds no more, once and for all; the key as it stands then. Raises KeyNotFoundError."""
        ...

    async def rotate(self, key_id: str, *, prefix: str, digest: str, overlap_seconds: float) -> ApiKey | None:
        """Give it a new secret; the one it had holds for so long still, and an earlier one no more.

        None, and nothing changed, when there is no such key, or it is revoked or expired.
        """
        ...

    async def mark_used(self, uses: Mapping[str, datetime], *, apart_seconds: float) -> None:
        """Note when keys were last used, by id, where what is known is older by `apart_seconds` or more."""
        ...
