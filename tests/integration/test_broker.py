"""Messages of the asynchronous queue, eaten by real dramatiq workers."""

import asyncio
import math
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import dramatiq
import pytest
import redis
from dramatiq.errors import ConnectionClosed
from structlog.testing import capture_logs

from audio_text.adapters.broker import AudioTextBroker, make_broker, make_worker
from audio_text.adapters.job_queue import RedisJobQueue, open_job_queue
from audio_text.adapters.queue_protocol import (
    ACTOR_NAME,
    NAMESPACE,
    WAKE_CHANNEL,
    dispatch_arguments,
    dispatch_script,
)
from audio_text.errors import QueueUnavailableError
from services.redis import RedisServer

NEVER_MS = 3_600_000
"""A heartbeat timeout so long that no consumer fetches without a reason during a test."""

QUICK_MS = 1_000
"""A heartbeat timeout after which a test can wait for the dead to be noticed."""


class Crew:
    """One worker whose actor notes what it gets and, where told to, waits for permission to end."""

    def __init__(
        self,
        server: RedisServer,
        *tiers: str,
        threads: int = 1,
        heartbeat_timeout_ms: int = NEVER_MS,
        answer_seconds: float = 5.0,
    ) -> None:
        self.started: queue.Queue[str] = queue.Queue()
        self.may_end = threading.Event()
        self.may_end.set()
        self.on_message: Callable[[], object] = lambda: None
        self.broker = make_broker(
            server.settings,
            server.password,
            tiers=tiers,
            slots=threads,
            client_name="test-worker",
            heartbeat_timeout_ms=heartbeat_timeout_ms,
        )
        self.broker.client.connection_pool.connection_kwargs["socket_timeout"] = answer_seconds
        dramatiq.actor(self._transcribe, actor_name=ACTOR_NAME, broker=self.broker, queue_name=tiers[0])
        self.worker = make_worker(self.broker, threads)
        self.worker.start()

    def _transcribe(self, tier: str) -> None:
        self.started.put(tier)
        self.on_message()
        self.may_end.wait()

    async def next(self) -> str:
        """The tier of the next message; fails when none comes."""
        return await asyncio.to_thread(self.started.get, timeout=30)

    def stop(self) -> None:
        self.may_end.set()
        self.worker.stop(30_000)
        self.broker.close()


@pytest.fixture
def hire(redis_server: RedisServer) -> Iterator[Callable[..., Crew]]:
    crews: list[Crew] = []

    def hire_one(*tiers: str, **options: float) -> Crew:
        crew = Crew(redis_server, *tiers, **options)
        crews.append(crew)
        return crew

    yield hire_one
    for crew in crews:
        crew.stop()


@pytest.fixture
async def job_queue(redis_server: RedisServer) -> AsyncIterator[RedisJobQueue]:
    async with open_job_queue(redis_server.settings, redis_server.password, client_name="test-queue") as opened:
        yield opened


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    settings = redis_server.settings
    with redis.Redis(settings.host, settings.port, settings.queue_db, redis_server.password) as opened:
        yield opened


@pytest.fixture
def tier() -> str:
    return f"tier_{uuid4().hex}"


@contextmanager
def frozen(redis_server: RedisServer, client: redis.Redis) -> Iterator[None]:
    redis_server._ours()
    process = client.info("server")["process_id"]
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


async def eventually(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.01)


def left_of(client: redis.Redis, tier: str) -> list[bytes]:
    """Keys of the tier's queues that still hold something; acknowledged messages leave none."""
    return client.keys(f"{NAMESPACE}:*{tier}*")


async def test_a_worker_eats_immediate_and_delayed_messages_exactly_once(
    hire: Callable[..., Crew], job_queue: RedisJobQueue, client: redis.Redis, tier: str
) -> None:
    other = f"{tier}_other"
    crew = hire(tier, other, threads=3)
    for number in range(60):
        await job_queue.enqueue(tier if number % 3 else other, job_id=f"job-{number}", request_id="request")
    for number in range(6):
        await job_queue.enqueue(tier, job_id=f"later-{number}", delay_seconds=0.2 * number)
    tiers = [await crew.next() for _ in range(66)]
    assert (tiers.count(tier), tiers.count(other)) == (46, 20)
    await eventually(lambda: not left_of(client, tier))
    assert crew.started.empty()


async def test_a_message_is_picked_up_because_it_was_announced_not_because_somebody_looked(
    hire: Callable[..., Crew], job_queue: RedisJobQueue, client: redis.Redis, tier: str
) -> None:
    crew = hire(tier)
    await _settled(client)
    for _ in range(3):
        await job_queue.enqueue(tier, job_id="job")
        assert await crew.next() == tier
    await job_queue.enqueue(tier, job_id="job", delay_seconds=0.3)
    assert await crew.next() == tier


async def _settled(client: redis.Redis) -> None:
    """Until nobody has fetched for a moment: all workers wait."""
    before = -1
    while before != (before := _script_calls(client)):
        await asyncio.sleep(0.3)


def _script_calls(client: redis.Redis) -> int:
    return client.info("commandstats")["cmdstat_evalsha"]["calls"]


async def test_an_idle_worker_hardly_asks(hire: Callable[..., Crew], client: redis.Redis, tier: str) -> None:
    heartbeat_timeout_ms, fetches, consumers = 5_000, 5, 4
    crew = hire(tier, f"{tier}_other", heartbeat_timeout_ms=heartbeat_timeout_ms)
    await eventually(lambda: _script_calls(client) >= consumers)
    began, before = time.monotonic(), _script_calls(client)
    await asyncio.sleep(3)
    asked, elapsed = _script_calls(client) - before, time.monotonic() - began
    assert asked <= consumers * (1 + math.ceil(elapsed * fetches / (heartbeat_timeout_ms / 1000)))
    assert asked > 0, "the heartbeat must go on"
    assert crew.started.empty()


async def test_the_idle_worker_gets_what_a_busy_one_cannot_run(
    hire: Callable[..., Crew], job_queue: RedisJobQueue, client: redis.Redis, tier: str
) -> None:
    crews = [hire(tier), hire(tier)]
    for crew in crews:
        crew.may_end.clear()
    await job_queue.enqueue(tier, job_id="long")
    await eventually(lambda: sum(crew.started.qsize() for crew in crews) == 1)
    await job_queue.enqueue(tier, job_id="short")
    for crew in crews:
        assert await crew.next() == tier
    await job_queue.enqueue(tier, job_id="third")
    await _settled(client)
    assert client.llen(f"{NAMESPACE}:{tier}") == 1, "nobody hoards what he cannot run"
    crews[1].may_end.set()
    assert await crews[1].next() == tier


async def test_the_queues_of_a_process_share_its_threads(
    hire: Callable[..., Crew], job_queue: RedisJobQueue, client: redis.Redis, tier: str
) -> None:
    other = f"{tier}_other"
    crew = hire(tier, other, threads=2)
    crew.may_end.clear()
    for name in (tier, other, tier, other):
        await job_queue.enqueue(name, job_id="job")
    await crew.next()
    await crew.next()
    await _settled(client)
    assert client.llen(f"{NAMESPACE}:{tier}") + client.llen(f"{NAMESPACE}:{other}") == 2
    crew.may_end.set()
    assert await crew.next() in {tier, other}
    assert await crew.next() in {tier, other}


async def test_a_full_queue_does_not_starve_another_one(
    hire: Callable[..., Crew], job_queue: RedisJobQueue, tier: str
) -> None:
    full, rare = tier, f"{tier}_rare"
    crew = hire(full, rare)
    crew.may_end.clear()
    for _ in range(300):
        await job_queue.enqueue(full, job_id="job")
    await job_queue.enqueue(rare, job_id="job")
    crew.may_end.set()
    order = [await crew.next() for _ in range(301)]
    assert order.index(rare) < 150


async def test_a_stopping_worker_leaves_new_messages_to_others(
    hire: Callable[..., Crew], job_queue: RedisJobQueue, tier: str
) -> None:
    leaving = hire(tier)
    leaving.may_end.clear()
    await job_queue.enqueue(tier, job_id="running")
    await leaving.next()
    stopping = asyncio.create_task(asyncio.to_thread(leaving.worker.stop))  # noqa: TID251 -- awaited below
    await eventually(lambda: leaving.broker.signals.is_draining)
    leaving.may_end.set()
    await stopping
    await job_queue.enqueue(tier, job_id="new")
    assert await hire(tier).next() == tier
    assert leaving.started.empty()


async def test_what_a_stopped_worker_held_for_later_goes_to_another_at_once(
    hire: Callable[..., Crew], job_queue: RedisJobQueue, client: redis.Redis, tier: str
) -> None:
    leaving, staying = hire(tier), hire(tier)
    await job_queue.enqueue(tier, job_id="job", delay_seconds=600)

    def holds(crew: Crew) -> bool:
        return bool(client.exists(_acks(crew.broker, f"{tier}.DQ")))

    await eventually(lambda: holds(leaving) or holds(staying))
    if holds(staying):
        leaving, staying = staying, leaving
    await asyncio.to_thread(leaving.worker.stop)
    await eventually(lambda: holds(staying))


def _acks(broker: AudioTextBroker, queue_name: str) -> str:
    return f"{NAMESPACE}:__acks__.{broker.broker_id}.{queue_name}"


async def test_an_idle_worker_stops_without_asking_redis(
    hire: Callable[..., Crew], redis_server: RedisServer, tier: str
) -> None:
    crew = hire(tier)
    redis_server.stop()
    try:
        async with asyncio.timeout(20):
            await asyncio.to_thread(crew.worker.stop)
    finally:
        redis_server.start()


async def test_the_message_of_a_killed_process_comes_back(
    hire: Callable[..., Crew], job_queue: RedisJobQueue, redis_server: RedisServer, tier: str
) -> None:
    with _process(redis_server, tier) as process:
        await job_queue.enqueue(tier, job_id="job")
        assert tier in await asyncio.to_thread(process.stdout.readline)
        process.kill()
    assert await hire(tier, heartbeat_timeout_ms=QUICK_MS).next() == tier


async def test_a_live_process_keeps_its_message_however_long_it_takes(
    hire: Callable[..., Crew], job_queue: RedisJobQueue, redis_server: RedisServer, tier: str
) -> None:
    with _process(redis_server, tier) as process:
        await job_queue.enqueue(tier, job_id="job")
        assert tier in await asyncio.to_thread(process.stdout.readline)
        crew = hire(tier, heartbeat_timeout_ms=QUICK_MS)
        await asyncio.sleep(3 * QUICK_MS / 1000)
        assert crew.started.empty()


@contextmanager
def _process(redis_server: RedisServer, tier: str) -> Iterator[subprocess.Popen[str]]:
    settings = redis_server.settings
    arguments = [settings.host, str(settings.port), redis_server.password, str(settings.queue_db), tier, str(QUICK_MS)]
    script = Path(__file__).with_name("queue_worker.py")
    with subprocess.Popen([sys.executable, script, *arguments], stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


async def test_an_acknowledgement_is_not_lost_while_redis_is_frozen(
    hire: Callable[..., Crew], job_queue: RedisJobQueue, redis_server: RedisServer, client: redis.Redis, tier: str
) -> None:
    crew = hire(tier, answer_seconds=0.5)
    freezer = frozen(redis_server, client)
    is_frozen = threading.Event()
    crew.on_message = lambda: (freezer.__enter__(), is_frozen.set())
    await job_queue.enqueue(tier, job_id="job")
    assert await asyncio.to_thread(is_frozen.wait, 30)
    crew.on_message = lambda: None
    await asyncio.sleep(1)
    await asyncio.to_thread(freezer.__exit__, None, None, None)
    assert await crew.next() == tier
    await eventually(lambda: not left_of(client, tier))
    assert crew.started.empty()
    await job_queue.enqueue(tier, job_id="job")
    assert await crew.next() == tier


async def test_nobody_who_submits_waits_for_a_frozen_redis(
    job_queue: RedisJobQueue, redis_server: RedisServer, client: redis.Redis, tier: str
) -> None:
    with frozen(redis_server, client):
        async with asyncio.timeout(20):
            with pytest.raises(QueueUnavailableError):
                await job_queue.enqueue(tier, job_id="job")


async def test_a_redis_that_takes_nothing_more_is_an_unreachable_one(
    redis_server: RedisServer, job_queue: RedisJobQueue, client: redis.Redis, tier: str
) -> None:
    broker = make_broker(redis_server.settings, redis_server.password, tiers=[tier], slots=1, client_name="test")
    client.config_set("maxmemory", 1)
    try:
        with pytest.raises(QueueUnavailableError):
            await job_queue.enqueue(tier, job_id="job")
        with pytest.raises(ConnectionClosed):
            broker.run("enqueue", tier, "id", "message")
    finally:
        client.config_set("maxmemory", 0)
        broker.close()


async def test_a_wrong_password_is_reported_like_an_unreachable_server(redis_server: RedisServer, tier: str) -> None:
    broker = make_broker(redis_server.settings, "wrong", tiers=[tier], slots=1, client_name="test")
    with pytest.raises(ConnectionClosed):
        broker.consume(tier)
    with pytest.raises(ConnectionClosed):
        broker.run("fetch", tier, 1)
    broker.close()
    async with open_job_queue(redis_server.settings, "wrong", client_name="test") as queue_of_stranger:
        with pytest.raises(QueueUnavailableError):
            await queue_of_stranger.enqueue(tier, job_id="job")


async def test_a_fetched_message_whose_reply_was_lost_comes_back_and_the_running_one_does_not(
    redis_server: RedisServer, job_queue: RedisJobQueue, client: redis.Redis, tier: str
) -> None:
    broker = make_broker(redis_server.settings, redis_server.password, tiers=[tier], slots=3, client_name="test")
    await job_queue.enqueue(tier, job_id="running")
    await job_queue.enqueue(tier, job_id="lost")
    running = next(broker.consume(tier))
    fetch = dispatch_arguments("fetch", tier, 1, worker=broker.broker_id)
    client.register_script(dispatch_script())(keys=[NAMESPACE], args=fetch)
    assert client.llen(f"{NAMESPACE}:{tier}") == 0
    restarted = broker.consume(tier)
    found = next(restarted)
    assert (running.options["job_id"], found.options["job_id"]) == ("running", "lost")
    restarted.ack(running)
    restarted.ack(found)
    assert not left_of(client, tier)
    broker.close()


@pytest.mark.parametrize("heartbeat_timeout_ms", [NEVER_MS, QUICK_MS], ids=["unnoticed", "noticed"])
async def test_workers_and_delayed_messages_survive_a_restart_of_redis(
    hire: Callable[..., Crew],
    job_queue: RedisJobQueue,
    redis_server: RedisServer,
    client: redis.Redis,
    tier: str,
    heartbeat_timeout_ms: int,
) -> None:
    crew = hire(tier, heartbeat_timeout_ms=heartbeat_timeout_ms)
    await job_queue.enqueue(tier, job_id="later", delay_seconds=2)
    await eventually(lambda: client.exists(_acks(crew.broker, f"{tier}.DQ")))
    redis_server.kill()
    await asyncio.sleep(1)
    redis_server.start()
    assert await crew.next() == tier
    await job_queue.enqueue(tier, job_id="now")
    assert await crew.next() == tier
    await eventually(lambda: not left_of(client, tier))
    assert crew.started.empty()


async def test_a_worker_may_start_before_redis_does(
    hire: Callable[..., Crew], job_queue: RedisJobQueue, redis_server: RedisServer, tier: str
) -> None:
    redis_server.stop()
    try:
        crew = hire(tier)
        await asyncio.sleep(0.5)
    finally:
        redis_server.start()
    await job_queue.enqueue(tier, job_id="job")
    assert await crew.next() == tier


async def test_an_outage_of_redis_is_told_once_and_not_by_every_queue_again_and_again(
    hire: Callable[..., Crew], redis_server: RedisServer, tier: str, caplog: pytest.LogCaptureFixture
) -> None:
    with capture_logs() as logs:
        crew = hire(tier, f"{tier}_other", heartbeat_timeout_ms=QUICK_MS)
        redis_server.stop()
        try:
            await eventually(lambda: crew.broker._listener._failures > 5)
        finally:
            redis_server.start()
        await eventually(lambda: crew.broker._listener._failures == 0)
    assert [line["event"] for line in logs] == ["wake_listener_disconnected"]
    assert not [record for record in caplog.records if record.name.startswith("dramatiq")]


async def test_garbage_on_the_queue_is_passed_over(
    hire: Callable[..., Crew], job_queue: RedisJobQueue, client: redis.Redis, tier: str
) -> None:
    crew = hire(tier)
    for content in (b"not json", None):
        message_id = str(uuid4())
        if content:
            client.hset(f"{NAMESPACE}:{tier}.msgs", message_id, content)
        client.rpush(f"{NAMESPACE}:{tier}", message_id)
        client.publish(WAKE_CHANNEL, tier)
    await job_queue.enqueue(tier, job_id="job")
    assert await crew.next() == tier
    await job_queue.enqueue(tier, job_id="job")
    assert await crew.next() == tier


async def test_a_message_for_an_unknown_actor_is_kept_as_a_dead_letter(
    hire: Callable[..., Crew], job_queue: RedisJobQueue, client: redis.Redis, tier: str
) -> None:
    crew = hire(tier)
    crew.broker.enqueue(dramatiq.Message(queue_name=tier, actor_name="unknown", args=(), kwargs={}, options={}))
    await eventually(lambda: client.zcard(f"{NAMESPACE}:{tier}.XQ"))
    await job_queue.enqueue(tier, job_id="job")
    assert await crew.next() == tier


async def test_a_failing_actor_does_not_stop_its_thread(
    hire: Callable[..., Crew], job_queue: RedisJobQueue, client: redis.Redis, tier: str
) -> None:
    crew = hire(tier)
    crew.on_message = lambda: 1 / 0
    await job_queue.enqueue(tier, job_id="job")
    assert await crew.next() == tier
    await job_queue.enqueue(tier, job_id="job")
    assert await crew.next() == tier
    await eventually(lambda: not left_of(client, tier))
