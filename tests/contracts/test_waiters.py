import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from audio_text.adapters.waiters import open_waiters
from audio_text.errors import EventsUnavailableError
from audio_text.ports import Waiters
from factories import make_settings
from fakes.waiters import FakeWaiters
from services.api import free_port, in_one_task
from services.redis import RedisServer


class WaitersContract:
    """What every register of waiters does."""

    @pytest.fixture
    def waiters(self) -> Waiters:
        raise NotImplementedError

    @pytest.fixture
    def away(self) -> Waiters:
        """One that does not answer."""
        raise NotImplementedError

    async def test_nobody_waits_for_a_job_before_somebody_says_so(self, waiters: Waiters) -> None:
        job_id = str(uuid4())
        assert not await waiters.is_anybody_there(job_id)
        await waiters.stay(job_id, seconds=60)
        assert await waiters.is_anybody_there(job_id)
        assert not await waiters.is_anybody_there(str(uuid4()))

    async def test_who_says_nothing_any_more_counts_as_gone(self, waiters: Waiters) -> None:
        job_id = str(uuid4())
        await waiters.stay(job_id, seconds=0.05)
        async with asyncio.timeout(10):
            while await waiters.is_anybody_there(job_id):
                await asyncio.sleep(0.01)

    async def test_the_last_word_counts(self, waiters: Waiters) -> None:
        job_id = str(uuid4())
        await waiters.stay(job_id, seconds=0.05)
        await waiters.stay(job_id, seconds=60)
        await asyncio.sleep(0.1)
        assert await waiters.is_anybody_there(job_id)

    async def test_a_register_that_is_away_says_so(self, away: Waiters) -> None:
        with pytest.raises(EventsUnavailableError):
            await away.stay("job", seconds=1)
        with pytest.raises(EventsUnavailableError):
            await away.is_anybody_there("job")


class TestFakeWaiters(WaitersContract):
    @pytest.fixture
    def waiters(self) -> Waiters:
        return FakeWaiters()

    @pytest.fixture
    def away(self) -> Waiters:
        fake = FakeWaiters()
        fake.is_down = True
        return fake


class TestRedisWaiters(WaitersContract):
    @pytest.fixture
    async def waiters(self, redis_server: RedisServer) -> AsyncIterator[Waiters]:
        opened = open_waiters(redis_server.settings, redis_server.password, client_name="test")
        async with in_one_task(opened) as waiters:
            yield waiters

    @pytest.fixture
    async def away(self) -> AsyncIterator[Waiters]:
        nobody = make_settings({"redis.port": free_port()}).redis
        async with in_one_task(open_waiters(nobody, "", client_name="test")) as waiters:
            yield waiters
