"""Fetching messages without polling, and only as many as there are free threads.

A consumer fetches when there may be a message on its queue (a wake-up came, or the last fetch was not empty) and a
slot is free to run it; otherwise it waits on a condition. Each fetch takes one message: what a process cannot run now
is left to an idle process. A rare fetch without reason covers a wake-up that got lost and keeps the heartbeat going.
"""

import time
from collections import Counter
from collections.abc import Iterable
from threading import Condition
from typing import Protocol, cast

import structlog
from dramatiq import Message
from dramatiq.broker import Consumer, MessageProxy
from dramatiq.errors import DecodeError

log = structlog.get_logger(__name__)

DRAIN_STEP_SECONDS = 0.1
"""Dramatiq tells nobody when it stops its consumers, so that while draining they have to look up this often."""


class Command(Protocol):
    """Runs one command of the queue's script. Raises ConnectionClosed."""

    def __call__(self, command: str, queue_name: str, *arguments: str | int) -> object:
        """Return the script's reply."""
        ...


class Slots:
    """Room for messages in this process. Guarded by the condition in Signals."""

    def __init__(self, limit: int) -> None:
        self.held: set[str] = set()
        self.reserved = 0
        self.is_closed = False
        self._limit = limit

    @property
    def has_room(self) -> bool:
        """Whether one more message may be fetched."""
        return not self.is_closed and len(self.held) + self.reserved < self._limit


class Signals:
    """What the consumers of a process wait for: news on their queue, a free slot, or the end."""

    def __init__(self) -> None:
        self.changed = Condition()
        self.is_draining = False
        self._wakes: Counter[str] = Counter()
        self._alarms = 0

    def wakes(self, queue_name: str) -> int:
        """How often there was reason to look at the queue."""
        return self._wakes[queue_name] + self._alarms

    def wake(self, queue_name: str) -> None:
        """There may be something new on the queue."""
        with self.changed:
            self._wakes[queue_name] += 1
            self.changed.notify_all()

    def wake_all(self) -> None:
        """There may be something new on any queue."""
        with self.changed:
            self._alarms += 1
            self.changed.notify_all()

    def drain(self) -> None:
        """The worker is about to stop."""
        with self.changed:
            self.is_draining = True
            self.changed.notify_all()


class WakefulConsumer(Consumer):
    """One queue's messages, one at a time, when there is room for them."""

    def __init__(self, run: Command, queue_name: str, *, signals: Signals, slots: Slots, idle_seconds: float) -> None:
        self._run = run
        self._queue_name = queue_name
        self._signals = signals
        self._slots = slots
        self._idle_seconds = idle_seconds
        self._may_have_more = True
        self._seen_wakes = 0
        self._fetch_due = 0.0
        self._etas: dict[str, float] = {}

    def __next__(self) -> MessageProxy | None:
        """Wait for a message; None when a delayed one has come due, or for no reason. Raises ConnectionClosed."""
        if not self._await_turn():
            return None
        message = None
        try:
            message = self._fetch()
        finally:
            self._end_turn(message)
        return message

    def ack(self, message: MessageProxy) -> None:
        """The message is done with. Raises ConnectionClosed; safe to repeat."""
        self._settle("ack", [message])

    def nack(self, message: MessageProxy) -> None:
        """Nobody can run the message: keep it as a dead letter. Raises ConnectionClosed; safe to repeat."""
        self._settle("nack", [message])

    def requeue(self, messages: Iterable[MessageProxy]) -> None:
        """Give messages back to the queue, for others. Raises ConnectionClosed; safe to repeat."""
        self._settle("requeue", messages)

    def recover(self, fetched: Iterable[str]) -> None:
        """Give back those of the fetched ids that never arrived here: the reply to their fetch was lost."""
        with self._signals.changed:
            lost = set(fetched) - self._slots.held
        if lost:
            log.warning("messages_recovered", queue=self._queue_name, count=len(lost))
            self._run("requeue", self._queue_name, *lost)

    def _await_turn(self) -> bool:
        """Wait until a fetch makes sense, and reserve a slot for it; False when there is something else to do."""
        changed = self._signals.changed
        with changed:
            if self._signals.is_draining:
                changed.wait(min(DRAIN_STEP_SECONDS, self._patience()))
            else:
                changed.wait_for(lambda: self._may_fetch() or self._signals.is_draining, self._patience())
            if not self._may_fetch():
                return False
            self._slots.reserved += 1
            self._seen_wakes = self._signals.wakes(self._queue_name)
            self._fetch_due = time.monotonic() + self._idle_seconds
            return True

    def _may_fetch(self) -> bool:
        return self._slots.has_room and (
            self._may_have_more
            or self._signals.wakes(self._queue_name) != self._seen_wakes
            or time.monotonic() >= self._fetch_due
        )

    def _patience(self) -> float:
        """Seconds until the next fetch for no reason, or until the next delayed message is due."""
        until_fetch = self._fetch_due - time.monotonic()
        patience = until_fetch if until_fetch > 0 else self._idle_seconds
        if self._etas:
            patience = min(patience, min(self._etas.values()) / 1000 - time.time())
        return max(0.0, patience)

    def _fetch(self) -> MessageProxy | None:
        found = cast("list[bytes | None]", self._run("fetch", self._queue_name, 1))
        self._may_have_more = bool(found)
        if not found or found[0] is None:  # None: somebody else was done with it meanwhile
            return None
        try:
            message = cast("Message[None]", Message.decode(found[0]))  # pyright: ignore[reportUnknownMemberType] -- dramatiq does not annotate it
        except DecodeError:
            log.exception("message_unreadable", queue=self._queue_name)
            return None
        return MessageProxy(message)

    def _end_turn(self, message: MessageProxy | None) -> None:
        with self._signals.changed:
            self._slots.reserved -= 1
            if message is None:
                self._signals.changed.notify_all()
                return
            message_id = _id(message)
            self._slots.held.add(message_id)
            if "eta" in message.options:
                self._etas[message_id] = message.options["eta"]

    def _settle(self, command: str, messages: Iterable[MessageProxy]) -> None:
        message_ids = [_id(message) for message in messages]
        if not message_ids:
            return
        self._run(command, self._queue_name, *message_ids)
        with self._signals.changed:
            self._slots.held.difference_update(message_ids)
            for message_id in message_ids:
                self._etas.pop(message_id, None)
            self._signals.changed.notify_all()


def _id(message: MessageProxy) -> str:
    return message.options["redis_message_id"]
