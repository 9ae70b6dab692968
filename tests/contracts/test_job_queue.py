"""What every JobQueue promises."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Protocol
from uuid import uuid4

import pytest
from dramatiq import Message

from audio_text.adapters.job_queue import open_job_queue
from audio_text.adapters.queue_protocol import NAMESPACE
from audio_text.adapters.redis_client import open_client
from audio_text.errors import QueueUnavailableError
from audio_text.ports import JobQueue
from fakes.queue import FakeJobQueue, WakeUp
from services.redis import RedisServer


class Harness(Protocol):
    """A queue, and a look at what lies in it."""

    queue: JobQueue

    async def waiting(self, tier: str) -> list[WakeUp]: ...

    def break_down(self) -> None: ...

    def repair(self) -> None: ...


class FakeHarness:
    def __init__(self) -> None:
        self.queue = FakeJobQueue()

    async def waiting(self, tier: str) -> list[WakeUp]:
        return [message for message in self.queue.messages if message.tier == tier]

    def break_down(self) -> None:
        self.queue.is_down = True

    def repair(self) -> None:
        self.queue.is_down = False


class RedisHarness:
    def __init__(self, server: RedisServer, queue: JobQueue) -> None:
        self.queue = queue
        self._server = server

    async def waiting(self, tier: str) -> list[WakeUp]:
        settings = self._server.settings
        found: list[Message[None]] = []
        async with open_client(
            settings, self._server.password, db=settings.queue_db, client_name="test", connections=1
        ) as client:
            for queue in (tier, f"{tier}.DQ"):
                if message_ids := await client.lrange(f"{NAMESPACE}:{queue}", 0, -1):
                    found += map(Message.decode, await client.hmget(f"{NAMESPACE}:{queue}.msgs", message_ids))
        return [_wake_up(message) for message in found]

    def break_down(self) -> None:
        self._server.stop()

    def repair(self) -> None:
        self._server.start()


def _wake_up(message: Message[None]) -> WakeUp:
    delay_seconds = message.options["eta"] / 1000 - time.time() if "eta" in message.options else 0.0
    (tier,) = message.args
    return WakeUp(
        tier=tier,
        job_id=message.options["job_id"],
        request_id=message.options["request_id"],
        delay_seconds=float(round(delay_seconds)),
    )


@pytest.fixture(params=["fake", "redis"])
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    if request.param == "fake":
        yield FakeHarness()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    async with open_job_queue(server.settings, server.password, client_name="test-queue") as queue:
        yield RedisHarness(server, queue)


@pytest.fixture
def tier() -> str:
    return f"tier_{uuid4().hex}"


async def test_a_wake_up_waits_on_the_queue_of_its_tier_and_says_why(harness: Harness, tier: str) -> None:
    await harness.queue.enqueue(tier, job_id="job-1", request_id="request-1")
    await harness.queue.enqueue(f"{tier}_other", job_id="job-2")
    assert await harness.waiting(tier) == [WakeUp(tier=tier, job_id="job-1", request_id="request-1", delay_seconds=0.0)]


async def test_the_depth_counts_what_could_be_taken_now(harness: Harness, tier: str) -> None:
    assert await harness.queue.depth(tier) == 0
    for number in range(3):
        await harness.queue.enqueue(tier, job_id=f"job-{number}")
    await harness.queue.enqueue(tier, job_id="later", delay_seconds=600)
    assert await harness.queue.depth(tier) == 3


async def test_a_delay_is_kept(harness: Harness, tier: str) -> None:
    await harness.queue.enqueue(tier, job_id="job-1", delay_seconds=600)
    assert [message.delay_seconds for message in await harness.waiting(tier)] == [600]


async def test_no_wake_up_is_lost_when_many_are_sent_at_once(harness: Harness, tier: str) -> None:
    await asyncio.gather(*(harness.queue.enqueue(tier, job_id=f"job-{number}") for number in range(100)))
    assert {message.job_id for message in await harness.waiting(tier)} == {f"job-{number}" for number in range(100)}


async def test_a_queue_that_is_down_says_so_and_serves_again_when_it_is_back(harness: Harness, tier: str) -> None:
    await harness.queue.check()
    harness.break_down()
    try:
        async with asyncio.timeout(20):
            with pytest.raises(QueueUnavailableError):
                await harness.queue.enqueue(tier, job_id="job-1")
            with pytest.raises(QueueUnavailableError):
                await harness.queue.check()
    finally:
        harness.repair()
    await harness.queue.check()
    await harness.queue.enqueue(tier, job_id="job-2")
    assert [message.job_id for message in await harness.waiting(tier)] == ["job-2"]
