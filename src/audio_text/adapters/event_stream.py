"""Live events over Redis streams: publishing, and following a job without gaps.

A follower is registered with the process's live reader before it looks at the job's log, so that every event is either
in the log it reads or comes live. Events carry their ordinal within the job: what comes twice is dropped, and what is
missing is read from the log. A slow follower keeps a bounded buffer and catches up from the log as well.
"""

import asyncio
import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from typing import NoReturn

from redis.asyncio import Redis

from audio_text.adapters.event_log import PAGE, START, EventId, RedisEventLog
from audio_text.adapters.live_reader import LiveReader
from audio_text.adapters.redis_client import answering, open_blocking_client, open_client, ping
from audio_text.domain.events import JobUpdate, Published
from audio_text.errors import EventsUnavailableError, StreamGapError
from audio_text.settings import EventSettings, RedisSettings

CONNECTIONS = 8
"""Shared by all publishers and followers of a process; each command holds one for less than a millisecond."""

RETRY_SECONDS = 0.5
"""Between two tries of a follower to catch up while Redis does not answer."""


class RedisSubscription:
    """The live events of one job. Holds at most `limit` live events, and one page of the log."""

    def __init__(self, job_id: str, log: RedisEventLog, *, limit: int) -> None:
        self.job_id = job_id
        self.start = self.position = str(START)
        self.is_continuous = False
        self._log = log
        self._limit = limit
        self._last = START
        self._is_behind = False
        self._is_lost = False
        self._ready: deque[tuple[EventId, Published]] = deque()
        self._arrived = asyncio.Event()

    async def begin(self, after: EventId | None) -> None:
        """Find the place to start at. Raises EventsUnavailableError."""
        bookmark = await self._log.bookmark(self.job_id, after)
        self.is_continuous = bookmark.is_continuous
        self._last = after if after is not None and bookmark.is_continuous else bookmark.newest
        self._is_behind = self._is_behind or self._last != bookmark.newest
        self.start, self.position = str(self._last), str(bookmark.newest)

    def offer(self, place: EventId, published: Published) -> None:
        """Take a live event, unless the log has to be read anyway."""
        if self._is_behind:
            return
        if len(self._ready) < self._limit:
            self._ready.append((place, published))
            self._arrived.set()
        else:
            self.fall_behind()

    def fall_behind(self) -> None:
        """Read the log before anything else that comes live."""
        self._is_behind = True
        self._arrived.set()

    def lose_track(self) -> None:
        """End after what has arrived: only the row is sure now."""
        self._is_lost = True
        self._arrived.set()

    def __aiter__(self) -> AsyncIterator[Published]:
        """Yield for ever; raises StreamGapError when events were lost."""
        return self

    async def __anext__(self) -> Published:
        """Wait for the next event; safe to cancel and to call again."""
        while True:
            while self._ready:
                place, published = self._ready.popleft()
                if place <= self._last:
                    continue
                if place.ordinal == self._last.ordinal + 1:
                    self._last = place
                    return published
                self.fall_behind()
            if self._is_lost:
                raise StreamGapError
            if self._is_behind:
                await self._catch_up()
            else:
                self._arrived.clear()
                await self._arrived.wait()

    async def _catch_up(self) -> None:
        self._is_behind = False  # first: what is published while we read comes live
        page: list[tuple[EventId, Published]] | None = None
        try:
            page = await self._log.read(self.job_id, self._last)
        except EventsUnavailableError:
            await asyncio.sleep(RETRY_SECONDS * random.uniform(0.5, 1.5))  # noqa: S311 -- so that not all come at once
        finally:
            if page is None or len(page) == PAGE:
                self._is_behind = True
        self._ready.extendleft(reversed(page or ()))


class RedisEventStream:
    """EventStream over Redis streams; without a reader it only publishes."""

    def __init__(self, client: Redis, settings: EventSettings, reader: LiveReader | None) -> None:
        self._client = client
        self._log = RedisEventLog(client, settings)
        self._limit = settings.follower_buffer
        self._reader = reader

    @property
    def follower_count(self) -> int:
        """How many follow just now, in this process."""
        return self._reader.follower_count if self._reader else 0

    async def publish(self, update: JobUpdate) -> str:
        """Append to the job's log; returns the event's id. Raises EventsUnavailableError within 2 seconds."""
        return str(await self._log.append(update))

    @asynccontextmanager
    async def follow(self, job_id: str, *, after: str | None = None) -> AsyncGenerator[RedisSubscription, None]:
        """Subscribe: with `after`, from that event on (replayed from the log), else from now.

        Raises EventsUnavailableError within 2 seconds; InvalidRequestError when `after` is not an event's id.
        """
        if self._reader is None:
            raise EventsUnavailableError("This process publishes events and does not follow them.")
        place = None if after is None else EventId.parse(after)
        subscription = RedisSubscription(job_id, self._log, limit=self._limit)
        self._reader.add(subscription)
        try:
            await subscription.begin(place)
            yield subscription
        finally:
            self._reader.remove(subscription)

    async def forget(self, job_ids: Collection[str]) -> None:
        """Remove the logs of these jobs. Raises EventsUnavailableError within 2 seconds."""
        await self._log.remove(job_ids)

    async def check(self) -> None:
        """Raise EventsUnavailableError unless the stream answers."""
        async with answering(EventsUnavailableError):
            await ping(self._client)


@asynccontextmanager
async def open_event_stream(
    settings: RedisSettings, password: str, events: EventSettings, *, client_name: str, live: bool
) -> AsyncGenerator[RedisEventStream, None]:
    """Open the stream; Redis does not have to be up yet. `live` starts the reader that following needs."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            open_client(settings, password, db=settings.events_db, client_name=client_name, connections=CONNECTIONS)
        )
        reader = None
        if live:
            blocking_client = await stack.enter_async_context(
                open_blocking_client(settings, password, db=settings.events_db, client_name=f"{client_name}-live")
            )
            reader = LiveReader(blocking_client)
            await stack.enter_async_context(_running(reader.run()))
        yield RedisEventStream(client, events, reader)


@asynccontextmanager
async def _running(work: Coroutine[None, None, NoReturn]) -> AsyncGenerator[None, None]:
    """Run the work beside the body, and cancel it afterwards."""
    failure = None
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        try:
            yield
        except Exception as error:  # noqa: BLE001 -- raised again below: the group would wrap the body's own error
            failure = error
        finally:
            task.cancel()
    if failure is not None:
        raise failure
