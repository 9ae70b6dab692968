"""What a process remembers of keys, so that a key in use costs no statement per call."""

import asyncio
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import TypeVar

import structlog

from audio_text.domain.access import ApiKey
from audio_text.errors import AudioTextError, UnauthorizedError
from audio_text.ports import KeyMatch, KeyRepository

MOST_KNOWN = 10_000
"""Keys that are remembered at once, about 1 KiB each; those that were not asked for the longest go first."""

MOST_UNKNOWN = 1_000
"""Digests of secrets that are nobody's: kept apart, so that whoever invents secrets pushes out no real key."""

USE_SECONDS = 60.0
"""How far apart the times are that a key was last used at, at least."""

WRITE_SECONDS = 1.0
"""Uses within so long are written in one statement."""

Value = TypeVar("Value")

log = structlog.get_logger(__name__)


class KnownKeys:
    """Keys by the digests of their secrets, each looked up again when it is older than `seconds`.

    Also what is known of their use, which `write_uses` keeps in the table, beside all calls and never in their way.
    """

    def __init__(self, keys: KeyRepository, *, seconds: float) -> None:
        self._keys = keys
        self._seconds = seconds
        self._known: OrderedDict[str, tuple[float, KeyMatch]] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._noted: OrderedDict[str, datetime] = OrderedDict()
        self._uses: OrderedDict[str, datetime] = OrderedDict()
        self._used = asyncio.Event()

    async def match(self, digest: str) -> KeyMatch | None:
        """The key that the digest belongs to, as it was at most `seconds` ago."""
        oldest = time.monotonic() - self._seconds
        read_at, match = self._known.get(digest, (0.0, None))
        if match is not None and read_at > oldest:
            self._known.move_to_end(digest)
            return match
        if self._unknown.get(digest, oldest) > oldest:
            return None
        return await self._look_up(digest)

    def remembers(self, digest: str) -> bool:
        """Whether the digest was some key's when it was last looked up, however long ago that is."""
        return digest in self._known

    async def _look_up(self, digest: str) -> KeyMatch | None:
        read_at = time.monotonic()  # before the statement, for what it reads may be as old
        match = await self._keys.match(digest)
        if match is None:
            _keep(self._unknown, digest, read_at, most=MOST_UNKNOWN)
        else:
            _keep(self._known, digest, (read_at, match), most=MOST_KNOWN)
        return match

    def forget(self, key_id: str) -> None:
        """Look the key up again when it comes next, whichever of its secrets comes."""
        for digest in [digest for digest, (_, match) in self._known.items() if match.key.id == key_id]:
            del self._known[digest]

    def forget_secret(self, digest: str) -> None:
        """Look this one up again when it comes next."""
        self._known.pop(digest, None)

    def note_use(self, key: ApiKey) -> None:
        """Remember that the key was used now, unless that is known of the last minute."""
        now = datetime.now(UTC)
        last = max(filter(None, (key.last_used_at, self._noted.get(key.id))), default=None)
        if last is None or (now - last).total_seconds() >= USE_SECONDS:
            _keep(self._noted, key.id, now, most=MOST_KNOWN)
            _keep(self._uses, key.id, now, most=MOST_KNOWN)
            self._used.set()

    async def write_uses(self) -> None:
        """Write down uses as they come, for ever."""
        while True:
            await self._used.wait()
            await asyncio.sleep(WRITE_SECONDS)
            await self.write_last_uses()

    async def write_last_uses(self) -> None:
        """Write down what is not written yet; it is dropped where that fails, for the next use is not far."""
        uses, self._uses = self._uses, OrderedDict()
        self._used.clear()
        if not uses:
            return
        try:
            await self._keys.mark_used(uses, apart_seconds=USE_SECONDS)
        except AudioTextError as error:  # whatever it is: it would take the process down
            log.warning("key_uses_not_written", keys=len(uses), reason=error.detail)


def require_valid(match: KeyMatch) -> None:
    """Raise UnauthorizedError for what holds no more. Only who has the secret learns why."""
    key, now = match.key, datetime.now(UTC)
    if key.revoked_at is not None:
        reason, told = "revoked", "This key was revoked: ask for another."
    elif key.expires_at is not None and key.expires_at <= now:
        reason, told = "expired", "This key has expired: ask for another."
    elif match.replaced_at is not None and match.replaced_at <= now:
        reason, told = "replaced", "This key has a new secret, and this one is not taken any more."
    else:
        return
    log.info("key_refused", reason=reason, key_id=key.id, prefix=key.prefix)
    raise UnauthorizedError(told)


def _keep(kept: OrderedDict[str, Value], name: str, value: Value, *, most: int) -> None:
    kept[name] = value
    kept.move_to_end(name)
    if len(kept) > most:
        kept.popitem(last=False)
