"""Use case: follow a job live. The row first, then every later event once and in order, then the row again."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import msgspec

from audio_text.domain.backlog import QueuePlace
from audio_text.domain.events import JobUpdate, Published
from audio_text.domain.job import Job, JobStatus
from audio_text.domain.transcript import Segment
from audio_text.errors import StreamGapError
from audio_text.ports import EventStream, JobRepository, Subscription
from audio_text.services.backlog import BacklogService


class LiveUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to tell a follower; `event_id` is the cursor to come back with.

    `job` is the row where the update was read from it: at the start, and at the end with the result. `place` is where
    a pending job stands in the queue of its tier, if that is known.
    """

    event_id: str
    update: JobUpdate
    job: Job | None = None
    place: QueuePlace | None = None

    @property
    def job_id(self) -> str:
        """Of which job."""
        return self.update.job_id


class LiveService:
    """Follows jobs for sockets and event streams; with a backlog, it tells those that wait of their places."""

    def __init__(self, *, jobs: JobRepository, events: EventStream, backlog: BacklogService | None = None) -> None:
        self._jobs = jobs
        self._events = events
        self._backlog = backlog

    async def follow(
        self, job_id: str, *, after: str | None = None, idle_seconds: float | None = None
    ) -> AsyncGenerator[LiveUpdate | None, None]:
        """Yield the state now, then everything that happens, and end after the update of a terminal status.

        A follower that passes the last `event_id` it saw gets only what came after it; without one, or when the
        log no longer reaches back so far, the first update carries all segments stored so far. Progress never
        goes back. While the job waits, it is told when its place in the queue changes. After every `idle_seconds`
        without news the row is read again, so that a lost event leaves nobody waiting, and None says that there is
        nothing to tell. Raises JobNotFoundError, EventsUnavailableError.
        """
        view = _View(job_id, cursor=after)
        while not view.is_over:
            try:
                async with (
                    self._events.follow(job_id, after=view.cursor) as subscription,
                    aclosing(self._updates(view, subscription, idle_seconds)) as updates,
                ):
                    async for update in updates:
                        yield update
            except StreamGapError:
                view.cursor = None

    async def _updates(
        self, view: "_View", subscription: Subscription, idle_seconds: float | None
    ) -> AsyncGenerator[LiveUpdate | None, None]:
        # The position was read before the row, and workers write the row before they publish:
        # the row therefore holds at least everything up to the position.
        job = await self._jobs.get(view.job_id)
        place = await self._place(job)
        position = subscription.position
        view.cursor = subscription.start
        if not subscription.is_continuous:
            yield view.of_row(job, event_id=position, segments=await self._untold(view), place=place)
        elif not job.status.is_terminal or view.cursor == position:
            yield view.of_row(job, event_id=view.cursor, place=place)
        events = aiter(subscription)
        while not view.is_over:
            news = await self._next(events, view, idle_seconds)
            if news is None:
                yield await self._look(view)
            elif isinstance(news, LiveUpdate):
                yield news
            elif news.update.status.is_terminal:
                yield await self._look(view, event_id=news.event_id)
            else:
                if view.misses_segments_before(news.update):
                    yield view.of_row(job, event_id=view.cursor, segments=await self._untold(view))
                yield await self._of_event(view, news)
                if job.status.is_terminal and news.event_id == position:
                    # The log ends without a terminal event: it was lost, the row is not.
                    yield await self._look(view)

    async def _next(
        self, events: AsyncIterator[Published], view: "_View", idle_seconds: float | None
    ) -> Published | LiveUpdate | None:
        """Wait for an event, or for another place in the queue; None: `idle_seconds` brought neither."""
        silence = 0.0
        while True:
            pause = self._pause(view, idle_seconds)
            try:
                async with asyncio.timeout(pause):
                    return await anext(events)
            except TimeoutError:
                silence += pause or 0.0
            if idle_seconds is not None and silence >= idle_seconds:
                return None
            if (moved := await self._moved(view)) is not None:
                return moved

    def _pause(self, view: "_View", idle_seconds: float | None) -> float | None:
        """How long to wait for an event before something else is looked at."""
        if self._backlog is None or not view.is_waiting:
            return idle_seconds
        return min(self._backlog.refresh_seconds, idle_seconds or self._backlog.refresh_seconds)

    async def _look(self, view: "_View", *, event_id: str | None = None) -> LiveUpdate | None:
        job = await self._jobs.get(view.job_id)
        # What an event carried to a follower that came back with a cursor, it has; what was lost, it may not have.
        may_miss_some = view.next_segment is not None or event_id is None
        segments = await self._untold(view) if job.status.is_terminal and may_miss_some else ()
        place = await self._place(job)
        return view.of_row(job, event_id=event_id or view.cursor or "", segments=segments, place=place)

    async def _moved(self, view: "_View") -> LiveUpdate | None:
        """Tell a waiting job's place, if it is another one than was told."""
        if view.row is None or (place := await self._place(view.row)) is None:
            return None
        return view.of_row(view.row, event_id=view.cursor or "", place=place)

    async def _of_event(self, view: "_View", published: Published) -> LiveUpdate:
        place = None
        if published.update.status is JobStatus.pending:
            view.row = await self._jobs.get(view.job_id)  # a retry may have taken it to another tier
            place = await self._place(view.row)
        return view.of_event(published, place=place)

    async def _place(self, job: Job) -> QueuePlace | None:
        return await self._backlog.place(job) if self._backlog else None

    async def _untold(self, view: "_View") -> tuple[Segment, ...]:
        return tuple(await self._jobs.segments(view.job_id, first=view.next_segment or 0))


class _View:
    """What one follower has been told so far, so that nothing is told twice and progress never falls."""

    def __init__(self, job_id: str, *, cursor: str | None) -> None:
        self.job_id = job_id
        self.cursor = cursor
        self.row: Job | None = None
        self.next_segment = None if cursor else 0
        self._status: JobStatus | None = None
        self._progress = 0.0
        self._position: int | None = None

    @property
    def is_over(self) -> bool:
        """Whether the end has been told."""
        return self._status is not None and self._status.is_terminal

    @property
    def is_waiting(self) -> bool:
        """Whether the job waits for a worker, as far as was told."""
        return self._status is JobStatus.pending

    def misses_segments_before(self, update: JobUpdate) -> bool:
        """Whether an event was lost on its way into the log."""
        return bool(self.next_segment is not None and update.segments and update.segments[0].id > self.next_segment)

    def of_row(
        self, job: Job, *, event_id: str, segments: tuple[Segment, ...] = (), place: QueuePlace | None = None
    ) -> LiveUpdate | None:
        """None when the row and the place say nothing that was not told before."""
        self.cursor, self.row = event_id, job
        has_moved = place is not None and place.position != self._position
        if not segments and not has_moved and job.status is self._status and job.progress <= self._progress:
            return None
        update = JobUpdate(job_id=job.id, status=job.status, progress=job.progress, segments=segments)
        return LiveUpdate(event_id=event_id, update=self._told(update, place), job=job, place=place)

    def of_event(self, published: Published, *, place: QueuePlace | None) -> LiveUpdate:
        self.cursor = published.event_id
        return LiveUpdate(event_id=published.event_id, update=self._told(published.update, place), place=place)

    def _told(self, update: JobUpdate, place: QueuePlace | None) -> JobUpdate:
        segments = tuple(segment for segment in update.segments if segment.id >= (self.next_segment or 0))
        if segments:
            self.next_segment = segments[-1].id + 1
        self._status = update.status
        self._position = place.position if place else None
        self._progress = max(self._progress, update.progress)
        return msgspec.structs.replace(update, segments=segments, progress=self._progress)
