"""Connections to Redis, and what their failures mean to us."""

import asyncio
import random
import socket
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Protocol, cast

from redis.asyncio import BlockingConnectionPool, ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import EqualJitterBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from audio_text.errors import TransientError
from audio_text.settings import RedisSettings

ANSWER_SECONDS = 2.0
"""The longest anybody waits for Redis, retries included."""

RETRIES = 3
"""Refused or dropped connections are tried again for half a second to a second: a restart of Redis takes less."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 2.0
"""Before a reader comes back after one lost connection, and after many in a row."""

KEEPALIVE = {
    getattr(socket, option): value
    for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))
    if hasattr(socket, option)
}
"""A peer that vanished without a word is noticed after half a minute, not after two hours (seconds, tries)."""


class _Annotated(Protocol):
    """What redis-py leaves without annotations."""

    def ping(self) -> Awaitable[object]: ...

    def info(self, section: str) -> Awaitable[dict[str, str]]: ...


@asynccontextmanager
async def open_client(
    settings: RedisSettings, password: str, *, db: int, client_name: str, connections: int
) -> AsyncGenerator[Redis, None]:
    """A client with its own pool of at most so many connections; nothing is connected before the first command.

    A caller waits for a free connection instead of failing.
    """
    # Only what certainly fails fast is tried again: a command that timed out has used up its caller's patience.
    retry = Retry(EqualJitterBackoff(cap=0.4, base=0.1), RETRIES, (RedisConnectionError,))
    pool = BlockingConnectionPool(
        max_connections=connections,
        timeout=ANSWER_SECONDS,
        retry=retry,
        **_address(settings, password, db=db, client_name=client_name),
    )
    async with Redis.from_pool(pool) as client:
        yield client


@asynccontextmanager
async def open_blocking_client(
    settings: RedisSettings, password: str, *, db: int, client_name: str
) -> AsyncGenerator[Redis, None]:
    """A client of one connection, for commands that block. A lost connection is an error, never silently replaced."""
    pool = ConnectionPool(retry=Retry(NoBackoff(), 0), **_address(settings, password, db=db, client_name=client_name))
    client = Redis(connection_pool=pool, single_connection_client=True)
    try:
        yield client
    finally:
        await client.aclose(close_connection_pool=True)


def _address(settings: RedisSettings, password: str, *, db: int, client_name: str) -> dict[str, Any]:
    return {
        "host": settings.host,
        "port": settings.port,
        "db": db,
        "password": password or None,
        "client_name": client_name,
        "protocol": 2,
        "socket_connect_timeout": ANSWER_SECONDS,
        # `answering` limits every wait; redis-py's own limit sits on asyncio.wait_for, which on Python 3.11 can
        # swallow a cancellation, and costs a task per command.
        "socket_timeout": None,
        "socket_keepalive": True,
        "socket_keepalive_options": KEEPALIVE,
    }


@asynccontextmanager
async def answering(error: type[TransientError], *, seconds: float = ANSWER_SECONDS) -> AsyncGenerator[None, None]:
    """Limit the time spent on Redis and turn all its failures into `error`."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except (RedisError, OSError) as failure:  # the built-in TimeoutError is an OSError
        raise error from failure


def pause_seconds(failures: int) -> float:
    """How long to wait after so many failures in a row."""
    longest = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(failures, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 -- only so that processes do not come back all at once


async def ping(client: Redis) -> None:
    """Ask for a sign of life."""
    await cast("_Annotated", client).ping()


async def run_id(client: Redis) -> str:
    """Which run of the server answers: it changes with a restart and with a fail-over."""
    return (await cast("_Annotated", client).info("server"))["run_id"]
