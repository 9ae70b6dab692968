"""Faults and limits of the event stream that only Redis can show."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from uuid import uuid4

import pytest
import redis.exceptions
from redis.asyncio import Redis

from audio_text.adapters.event_log import LIVE_STREAM, PAGE, PREFIX, RedisEventLog
from audio_text.adapters.event_stream import RedisEventStream, RedisSubscription, open_event_stream
from audio_text.adapters.live_reader import BLOCK_SECONDS
from audio_text.adapters.redis_client import answering, open_client
from audio_text.domain.events import JobUpdate
from audio_text.domain.job import JobStatus
from audio_text.errors import EventsUnavailableError, StreamGapError
from audio_text.settings import EventSettings
from factories import make_settings
from services.redis import RedisServer
from services.waiting import until

OpenStream = Callable[..., AbstractAsyncContextManager[RedisEventStream]]

BUFFER = 16


@pytest.fixture
def open_stream(redis_server: RedisServer) -> OpenStream:
    def open_one(*, name: str = "test-events", live: bool = True, password: str | None = None, **events: int):  # noqa: ANN202 -- OpenStream
        keys = {"follower_buffer": BUFFER} | events
        settings = make_settings({f"events.{key}": value for key, value in keys.items()}).events
        password = redis_server.password if password is None else password
        return open_event_stream(redis_server.settings, password, settings, client_name=name, live=live)

    return open_one


@pytest.fixture
async def stream(open_stream: OpenStream) -> AsyncIterator[RedisEventStream]:
    async with open_stream() as opened:
        yield opened


@pytest.fixture
async def client(redis_server: RedisServer) -> AsyncIterator[Redis]:
    settings = redis_server.settings
    async with open_client(
        settings, redis_server.password, db=settings.events_db, client_name="test", connections=2
    ) as opened:
        yield opened


@pytest.fixture
def job_id() -> str:
    return str(uuid4())


def update(job_id: str, number: int) -> JobUpdate:
    return JobUpdate(job_id=job_id, status=JobStatus.processing, progress=float(number))


async def publish_all(stream: RedisEventStream, job_id: str, numbers: range) -> list[str]:
    return [await stream.publish(update(job_id, number)) for number in numbers]


def script_arguments(payload: str, token: str, job_id: str, settings: EventSettings) -> list[str | int]:
    limits = (settings.log_length, settings.retention_seconds, settings.live_length)
    claims = is_end = waits = 0
    return [payload, token, job_id, *limits, claims, is_end, waits]


async def take(subscription: RedisSubscription, count: int) -> list[int]:
    taken: list[int] = []
    async with asyncio.timeout(30):
        while len(taken) < count:
            taken.append(int((await anext(subscription)).update.progress))
    return taken


@contextmanager
def frozen(server: RedisServer, process: int) -> Iterator[None]:
    server._ours()
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def ordinal(event_id: str) -> int:
    return int(event_id.partition("-")[2])


async def take_until_gap(subscription: RedisSubscription) -> list[int]:
    taken: list[int] = []
    async with asyncio.timeout(30):
        try:
            async for published in subscription:
                taken.append(int(published.update.progress))  # noqa: PERF401 -- what came before the gap counts
        except StreamGapError:
            return taken


@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_a_restart_of_redis_sends_followers_to_the_row_and_they_go_on_from_there(
    redis_server: RedisServer, stream: RedisEventStream, open_stream: OpenStream, job_id: str, how: str
) -> None:
    async with stream.follow(job_id) as subscription:
        ids = await publish_all(stream, job_id, range(1, 4))
        assert await take(subscription, 1) == [1]
        getattr(redis_server, how)()
        redis_server.start()
        taken = await take_until_gap(subscription)
        assert taken == list(range(2, 2 + len(taken)))
    async with stream.follow(job_id, after=ids[0]) as subscription, open_stream(live=False) as worker:
        assert how == "kill" or (subscription.is_continuous and subscription.position == ids[2])
        last = (await publish_all(worker, job_id, range(4, 40)))[-1]
        expected = ordinal(last) - ordinal(subscription.start)
        assert (await take(subscription, expected))[-36:] == list(range(4, 40))


async def test_a_lost_connection_to_the_same_redis_is_nothing_to_a_follower(
    stream: RedisEventStream, client: Redis, job_id: str
) -> None:
    async with stream.follow(job_id) as subscription:
        for number in range(1, 15, 3):
            await stream.publish(update(job_id, number))
            assert await take(subscription, 1) == [number]
            for connection in await client.client_list():
                if connection["name"].startswith("test-events"):
                    await client.client_kill_filter(_id=connection["id"])
            await publish_all(stream, job_id, range(number + 1, number + 3))
            assert await take(subscription, 2) == [number + 1, number + 2]


async def test_a_quiet_stream_stays_where_it_is(open_stream: OpenStream, client: Redis, job_id: str) -> None:
    await client.delete(LIVE_STREAM)
    async with open_stream() as stream, stream.follow(job_id) as subscription:
        await asyncio.sleep(1.2 * BLOCK_SECONDS)
        await stream.publish(update(job_id, 1))
        assert await take(subscription, 1) == [1]


async def test_a_follower_that_came_before_any_event_does_not_mind_a_loss(
    stream: RedisEventStream, client: Redis, job_id: str
) -> None:
    await publish_all(stream, f"{job_id}-other", range(1, 4))
    async with stream.follow(job_id) as subscription:
        await client.flushdb()
        await publish_all(stream, job_id, range(1, 3))
        assert await take(subscription, 2) == [1, 2]


async def test_a_stream_may_be_opened_before_redis_is_there(
    redis_server: RedisServer, open_stream: OpenStream, job_id: str
) -> None:
    redis_server.stop()
    try:
        opening = open_stream()
        stream = await opening.__aenter__()
    finally:
        redis_server.start()
    async with stream.follow(job_id) as subscription:
        await publish_all(stream, job_id, range(1, 3))
        assert await take(subscription, 2) == [1, 2]
    await opening.__aexit__(None, None, None)


async def test_nobody_waits_for_a_frozen_redis(
    redis_server: RedisServer, stream: RedisEventStream, client: Redis, job_id: str
) -> None:
    process = (await client.info("server"))["process_id"]
    async with stream.follow(job_id) as subscription:
        with frozen(redis_server, process):
            async with asyncio.timeout(20):
                with pytest.raises(EventsUnavailableError):
                    await stream.publish(update(job_id, 1))
                with pytest.raises(EventsUnavailableError):
                    async with stream.follow(job_id):
                        pass
        await stream.publish(update(job_id, 2))
        taken = await take(subscription, 2)
        assert taken[-1] == 2, "the one whose reply was lost may come or not, but nothing after it is missed"


@pytest.mark.parametrize("vendor_error", [redis.exceptions.RedisError, OSError, TimeoutError])
async def test_no_error_of_the_vendor_escapes(vendor_error: type[Exception]) -> None:
    def family(error: type[Exception]) -> Iterator[type[Exception]]:
        yield error
        for child in error.__subclasses__():
            yield from family(child)

    for error in family(vendor_error):
        with pytest.raises(EventsUnavailableError):
            async with answering(EventsUnavailableError):
                raise error.__new__(error)


async def test_a_wrong_password_is_reported_like_an_unreachable_server(open_stream: OpenStream, job_id: str) -> None:
    async with open_stream(password="wrong") as stream:
        with pytest.raises(EventsUnavailableError):
            await stream.check()
        with pytest.raises(EventsUnavailableError):
            await stream.publish(update(job_id, 1))


async def test_followers_share_one_connection_and_leave_nothing_behind(
    open_stream: OpenStream, client: Redis, job_id: str
) -> None:
    name, connections = f"test-{uuid4().hex}", 8
    async with open_stream(name=name) as stream:
        tasks = len(asyncio.all_tasks())

        async def come_and_go(number: int) -> None:
            async with stream.follow(job_id if number % 2 else f"{job_id}-{number}"):
                await asyncio.sleep(0)

        for _ in range(10):
            async with asyncio.TaskGroup() as group:
                for number in range(100):
                    follower = group.create_task(come_and_go(number))
                    if number % 5 == 0:
                        asyncio.get_running_loop().call_soon(follower.cancel)
        assert stream.follower_count == 0
        assert len(asyncio.all_tasks()) == tasks
        names = [entry["name"] for entry in await client.client_list()]
        assert names.count(f"{name}-live") == 1
        assert names.count(name) <= connections
    async with asyncio.timeout(30):
        while any(entry["name"].startswith(name) for entry in await client.client_list()):
            await asyncio.sleep(0.01)


async def test_a_stream_closes_at_once_whatever_its_reader_is_doing(open_stream: OpenStream) -> None:
    async with asyncio.timeout(30):
        for steps in range(60):
            async with open_stream():
                for _ in range(steps):
                    await asyncio.sleep(0)


async def test_an_error_of_the_body_arrives_as_it_was_raised(open_stream: OpenStream) -> None:
    with pytest.raises(ZeroDivisionError):
        async with open_stream():
            raise ZeroDivisionError


async def test_a_process_that_only_publishes_has_no_reader(open_stream: OpenStream, job_id: str) -> None:
    async with open_stream(live=False) as stream:
        await stream.publish(update(job_id, 1))
        with pytest.raises(EventsUnavailableError):
            async with stream.follow(job_id):
                pass


async def test_an_event_whose_reply_was_lost_is_not_published_twice(client: Redis, job_id: str) -> None:
    settings = make_settings().events
    log = RedisEventLog(client, settings)
    arguments = script_arguments("{}", "token", job_id, settings)
    keys = [f"{PREFIX}:events:{job_id}", LIVE_STREAM]
    before = await client.xlen(LIVE_STREAM)
    first, again = [await log._publish(keys=keys, args=arguments) for _ in range(2)]
    assert first == again
    assert await client.xlen(keys[0]) == 1
    assert await client.xlen(LIVE_STREAM) == before + 1


async def test_logs_are_bounded_and_expire(open_stream: OpenStream, client: Redis, job_id: str) -> None:
    node = 100  # Redis drops whole nodes of so many entries
    async with open_stream(live=False, log_length=10, live_length=20, retention_seconds=600) as stream:
        await publish_all(stream, job_id, range(300))
    assert await client.xlen(f"{PREFIX}:events:{job_id}") <= 10 + node
    assert await client.xlen(LIVE_STREAM) <= 20 + node
    assert 0 < await client.ttl(f"{PREFIX}:events:{job_id}") <= 600


async def test_a_reader_that_fell_behind_sends_its_followers_to_the_log(
    open_stream: OpenStream, client: Redis, job_id: str
) -> None:
    async with open_stream(live_length=1) as stream, stream.follow(job_id) as subscription:
        settings = make_settings({"events.live_length": 1}).events
        publish = RedisEventLog(client, settings)._publish
        await publish_all(stream, job_id, range(1, 2))
        pipeline = client.pipeline(transaction=True)
        for number in range(2, 600):
            payload = f'{{"type":"job_update","job_id":"{job_id}","status":"processing","progress":{number}}}'
            arguments = script_arguments(payload, str(number), job_id, settings)
            pipeline.evalsha(publish.sha, 2, f"{PREFIX}:events:{job_id}", LIVE_STREAM, *arguments)
        await pipeline.execute()
        assert await client.xlen(LIVE_STREAM) < 500
        assert await take(subscription, 599) == list(range(1, 600))


async def test_the_memory_of_a_slow_follower_is_bounded(stream: RedisEventStream, job_id: str) -> None:
    async with stream.follow(job_id) as slow, stream.follow(job_id) as quick:
        await publish_all(stream, job_id, range(1_000))
        held = 0
        for number in range(1_000):
            assert await take(quick, 1) == [number]
            assert await take(slow, 1) == [number]
            held = max(held, len(slow._ready), len(quick._ready))
        assert BUFFER <= held <= PAGE + BUFFER


async def test_garbage_in_the_live_stream_is_passed_over(stream: RedisEventStream, client: Redis, job_id: str) -> None:
    async with stream.follow(job_id) as subscription:
        await stream.publish(update(job_id, 1))
        for fields in (
            {"update": "{}"},
            {"job": b"\xff"},
            {"job": job_id},
            {"job": job_id, "event": "x", "update": ""},
        ):
            await client.xadd(LIVE_STREAM, fields)
        await stream.publish(update(job_id, 2))
        assert await take(subscription, 2) == [1, 2]


async def test_an_unreadable_event_sends_its_followers_to_the_row(
    stream: RedisEventStream, client: Redis, job_id: str
) -> None:
    async with stream.follow(job_id) as subscription:
        await stream.publish(update(job_id, 1))
        assert await take(subscription, 1) == [1]
        settings = make_settings().events
        arguments = script_arguments("from the future", "token", job_id, settings)
        await RedisEventLog(client, settings)._publish(keys=[f"{PREFIX}:events:{job_id}", LIVE_STREAM], args=arguments)
        with pytest.raises(StreamGapError):
            await take(subscription, 1)
    async with stream.follow(job_id) as subscription:
        await stream.publish(update(job_id, 2))
        assert await take(subscription, 1) == [2]


async def test_a_log_that_expired_under_a_follower_sends_it_to_the_row(
    stream: RedisEventStream, client: Redis, job_id: str
) -> None:
    async with stream.follow(job_id) as subscription:
        await publish_all(stream, job_id, range(1, 4))
        assert await take(subscription, 3) == [1, 2, 3]
        await client.delete(f"{PREFIX}:events:{job_id}")
        await stream.publish(update(job_id, 4))
        assert await take_until_gap(subscription) == []


async def test_a_follower_that_fell_behind_waits_for_a_frozen_redis(
    redis_server: RedisServer, stream: RedisEventStream, client: Redis, job_id: str
) -> None:
    process = (await client.info("server"))["process_id"]
    async with stream.follow(job_id) as slow, stream.follow(job_id) as quick:
        await publish_all(stream, job_id, range(1))
        assert await take(slow, 1) == [0]  # the reader has found its place: nothing makes followers look back any more
        await publish_all(stream, job_id, range(1, 100))
        await until(lambda: slow._is_behind)  # what comes after its full buffer is only in the log
        assert await take(quick, 100) == list(range(100))
        assert await take(slow, BUFFER) == list(range(1, BUFFER + 1))
        with frozen(redis_server, process), pytest.raises(TimeoutError):
            async with asyncio.timeout(3):
                await anext(slow)
        assert await take(slow, 99 - BUFFER) == list(range(BUFFER + 1, 100))


async def test_a_clock_that_went_back_does_not_stop_publishing(
    stream: RedisEventStream, client: Redis, job_id: str
) -> None:
    await client.xadd(f"{PREFIX}:events:{job_id}", {"update": "{}", "token": ""}, id="9999999999999-1")
    async with stream.follow(job_id) as subscription:
        assert await stream.publish(update(job_id, 2)) == "9999999999999-2"
        assert await take(subscription, 1) == [2]
