"""The dramatiq broker of worker processes.

Dramatiq gives us at-least-once delivery, heartbeats and worker threads. Retries, time limits and expiry are left
out on purpose: a message is only a wake-up, and those are decided on the job's row (ADR 0002).
"""

import logging
import threading
from collections.abc import Callable, Collection, Generator
from contextlib import contextmanager
from typing import cast

import redis
import structlog
from dramatiq import Worker
from dramatiq.broker import Consumer
from dramatiq.brokers.redis import RedisBroker
from dramatiq.errors import ConnectionClosed
from redis.backoff import NoBackoff
from redis.retry import Retry

from audio_text.adapters.consumer import Signals, Slots, WakefulConsumer
from audio_text.adapters.queue_protocol import (
    HEARTBEAT_TIMEOUT_MS,
    NAMESPACE,
    WAKE_CHANNEL,
    dispatch_arguments,
    dispatch_script,
)
from audio_text.adapters.redis_client import KEEPALIVE, pause_seconds
from audio_text.settings import RedisSettings

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 5.0
"""How long a worker's thread waits for Redis; it may be patient, nobody waits for it."""

FETCHES_PER_HEARTBEAT_TIMEOUT = 5
"""An idle consumer fetches so often within the heartbeat timeout: often enough that no pause looks like death."""

DELAYED_LIMIT = 1_000
"""Most delayed messages per queue that one process watches over."""

THREAD_STEP_MS = 250
"""How often an idle worker thread looks whether it should end; work reaches it at once in any case."""

LISTEN_STEP_SECONDS = 0.25
"""How often the listener looks whether it should end."""

OUTAGE_LOGGER = "dramatiq.worker.ConsumerThread"
"""Where dramatiq says every three seconds, for each queue, that Redis is away."""


class AudioTextBroker(RedisBroker):
    """Queues in Redis, read by consumers that wait instead of polling."""

    def __init__(self, client: redis.Redis, *, slots: int, heartbeat_timeout_ms: int) -> None:
        super().__init__(  # pyright: ignore[reportUnknownMemberType] -- dramatiq does not annotate it
            client=client,
            namespace=NAMESPACE,
            middleware=[],
            heartbeat_timeout=heartbeat_timeout_ms,
        )
        self.signals = Signals()
        self._script = client.register_script(dispatch_script())
        self._client = client
        self._slots = Slots(slots)
        self._idle_seconds = heartbeat_timeout_ms / 1000 / FETCHES_PER_HEARTBEAT_TIMEOUT
        self._listener = WakeListener(client, self.signals)

    def consume(self, queue_name: str, prefetch: int = 1, timeout: int = 0) -> Consumer:  # noqa: ARG002 -- dramatiq's signature
        """Read one queue. How much and how long is decided by free slots and wake-ups. Raises ConnectionClosed."""
        is_delayed = queue_name in self.delay_queues
        consumer = WakefulConsumer(
            self.run,
            queue_name,
            signals=self.signals,
            slots=Slots(prefetch) if is_delayed else self._slots,
            idle_seconds=self._idle_seconds,
        )
        with _as_connection_closed():
            fetched = self._client.smembers(f"{NAMESPACE}:__acks__.{self.broker_id}.{queue_name}")
        consumer.recover(member.decode() if isinstance(member, bytes) else member for member in fetched)
        return consumer

    def run(self, command: str, queue_name: str, *arguments: str | int) -> object:
        """Run one command of the queue's script. Raises ConnectionClosed."""
        return self._dispatch(command)(queue_name, *arguments)

    def start_listening(self) -> None:
        """Wake the consumers when something is put on their queues."""
        self._listener.start()

    def drain(self) -> None:
        """Fetch nothing more to run; heartbeats and delayed messages go on."""
        self._slots.is_closed = True
        self.signals.drain()

    def close(self) -> None:
        """Disconnect. The worker must have stopped."""
        self._listener.stop()
        self._client.close()

    def _dispatch(self, command: str) -> Callable[..., object]:
        # All that dramatiq asks of Redis passes here, so that its vendor's errors end here, too.
        def run(queue_name: str, *arguments: str | int | bytes) -> object:
            argv = dispatch_arguments(
                command,
                queue_name,
                *arguments,
                worker=self.broker_id,
                heartbeat_timeout_ms=self.heartbeat_timeout,
            )
            with _as_connection_closed():
                return self._script(keys=[NAMESPACE], args=argv)

        return run


@contextmanager
def _as_connection_closed() -> Generator[None, None, None]:
    """Dramatiq tries again after this one error only; anything else would cost an acknowledgement."""
    try:
        yield
    except (redis.RedisError, OSError) as failure:
        raise ConnectionClosed(failure) from failure


class AudioTextWorker(Worker):
    """Dramatiq's worker, with the broker's listening and draining tied to its life."""

    broker: AudioTextBroker

    def start(self) -> None:
        """Start the threads; neither Redis nor a message has to be there yet."""
        self.broker.start_listening()
        super().start()

    def stop(self, timeout: int = 600_000) -> None:
        """End in good order: running messages are waited for `timeout` ms, others go back to their queues."""
        self.broker.drain()
        super().stop(timeout)


class WakeListener(threading.Thread):
    """Hears the wake-ups that come with every enqueued message."""

    def __init__(self, client: redis.Redis, signals: Signals) -> None:
        super().__init__(name="wake-listener", daemon=True)
        self._client = client
        self._signals = signals
        self._stopped = threading.Event()
        self._failures = 0

    def run(self) -> None:
        """Listen until stopped, over every loss of the connection."""
        while not self._stopped.is_set():
            try:
                self._listen()
            except Exception as failure:  # noqa: BLE001 -- a worker that went deaf would only be noticed by its slowness
                if not self._failures:
                    log.warning("wake_listener_disconnected", error=repr(failure))
                self._failures += 1
                self._stopped.wait(pause_seconds(self._failures))

    def stop(self) -> None:
        """End the thread, if it was started."""
        self._stopped.set()
        if self.is_alive():
            self.join()

    def _listen(self) -> None:
        with self._client.pubsub() as channel:  # pyright: ignore[reportUnknownMemberType] -- redis does not annotate it
            channel.subscribe(WAKE_CHANNEL)
            while not self._stopped.is_set():
                news = cast("dict[str, bytes] | None", channel.get_message(timeout=LISTEN_STEP_SECONDS))
                if news is None:
                    continue
                if cast("str", news["type"]) == "message":
                    self._signals.wake(news["data"].decode())
                else:  # subscribed: whatever was said before was not heard
                    self._failures = 0
                    self._signals.wake_all()


def make_broker(
    settings: RedisSettings,
    password: str,
    *,
    tiers: Collection[str],
    slots: int,
    client_name: str,
    heartbeat_timeout_ms: int = HEARTBEAT_TIMEOUT_MS,
) -> AudioTextBroker:
    """A broker for a process that runs `slots` messages at once, of these tiers' queues; connects when it is used.

    Declare the actor on one of the tiers (`queue_name=tiers[0]`): it receives the messages of all of them.
    """
    listener, spare = 1, 2
    client = redis.Redis(
        host=settings.host,
        port=settings.port,
        db=settings.queue_db,
        password=password or None,
        client_name=client_name,
        protocol=2,
        max_connections=2 * len(tiers) + slots + listener + spare,
        socket_connect_timeout=ANSWER_SECONDS,
        socket_timeout=ANSWER_SECONDS,
        socket_keepalive=True,
        socket_keepalive_options=KEEPALIVE,
        retry=Retry(NoBackoff(), 0),  # a fetch must not be repeated blindly; dramatiq repeats the rest
    )
    broker = AudioTextBroker(client, slots=slots, heartbeat_timeout_ms=heartbeat_timeout_ms)
    for tier in tiers:
        broker.declare_queue(tier)
    return broker


def make_worker(broker: AudioTextBroker, threads: int) -> AudioTextWorker:
    """A worker with as many threads as the broker has slots; not started."""
    for queue_name in {*broker.queues, *broker.delay_queues}:
        logging.getLogger(f"{OUTAGE_LOGGER}({queue_name})").addFilter(_is_news)
    worker = AudioTextWorker(broker, worker_timeout=THREAD_STEP_MS, worker_threads=threads)
    # Dramatiq's own default comes from the environment, which is not ours to be configured by.
    worker.queue_prefetch = threads
    worker.delay_prefetch = DELAYED_LIMIT
    return worker


def _is_news(record: logging.LogRecord) -> bool:
    """Whether nobody else says it: an outage of the queue is in the log once, with what to do about it."""
    of_outage = isinstance(record.args, tuple) and any(isinstance(part, ConnectionClosed) for part in record.args)
    return not (of_outage or str(record.msg).startswith("Restarting consumer"))
