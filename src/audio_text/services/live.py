"""Use case: follow a job live. The row first, then every later event once and in order, then the row again."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from audio_text.domain.events import JobUpdate, Published
from audio_text.domain.job import Job, JobStatus
from audio_text.domain.transcript import Segment
from audio_text.errors import StreamGapError
from audio_text.ports import EventStream, JobRepository, Subscription


class LiveUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """One thing to tell a follower; `event_id` is the cursor to come back with.

    `job` is the row where the update was read from it: at the start, and at the end with the result.
    """

    event_id: str
    update: JobUpdate
    job: Job | None = None

    @property
    def job_id(self) -> str:
        """Of which job."""
        return self.update.job_id


class LiveService:
    """Follows jobs for sockets and event streams."""

    def __init__(self, *, jobs: JobRepository, events: EventStream) -> None:
        self._jobs = jobs
        self._events = events

    async def follow(
        self, job_id: str, *, after: str | None = None, idle_seconds: float | None = None
    ) -> AsyncGenerator[LiveUpdate | None, None]:
        """Yield the state now, then everything that happens, and end after the update of a terminal status.

        A follower that passes the last `event_id` it saw gets only what came after it; without one, or when the
        log no longer reaches back so far, the first update carries all segments stored so far. Progress never
        goes back. After every `idle_seconds` without news the row is read again, so that a lost event leaves nobody
        waiting, and None says that there is nothing to tell. Raises JobNotFoundError, EventsUnavailableError.
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
        position = subscription.position
        view.cursor = subscription.start
        if not subscription.is_continuous:
            yield view.of_row(job, event_id=position, segments=await self._untold(view))
        elif not job.status.is_terminal or view.cursor == position:
            yield view.of_row(job, event_id=view.cursor)
        events = aiter(subscription)
        while not view.is_over:
            try:
                async with asyncio.timeout(idle_seconds):
                    published = await anext(events)
            except TimeoutError:
                yield await self._look(view)
                continue
            if published.update.status.is_terminal:
                yield await self._look(view, event_id=published.event_id)
                continue
            if view.misses_segments_before(published.update):
                yield view.of_row(job, event_id=view.cursor, segments=await self._untold(view))
            yield view.of_event(published)
            if job.status.is_terminal and published.event_id == position:
                # The log ends without a terminal event: it was lost, the row is not.
                yield await self._look(view)

    async def _look(self, view: "_View", *, event_id: str | None = None) -> LiveUpdate | None:
        job = await self._jobs.get(view.job_id)
        # What an event carried to a follower that came back with a cursor, it has; what was lost, it may not have.
        may_miss_some = view.next_segment is not None or event_id is None
        segments = await self._untold(view) if job.status.is_terminal and may_miss_some else ()
        return view.of_row(job, event_id=event_id or view.cursor or "", segments=segments)

    async def _untold(self, view: "_View") -> tuple[Segment, ...]:
        return tuple(await self._jobs.segments(view.job_id, first=view.next_segment or 0))


class _View:
    """What one follower has been told so far, so that nothing is told twice and progress never falls."""

    def __init__(self, job_id: str, *, cursor: str | None) -> None:
        self.job_id = job_id
        self.cursor = cursor
        self.next_segment = None if cursor else 0
        self._status: JobStatus | None = None
        self._progress = 0.0

    @property
    def is_over(self) -> bool:
        """Whether the end has been told."""
        return self._status is not None and self._status.is_terminal

    def misses_segments_before(self, update: JobUpdate) -> bool:
        """Whether an event was lost on its way into the log."""
        return bool(self.next_segment is not None and update.segments and update.segments[0].id > self.next_segment)

    def of_row(self, job: Job, *, event_id: str, segments: tuple[Segment, ...] = ()) -> LiveUpdate | None:
        """None when the row says nothing that was not told before."""
        self.cursor = event_id
        if not segments and job.status is self._status and job.progress <= self._progress:
            return None
        update = JobUpdate(job_id=job.id, status=job.status, progress=job.progress, segments=segments)
        return LiveUpdate(event_id=event_id, update=self._told(update), job=job)

    def of_event(self, published: Published) -> LiveUpdate:
        self.cursor = published.event_id
        return LiveUpdate(event_id=published.event_id, update=self._told(published.update))

    def _told(self, update: JobUpdate) -> JobUpdate:
        segments = tuple(segment for segment in update.segments if segment.id >= (self.next_segment or 0))
        if segments:
            self.next_segment = segments[-1].id + 1
        self._status = update.status
        self._progress = max(self._progress, update.progress)
        return msgspec.structs.replace(update, segments=segments, progress=self._progress)
