"""The event logs in memory, with followers."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from contextlib import asynccontextmanager, suppress

from audio_text.adapters.event_log import START, EventId
from audio_text.domain.events import JobUpdate, Published
from audio_text.errors import EventsUnavailableError, StreamGapError


class FakeEventServer:
    """What several streams share; set `is_down` to see what a caller does then."""

    def __init__(self, *, log_length: int = 10_000) -> None:
        self.updates: list[JobUpdate] = []
        self.logs: dict[str, list[Published]] = defaultdict(list)
        self.changed = asyncio.Condition()
        self.is_down = False
        self.losses = 0
        self._log_length = log_length

    def append(self, update: JobUpdate) -> str:
        log = self.logs[update.job_id]
        if log and not update.is_news(log[-1].update):
            return log[-1].event_id
        ordinal = EventId.parse(log[-1].event_id).ordinal + 1 if log else 1
        event_id = str(EventId(1_000 + self.losses, ordinal))
        log.append(Published(event_id=event_id, update=update))
        del log[: -self._log_length]
        self.updates.append(update)
        return event_id

    def lose(self) -> None:
        self.logs.clear()
        self.losses += 1

    def after(self, job_id: str, place: EventId) -> list[Published]:
        """The events after this one. Raises StreamGapError when some before them are missing."""
        log = self.logs[job_id]
        if not log and place == START:
            return []
        first = EventId.parse(log[0].event_id).ordinal if log else 0
        known = place.ordinal + 1 - first  # events of the log up to and with `place`
        if known == 0 or (0 < known <= len(log) and log[known - 1].event_id == str(place)):
            return log[known:]
        raise StreamGapError


class FakeSubscription:
    def __init__(self, server: FakeEventServer, job_id: str, after: EventId | None) -> None:
        log = server.logs[job_id]
        self.position = log[-1].event_id if log else str(START)
        self.start, self.is_continuous = self.position, False
        self._server = server
        self._job_id = job_id
        if after is not None:
            with suppress(StreamGapError):
                server.after(job_id, after)
                self.start, self.is_continuous = str(after), True
        self._last = EventId.parse(self.start)

    def __aiter__(self) -> AsyncIterator[Published]:
        return self

    async def __anext__(self) -> Published:
        async with self._server.changed:
            while not (events := self._server.after(self._job_id, self._last)):
                await self._server.changed.wait()
        self._last = EventId.parse(events[0].event_id)
        return events[0]


class FakeEventStream:
    """EventStream in memory."""

    def __init__(self, server: FakeEventServer | None = None) -> None:
        self.server = server or FakeEventServer()

    @property
    def updates(self) -> list[JobUpdate]:
        """Everything that was published, over all jobs."""
        return self.server.updates

    async def publish(self, update: JobUpdate) -> str:
        await self.check()
        async with self.server.changed:
            event_id = self.server.append(update)
            self.server.changed.notify_all()
        await asyncio.sleep(0)  # a real stream lets others run meanwhile
        return event_id

    @asynccontextmanager
    async def follow(self, job_id: str, *, after: str | None = None) -> AsyncGenerator[FakeSubscription, None]:
        place = None if after is None else EventId.parse(after)
        await self.check()
        yield FakeSubscription(self.server, job_id, place)

    async def forget(self, job_ids: Collection[str]) -> None:
        await self.check()
        for job_id in job_ids:
            self.server.logs.pop(job_id, None)

    async def check(self) -> None:
        if self.server.is_down:
            raise EventsUnavailableError
