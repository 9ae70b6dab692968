"""Who waits with an open request, in Redis: keys that vanish by themselves."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from redis.asyncio import Redis

from audio_text.adapters.event_log import PREFIX
from audio_text.adapters.redis_client import answering, open_client
from audio_text.errors import EventsUnavailableError
from audio_text.settings import RedisSettings

CONNECTIONS = 4
"""Shared by all requests of a process; each command holds one for less than a millisecond."""


class RedisWaiters:
    """Waiters that the API processes of one Redis share. What it loses costs some work, never a result."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def stay(self, job_id: str, *, seconds: float) -> None:
        """Say that somebody waits for the job, now and for so long."""
        async with answering(EventsUnavailableError):
            await self._client.set(_waiting(job_id), "", px=round(seconds * 1_000))

    async def is_anybody_there(self, job_id: str) -> bool:
        """Whether somebody said so, and the time is not over."""
        async with answering(EventsUnavailableError):
            return bool(await self._client.exists(_waiting(job_id)))


@asynccontextmanager
async def open_waiters(settings: RedisSettings, password: str, *, client_name: str) -> AsyncGenerator[RedisWaiters]:
    """Open them for one process; Redis need not be up."""
    async with open_client(
        settings, password, db=settings.events_db, client_name=client_name, connections=CONNECTIONS
    ) as client:
        yield RedisWaiters(client)


def _waiting(job_id: str) -> str:
    return f"{PREFIX}:waiting:{job_id}"
