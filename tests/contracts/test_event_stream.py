"""What every EventStream promises."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, suppress
from typing import Protocol
from uuid import uuid4

import pytest

from audio_text.adapters.event_log import PREFIX
from audio_text.adapters.event_stream import open_event_stream
from audio_text.adapters.redis_client import open_client
from audio_text.domain.events import JobUpdate, Published
from audio_text.domain.job import JobStatus
from audio_text.errors import EventsUnavailableError, InvalidRequestError, StreamGapError
from audio_text.ports import EventStream, Subscription
from factories import make_segment, make_settings
from fakes.events import FakeEventServer, FakeEventStream
from services.redis import RedisServer

LOG_LENGTH = 1_000


class Harness(Protocol):
    """Streams as several processes see them, and what can happen to the server behind them."""

    streams: list[EventStream]

    async def lose_data(self) -> None: ...

    def break_down(self) -> None: ...

    def repair(self) -> None: ...


class FakeHarness:
    def __init__(self) -> None:
        self._server = FakeEventServer(log_length=LOG_LENGTH)
        self.streams: list[EventStream] = [FakeEventStream(self._server) for _ in range(2)]

    async def lose_data(self) -> None:
        async with self._server.changed:
            self._server.lose()
            self._server.changed.notify_all()

    def break_down(self) -> None:
        self._server.is_down = True

    def repair(self) -> None:
        self._server.is_down = False


class RedisHarness:
    def __init__(self, server: RedisServer, streams: list[EventStream]) -> None:
        self.streams = streams
        self._server = server

    async def lose_data(self) -> None:
        settings = self._server.settings
        async with open_client(
            settings, self._server.password, db=settings.events_db, client_name="test", connections=1
        ) as client:
            await client.delete(*await client.keys(f"{PREFIX}:*"))

    def break_down(self) -> None:
        self._server.stop()

    def repair(self) -> None:
        self._server.start()


@pytest.fixture(params=["fake", "redis"])
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    if request.param == "fake":
        yield FakeHarness()
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    events = make_settings({"events.log_length": LOG_LENGTH, "events.follower_buffer": 16}).events
    async with AsyncExitStack() as stack:
        streams = [
            await stack.enter_async_context(
                open_event_stream(server.settings, server.password, events, client_name=f"test-{number}", live=True)
            )
            for number in range(2)
        ]
        yield RedisHarness(server, list(streams))


@pytest.fixture
def job_id() -> str:
    return str(uuid4())


def update(job_id: str, number: int, **fields: object) -> JobUpdate:
    """The number travels as progress."""
    return JobUpdate(**({"job_id": job_id, "status": JobStatus.processing, "progress": float(number)} | fields))


async def take(subscription: Subscription, count: int) -> list[Published]:
    """The next so many events; fails when they do not come."""
    events: list[Published] = []
    async with asyncio.timeout(30):
        async for published in subscription:
            events.append(published)
            if len(events) == count:
                break
    return events


def numbers(events: list[Published]) -> list[int]:
    return [int(published.update.progress) for published in events]


async def publish_all(stream: EventStream, job_id: str, count: int, *, first: int = 1) -> list[str]:
    return [await stream.publish(update(job_id, number)) for number in range(first, first + count)]


async def test_a_follower_gets_what_is_published_after_it_came(harness: Harness, job_id: str) -> None:
    stream = harness.streams[0]
    (before,) = await publish_all(stream, job_id, 1)
    async with stream.follow(job_id) as subscription:
        assert (subscription.start, subscription.position, subscription.is_continuous) == (before, before, False)
        last = update(job_id, 2, status=JobStatus.completed, segments=(make_segment(0), make_segment(1)))
        event_id = await stream.publish(last)
        assert await take(subscription, 1) == [Published(event_id=event_id, update=last)]


async def test_a_forgotten_log_is_gone_and_a_new_one_may_begin(harness: Harness, job_id: str) -> None:
    stream = harness.streams[0]
    ids = await publish_all(stream, job_id, 3)
    other = f"{job_id}-other"
    await publish_all(stream, other, 2)
    await stream.forget([job_id, "nobody"])
    await stream.forget([])
    async with stream.follow(job_id, after=ids[0]) as subscription:
        assert (subscription.position, subscription.is_continuous) == ("0-0", False)
        await publish_all(stream, job_id, 2)
        assert numbers(await take(subscription, 2)) == [1, 2]
    async with stream.follow(other, after="0-0") as subscription:
        assert numbers(await take(subscription, 2)) == [1, 2]


async def test_an_empty_log_has_a_position_to_come_back_to(harness: Harness, job_id: str) -> None:
    stream = harness.streams[0]
    async with stream.follow(job_id) as subscription:
        assert subscription.position == "0-0"
    await publish_all(stream, job_id, 3)
    async with stream.follow(job_id, after="0-0") as subscription:
        assert subscription.is_continuous
        assert numbers(await take(subscription, 3)) == [1, 2, 3]


async def test_a_cursor_is_continued_from_the_log_and_then_live(harness: Harness, job_id: str) -> None:
    stream = harness.streams[0]
    ids = await publish_all(stream, job_id, 300)
    async with stream.follow(job_id, after=ids[9]) as subscription:
        assert (subscription.start, subscription.position, subscription.is_continuous) == (ids[9], ids[-1], True)
        ids += await publish_all(stream, job_id, 5, first=301)
        events = await take(subscription, 295)
    assert numbers(events) == list(range(11, 306))
    assert [published.event_id for published in events] == ids[10:]


async def test_what_somebody_says_late_who_has_lost_the_job_is_left_out(harness: Harness, job_id: str) -> None:
    first, second = harness.streams
    await first.publish(update(job_id, 1, claims=1))
    newest = await second.publish(update(job_id, 2, claims=2))

    late = [await first.publish(update(job_id, 3, claims=1, status=status)) for status in JobStatus]

    assert late == [newest] * len(JobStatus)
    async with first.follow(job_id, after="0-0") as subscription:
        await second.publish(update(job_id, 4, claims=2))
        assert numbers(await take(subscription, 3)) == [1, 2, 4]


async def test_after_a_jobs_end_only_its_next_life_is_news(harness: Harness, job_id: str) -> None:
    first, second = harness.streams
    end = await first.publish(update(job_id, 1, claims=1, status=JobStatus.failed))

    assert await second.publish(update(job_id, 2, claims=1, status=JobStatus.failed)) == end
    assert await second.publish(update(job_id, 3, claims=1)) == end
    await first.publish(update(job_id, 4, claims=1, status=JobStatus.pending))
    await first.publish(update(job_id, 5, claims=2, status=JobStatus.cancelled))
    await first.publish(update(job_id, 6, claims=3))

    async with first.follow(job_id, after="0-0") as subscription:
        assert numbers(await take(subscription, 4)) == [1, 4, 5, 6]


async def test_whoever_is_up_to_date_misses_nothing_and_repeats_nothing(harness: Harness, job_id: str) -> None:
    stream = harness.streams[0]
    ids = await publish_all(stream, job_id, 3)
    async with stream.follow(job_id, after=ids[-1]) as subscription:
        assert subscription.is_continuous
        await publish_all(stream, job_id, 1, first=4)
        assert numbers(await take(subscription, 1)) == [4]


async def test_a_cursor_the_log_no_longer_reaches_back_to_starts_from_now(harness: Harness, job_id: str) -> None:
    stream = harness.streams[0]
    ids = await publish_all(stream, job_id, LOG_LENGTH + 300)
    async with stream.follow(job_id, after=ids[0]) as subscription:
        assert not subscription.is_continuous
        assert subscription.start == subscription.position == ids[-1]
        await publish_all(stream, job_id, 1, first=9_999)
        assert numbers(await take(subscription, 1)) == [9_999]
    async with stream.follow(job_id, after=ids[-100]) as subscription:
        assert subscription.is_continuous


@pytest.mark.parametrize("after", ["1-1", "99999999999999-7", "18446744073709551615-18446744073709551615"])
async def test_a_cursor_of_a_log_that_is_not_there_is_not_continuous(harness: Harness, job_id: str, after: str) -> None:
    async with harness.streams[0].follow(job_id, after=after) as subscription:
        assert not subscription.is_continuous
        assert subscription.start == "0-0"


@pytest.mark.parametrize(
    "after", ["", "5", "-", "a-b", "1-2-3", "-1-0", "$", "+", "1-99999999999999999999", "\u0661-\u0661", "1-1\n"]
)
async def test_a_malformed_cursor_is_the_clients_mistake(harness: Harness, job_id: str, after: str) -> None:
    with pytest.raises(InvalidRequestError):
        async with harness.streams[0].follow(job_id, after=after):
            pass


async def test_jobs_do_not_hear_each_other(harness: Harness, job_id: str) -> None:
    stream, other = harness.streams[0], str(uuid4())
    async with stream.follow(job_id) as mine, stream.follow(other) as theirs:
        await publish_all(stream, other, 2, first=100)
        await publish_all(stream, job_id, 2)
        assert numbers(await take(mine, 2)) == [1, 2]
        assert numbers(await take(theirs, 2)) == [100, 101]


async def test_followers_who_join_while_events_are_published_see_no_gap_and_no_repetition(
    harness: Harness, job_id: str
) -> None:
    total = 400

    async def join(stream: EventStream) -> None:
        async with stream.follow(job_id) as subscription:
            known = int(subscription.position.partition("-")[2])
            assert numbers(await take(subscription, total - known)) == list(range(known + 1, total + 1))

    async with asyncio.TaskGroup() as followers:
        for number in range(1, total + 1):
            here, there = harness.streams[number % 2], harness.streams[number // 20 % 2]
            await here.publish(update(job_id, number))
            if number % 20 == 1:
                followers.create_task(join(there))


async def test_all_processes_see_the_same(harness: Harness, job_id: str) -> None:
    first, second = harness.streams
    async with first.follow(job_id) as here, second.follow(job_id) as there:
        await publish_all(first, job_id, 20)
        await publish_all(second, job_id, 20, first=21)
        assert await take(here, 40) == await take(there, 40)


async def test_a_slow_follower_gets_everything_in_its_own_time(harness: Harness, job_id: str) -> None:
    stream = harness.streams[0]
    async with stream.follow(job_id) as slow, stream.follow(job_id) as quick:
        await publish_all(stream, job_id, 250)
        await take(quick, 250)
        assert numbers(await take(slow, 1)) == [1]
        await publish_all(stream, job_id, 250, first=251)
        await take(quick, 250)
        assert numbers(await take(slow, 499)) == list(range(2, 501))


async def test_waiting_may_be_given_up_and_taken_up_again(harness: Harness, job_id: str) -> None:
    stream = harness.streams[0]
    async with stream.follow(job_id) as subscription:
        for number in range(1, 50):
            with suppress(TimeoutError):
                async with asyncio.timeout(0.001 * (number % 3)):
                    await anext(aiter(subscription))
                    pytest.fail("nothing was published")
            await publish_all(stream, job_id, 1, first=number)
            assert numbers(await take(subscription, 1)) == [number]


async def test_lost_events_end_the_subscription_and_a_new_one_begins(harness: Harness, job_id: str) -> None:
    stream = harness.streams[0]
    ids = await publish_all(stream, job_id, 3)
    async with stream.follow(job_id) as subscription:
        await harness.lose_data()
        await publish_all(stream, job_id, 1, first=4)
        with pytest.raises(StreamGapError):
            await take(subscription, 1)
    async with stream.follow(job_id, after=ids[-1]) as subscription:
        assert not subscription.is_continuous
        await publish_all(stream, job_id, 1, first=5)
        assert numbers(await take(subscription, 1)) == [5]


async def test_a_loss_is_noticed_although_nothing_more_is_published(harness: Harness, job_id: str) -> None:
    stream = harness.streams[0]
    await publish_all(stream, job_id, 3)
    async with stream.follow(job_id) as subscription:
        await harness.lose_data()
        with pytest.raises(StreamGapError):
            await take(subscription, 1)


async def test_a_stream_that_is_down_says_so_and_serves_again_when_it_is_back(harness: Harness, job_id: str) -> None:
    stream = harness.streams[0]
    await stream.check()
    harness.break_down()
    try:
        async with asyncio.timeout(30):
            for attempt in (stream.check(), stream.publish(update(job_id, 1)), _follow(stream, job_id)):
                with pytest.raises(EventsUnavailableError):
                    await attempt
    finally:
        harness.repair()
    await stream.check()
    async with stream.follow(job_id) as subscription:
        await publish_all(stream, job_id, 1)
        assert numbers(await take(subscription, 1)) == [1]


def _follow(stream: EventStream, job_id: str) -> Awaitable[object]:
    async def follow() -> None:
        async with stream.follow(job_id):
            pass

    return follow()
