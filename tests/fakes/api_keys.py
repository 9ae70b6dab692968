"""Keys and tickets, in memory."""

import time
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace

from audio_text.domain.access import ApiKey, Caller, Credential
from audio_text.domain.owners import EVERYBODY, Whose, is_of
from audio_text.errors import AudioTextError, DatabaseUnavailableError, KeyNotFoundError, TicketsUnavailableError
from audio_text.ports import KeyMatch


class FakeKeyRepository:
    """The table of keys. `looks` counts look-ups of digests; `asked_for` is how many each `matches` asked for.

    `is_down`: no answer; `is_broken`: no.
    """

    def __init__(self) -> None:
        self.looks = 0
        self.asked_for: list[int] = []
        self.is_down = False
        self.is_broken = False
        self._keys: dict[str, ApiKey] = {}
        self._digests: dict[str, str] = {}
        self._previous: dict[str, tuple[str, datetime]] = {}

    async def add(self, key: ApiKey, *, digest: str) -> None:
        self._answer()
        self._keys[key.id] = key
        self._digests[key.id] = digest

    async def match(self, digest: str) -> KeyMatch | None:
        self._answer()
        self.looks += 1
        for key_id, key in self._keys.items():
            if self._digests[key_id] == digest:
                return KeyMatch(key=key)
            previous, replaced_at = self._previous.get(key_id, (None, None))
            if previous == digest:
                return KeyMatch(key=key, replaced_at=replaced_at)
        return None

    async def matches(self, credentials: Collection[Credential]) -> dict[Credential, KeyMatch]:
        self._answer()
        self.asked_for.append(len(credentials))
        found: dict[Credential, KeyMatch] = {}
        for each in credentials:
            if key := self._keys.get(each.key_id):
                previous, replaced_at = self._previous.get(each.key_id, (None, None))
                if each.digest in {None, self._digests[each.key_id]}:
                    found[each] = KeyMatch(key=key)
                elif each.digest == previous:
                    found[each] = KeyMatch(key=key, replaced_at=replaced_at)
        return found

    async def get(self, key_id: str) -> ApiKey:
        self._answer()
        if key_id not in self._keys:
            raise KeyNotFoundError
        return self._keys[key_id]

    async def find(
        self, *, owner: Whose = EVERYBODY, limit: int, before: tuple[datetime, str] | None = None
    ) -> list[ApiKey]:
        self._answer()
        keys = sorted(self._keys.values(), key=_place, reverse=True)
        wanted = (key for key in keys if is_of(key.owner, owner) and (before is None or _place(key) < before))
        return list(wanted)[:limit]

    async def revoke(self, key_id: str) -> ApiKey:
        key = await self.get(key_id)
        self._keys[key_id] = replace(key, revoked_at=key.revoked_at or datetime.now(UTC))
        return self._keys[key_id]

    async def rotate(self, key_id: str, *, prefix: str, digest: str, overlap_seconds: float) -> ApiKey | None:
        self._answer()
        key, now = self._keys.get(key_id), datetime.now(UTC)
        if key is None or key.revoked_at or (key.expires_at and key.expires_at <= now):
            return None
        self._previous[key_id] = self._digests[key_id], now + timedelta(seconds=overlap_seconds)
        self._digests[key_id] = digest
        self._keys[key_id] = replace(key, prefix=prefix)
        return self._keys[key_id]

    async def mark_used(self, uses: Mapping[str, datetime], *, apart_seconds: float) -> None:
        self._answer()
        for key_id, date in uses.items():
            key = self._keys.get(key_id)
            if key and (key.last_used_at is None or (date - key.last_used_at).total_seconds() >= apart_seconds):
                self._keys[key_id] = replace(key, last_used_at=date)

    def _answer(self) -> None:
        if self.is_down:
            raise DatabaseUnavailableError
        if self.is_broken:
            raise AudioTextError


class FakeTickets:
    """Tickets; `is_down` makes everything fail."""

    def __init__(self) -> None:
        self.kept: dict[str, tuple[Caller, float]] = {}
        self.is_down = False

    async def keep(self, digest: str, caller: Caller, *, seconds: float) -> None:
        self._answer()
        self.kept[digest] = caller, time.monotonic() + seconds

    async def take(self, digest: str) -> Caller | None:
        self._answer()
        caller, until = self.kept.pop(digest, (None, 0.0))
        return caller if until > time.monotonic() else None

    def _answer(self) -> None:
        if self.is_down:
            raise TicketsUnavailableError


def _place(key: ApiKey) -> tuple[datetime, str]:
    return key.created_at, key.id
