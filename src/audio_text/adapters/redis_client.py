"""Connections to Redis, and what their failures mean to us."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from typing import Protocol, cast

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import EqualJitterBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from audio_text.errors import TransientError
from audio_text.settings import RedisSettings

ANSWER_SECONDS = 2.0
"""The longest anybody waits for Redis, retries included."""

RETRIES = 3
"""Refused or dropped connections are tried again for half a second to a second: a restart of Redis takes less."""

KEEPALIVE = {
    getattr(socket, option): value
    for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
    if hasattr(socket, option)
}
"""A peer that vanished without a word is noticed after half a minute, not after two hours (seconds, tries)."""


class _Pingable(Protocol):
    def ping(self) -> Awaitable[object]: ...


@asynccontextmanager
async def open_client(
    settings: RedisSettings,
    password: str,
    *,
    db: int,
    client_name: str,
    connections: int,
    answer_seconds: float = ANSWER_SECONDS,
) -> AsyncGenerator[Redis, None]:
    """A client with its own pool of at most so many connections; nothing is connected before the first command.

    A caller waits for a free connection instead of failing. `answer_seconds`: more than the longest blocking command.
    """
    pool = BlockingConnectionPool(
        max_connections=connections,
        timeout=answer_seconds,
        host=settings.host,
        port=settings.port,
        db=db,
        password=password or None,
        client_name=client_name,
        protocol=2,
        socket_connect_timeout=ANSWER_SECONDS,
        socket_timeout=answer_seconds,
        socket_keepalive=True,
        socket_keepalive_options=KEEPALIVE,
        # Only what certainly fails fast: a command that timed out has used up its caller's patience.
        retry=Retry(EqualJitterBackoff(cap=0.4, base=0.1), RETRIES, (RedisConnectionError,)),
    )
    async with Redis.from_pool(pool) as client:
        yield client


@asynccontextmanager
async def answering(error: type[TransientError], *, seconds: float = ANSWER_SECONDS) -> AsyncGenerator[None, None]:
    """Limit the time spent on Redis and turn all its failures into `error`."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (RedisError, OSError) as failure:  # the built-in TimeoutError is an OSError
        raise error from failure


async def ping(client: Redis) -> None:
    """Ask for a sign of life."""
    await cast("_Pingable", client).ping()
