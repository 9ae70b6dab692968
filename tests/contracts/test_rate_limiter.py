"""Rates of requests: in Redis, and in the fake that stands in for it elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from audio_text.adapters.rate_limiter import open_rate_limiter
from audio_text.domain.usage import Rate
from audio_text.errors import LimitsUnavailableError
from audio_text.ports import RateLimiter
from fakes.limiter import FakeRateLimiter
from services.redis import RedisServer

MINUTE, HOUR = Rate(3, 60), Rate(5, 3_600)


@pytest.fixture
def who() -> str:
    return f"key:{uuid4()}"


class RateLimiterContract:
    async def test_so_many_requests_are_within_a_rate_and_no_more(self, limiter: RateLimiter, who: str) -> None:
        hits = [await limiter.hit(who, [MINUTE]) for _ in range(5)]
        assert [hit.is_within for hit in hits] == [True, True, True, False, False]
        assert [hit.tightest.remaining for hit in hits] == [2, 1, 0, 0, 0]
        assert all(0 < hit.tightest.reset_seconds <= 60 for hit in hits)

    async def test_a_request_has_to_be_within_every_rate(self, limiter: RateLimiter, who: str) -> None:
        rates = [Rate(9, 60), Rate(2, 3_600)]
        hits = [await limiter.hit(who, rates) for _ in range(3)]
        assert [hit.is_within for hit in hits] == [True, True, False]
        assert hits[-1].tightest.rate == rates[1]

    async def test_what_a_short_window_refuses_does_not_count_in_a_longer_one(
        self, limiter: RateLimiter, who: str
    ) -> None:
        for _ in range(9):
            await limiter.hit(who, [MINUTE, HOUR])
        assert [window.remaining for window in await limiter.look(who, [MINUTE, HOUR])] == [0, 2]

    async def test_everybody_is_counted_alone(self, limiter: RateLimiter, who: str) -> None:
        for _ in range(4):
            await limiter.hit(who, [MINUTE])
        assert (await limiter.hit(f"{who}0", [MINUTE])).is_within

    async def test_a_look_counts_nothing(self, limiter: RateLimiter, who: str) -> None:
        [before] = await limiter.look(who, [MINUTE])
        assert (before.remaining, before.reset_seconds) == (3, 0)
        await limiter.hit(who, [MINUTE])
        assert [(await limiter.look(who, [MINUTE]))[0].remaining for _ in range(4)] == [2] * 4

    async def test_there_is_room_again_when_a_request_is_old_enough(self, limiter: RateLimiter, who: str) -> None:
        rate = Rate(1, 1)
        assert (await limiter.hit(who, [rate])).is_within
        while not (hit := await limiter.hit(who, [rate])).is_within:
            assert 0 <= hit.tightest.reset_seconds <= 1
            await asyncio.sleep(0.05)

    async def test_of_many_at_once_exactly_as_many_are_within_the_rate(self, limiter: RateLimiter, who: str) -> None:
        hits = await asyncio.gather(*(limiter.hit(who, [Rate(10, 60), Rate(7, 3_600)]) for _ in range(40)))
        assert sum(hit.is_within for hit in hits) == 7


class TestFakeRateLimiter(RateLimiterContract):
    @pytest.fixture
    def limiter(self) -> RateLimiter:
        return FakeRateLimiter()


class TestRedisRateLimiter(RateLimiterContract):
    @pytest.fixture
    async def limiter(self, redis_server: RedisServer) -> AsyncIterator[RateLimiter]:
        async with open_rate_limiter(redis_server.settings, redis_server.password, client_name="test") as limiter:
            yield limiter

    async def test_without_redis_it_says_so_and_counts_again_when_it_is_back(
        self, redis_server: RedisServer, limiter: RateLimiter, who: str
    ) -> None:
        assert (await limiter.hit(who, [MINUTE])).is_within
        redis_server.stop()
        try:
            for ask in (limiter.hit, limiter.look):
                with pytest.raises(LimitsUnavailableError):
                    await ask(who, [MINUTE])
        finally:
            redis_server.start()
        assert (await limiter.hit(who, [MINUTE])).is_within
        with redis_server.frozen(), pytest.raises(LimitsUnavailableError):
            await limiter.hit(who, [MINUTE])
