"""Tickets in Redis: keys that vanish by themselves, and go to whoever takes them first."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

import msgspec
from redis.asyncio import Redis

from audio_text.adapters.event_log import PREFIX
from audio_text.adapters.redis_client import answering, open_client
from audio_text.domain.access import Caller
from audio_text.errors import TicketsUnavailableError
from audio_text.settings import RedisSettings

CONNECTIONS = 4
"""Shared by all requests of a process; each command holds one for less than a millisecond."""


class RedisTickets:
    """The port `Tickets`. A restart of Redis that forgets them costs their holders a second request."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def keep(self, digest: str, caller: Caller, *, seconds: float) -> None:
        """Remember whose ticket it is."""
        async with answering(TicketsUnavailableError):
            await self._client.set(_name(digest), msgspec.json.encode(caller), px=round(seconds * 1_000))

    async def take(self, digest: str) -> Caller | None:
        """Read and remove in one command."""
        async with answering(TicketsUnavailableError):
            found = cast("bytes | None", await self._client.getdel(_name(digest)))
        return None if found is None else msgspec.json.decode(found, type=Caller)


@asynccontextmanager
async def open_tickets(settings: RedisSettings, password: str, *, client_name: str) -> AsyncGenerator[RedisTickets]:
    """Open them for one process; Redis need not be up."""
    async with open_client(
        settings, password, db=settings.events_db, client_name=client_name, connections=CONNECTIONS
    ) as client:
        yield RedisTickets(client)


def _name(digest: str) -> str:
    return f"{PREFIX}:ticket:{digest}"
