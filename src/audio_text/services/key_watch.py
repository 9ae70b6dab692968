"""What was opened with a key ends with it, also long after the key was looked at."""

import asyncio
import random
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

import structlog

from audio_text.domain.access import Credential
from audio_text.errors import AudioTextError, UnauthorizedError
from audio_text.ports import KeyMatch, KeyRepository
from audio_text.services.known_keys import KnownKeys, require_valid

LEAST_SECONDS = 1.0
"""How far apart looks are at least, also where every call asks the database."""

AT_ONCE = 1_000
"""Credentials in one statement, some 50 KB of ids."""

log = structlog.get_logger(__name__)


class Standing:
    """Whether that holds with which some connections were opened."""

    def __init__(self) -> None:
        self.connections = 0
        self.match: KeyMatch | None = None
        """What was known of it last."""
        self._told = ""
        self._is_lost = asyncio.Event()

    @property
    def is_lost(self) -> bool:
        """Whether it holds no more."""
        return self._is_lost.is_set()

    def require_valid(self) -> None:
        """Raise UnauthorizedError where what is known says that it holds no more."""
        if self.match is None:
            raise UnauthorizedError("This key, or this secret of it, is not taken any more.")
        require_valid(self.match)

    def lose(self, told: str) -> None:
        """Have all connections end, and tell them why."""
        self._told = told
        self._is_lost.set()

    async def lost(self) -> NoReturn:
        """Wait until it holds no more: UnauthorizedError."""
        await self._is_lost.wait()
        raise UnauthorizedError(self._told)


class KeyWatch:
    """Looks at the keys of open connections again, all in one statement, however many connections each has.

    Looks are `seconds` apart, or less by chance, so that processes do not all look at once; a second, where that is
    less. While the database is away nothing ends but what was known to.
    """

    def __init__(self, keys: KeyRepository, *, known: KnownKeys, seconds: float) -> None:
        self._keys = keys
        self._known = known
        self._seconds = max(seconds, LEAST_SECONDS)
        self._open: dict[Credential, Standing] = {}
        self._sooner = asyncio.Event()

    @contextmanager
    def watched(self, credential: Credential) -> Generator[Standing]:
        """Watch over a connection while the body runs."""
        standing = self._open.setdefault(credential, Standing())
        standing.connections += 1
        try:
            yield standing
        finally:
            standing.connections -= 1
            if not standing.connections:
                del self._open[credential]

    def look_soon(self) -> None:
        """Have the next look now: a key has changed."""
        self._sooner.set()

    async def look_for_ever(self) -> None:
        """Look again and again."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._seconds * random.uniform(0.5, 1.0)):  # noqa: S311 -- nothing to guess here
                    await self._sooner.wait()
            self._sooner.clear()
            await self.look()

    async def look(self) -> None:
        """Look once at each."""
        credentials = [credential for credential, standing in self._open.items() if not standing.is_lost]
        for first in range(0, len(credentials), AT_ONCE):
            await self._look_at(credentials[first : first + AT_ONCE])

    async def _look_at(self, credentials: Sequence[Credential]) -> None:
        try:
            found = await self._keys.matches(credentials)
        except AudioTextError as error:  # whatever it is: it would take the process down
            log.warning("open_connections_not_looked_at", keys=len(credentials), reason=error.detail)
            found = None
        for credential in credentials:
            if (standing := self._open.get(credential)) is None:
                continue  # its connections are closed by now
            if found is not None:
                standing.match = found.get(credential)
            if found is not None or standing.match is not None:
                self._judge(credential, standing)

    def _judge(self, credential: Credential, standing: Standing) -> None:
        try:
            standing.require_valid()
        except UnauthorizedError as error:
            if credential.digest is not None:
                self._known.forget_secret(credential.digest)
            log.info("connections_end", key_id=credential.key_id, connections=standing.connections)
            standing.lose(error.detail)
