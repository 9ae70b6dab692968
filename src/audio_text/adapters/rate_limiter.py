"""Rates of requests in Redis: moving windows that all API processes share, by the library `limits`.

Each window is a list of times under one key, and one script looks at it and adds to it, so that processes which ask at
the same moment are told apart. Times are those of the asking machine: its clock has to be right within a second or so.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

from limits import RateLimitItem, RateLimitItemPerSecond
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis

from audio_text.adapters.event_log import PREFIX
from audio_text.adapters.redis_client import answering, open_client
from audio_text.domain.usage import Hit, Rate, Window
from audio_text.errors import LimitsUnavailableError
from audio_text.settings import RedisSettings

CONNECTIONS = 8
"""Shared by all requests of a process; each command holds one for less than a millisecond."""

ANSWER_SECONDS = 0.5
"""What a request waits at most to be counted: less than a client notices, more than a busy Redis takes."""


class RedisRateLimiter:
    """The port `RateLimiter`. A request that one window refuses is still in those before it."""

    def __init__(self, client: Redis) -> None:
        options: dict[str, Any] = {"connection_pool": cast("Any", client.connection_pool)}
        # The address goes unused beside a pool, but its scheme names the kind of server.
        storage = RedisStorage("async+redis://", implementation="redispy", key_prefix=f"{PREFIX}:rate", **options)
        self._windows = MovingWindowRateLimiter(storage)

    async def hit(self, who: str, rates: Sequence[Rate]) -> Hit:
        """Count a request, if it is within every rate."""
        async with answering(LimitsUnavailableError, seconds=ANSWER_SECONDS):
            is_within = True
            for rate in rates:
                is_within = is_within and await self._windows.hit(_item(rate), who)
            return Hit(is_within, await self._look(who, rates))

    async def look(self, who: str, rates: Sequence[Rate]) -> tuple[Window, ...]:
        """Tell how each rate stands."""
        async with answering(LimitsUnavailableError, seconds=ANSWER_SECONDS):
            return await self._look(who, rates)

    async def _look(self, who: str, rates: Sequence[Rate]) -> tuple[Window, ...]:
        return tuple(await asyncio.gather(*(self._window(who, rate) for rate in rates)))

    async def _window(self, who: str, rate: Rate) -> Window:
        stats = await self._windows.get_window_stats(_item(rate), who)
        seconds = stats.reset_time - time.time() if stats.remaining < rate.limit else 0.0
        return Window(rate, remaining=max(0, stats.remaining), reset_seconds=min(max(0.0, seconds), rate.seconds))


@asynccontextmanager
async def open_rate_limiter(
    settings: RedisSettings, password: str, *, client_name: str
) -> AsyncGenerator[RedisRateLimiter]:
    """Open it for one process; Redis need not be up."""
    async with open_client(
        settings, password, db=settings.events_db, client_name=client_name, connections=CONNECTIONS
    ) as client:
        yield RedisRateLimiter(client)


def _item(rate: Rate) -> RateLimitItem:
    return RateLimitItemPerSecond(rate.limit, rate.seconds)
