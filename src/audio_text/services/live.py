"""Use case: follow a job live. The row first, then every later event once and in order, then the row again."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from audio_text.domain.events import JobUpdate, Published
from audio_text.domain.job import Job
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


class LiveService:
    """Follows jobs for sockets and event streams."""

    def __init__(self, *, jobs: JobRepository, events: EventStream) -> None:
        self._jobs = jobs
        self._events = events

    async def follow(self, job_id: str, *, after: str | None = None) -> AsyncGenerator[LiveUpdate, None]:
        """Yield the state now, then everything that happens, and end after the update of a terminal status.

        A follower that passes the last `event_id` it saw gets only what came after it; without one, or when the
        log no longer reaches back so far, the first update carries all segments stored so far. Progress never
        goes back. Raises JobNotFoundError, EventsUnavailableError.
        """
        cursor = after
        view = _View(job_id)
        while True:
            try:
                async with (
                    self._events.follow(job_id, after=cursor) as subscription,
                    aclosing(self._updates(view, subscription)) as updates,
                ):
                    async for update in updates:
                        yield update
            except StreamGapError:
                cursor = None
            else:
                return

    async def _updates(self, view: "_View", subscription: Subscription) -> AsyncGenerator[LiveUpdate, None]:
        # The position was read before the row, and workers write the row before they publish:
        # the row therefore holds at least everything up to the position.
        job = await self._jobs.get(view.job_id)
        position = subscription.position
        if not subscription.is_continuous:
            segments = await self._jobs.segments(view.job_id, first=view.next_segment)
            yield view.of_row(job, event_id=position, segments=tuple(segments))
            if job.status.is_terminal:
                return
        elif not job.status.is_terminal:
            yield view.of_row(job, event_id=subscription.start)
        elif subscription.start == position:
            yield view.of_row(job, event_id=position)
            return
        async for published in subscription:
            if published.update.status.is_terminal:
                yield view.of_row(
                    await self._jobs.get(view.job_id),
                    event_id=published.event_id,
                    segments=published.update.segments,
                )
                return
            yield view.of_event(published)
            if job.status.is_terminal and published.event_id == position:
                # The log ends without a terminal event: it was lost, the row is not.
                yield view.of_row(job, event_id=position)
                return


class _View:
    """What one follower has been told so far, so that nothing is told twice and progress never falls."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.next_segment = 0
        self._progress = 0.0

    def of_row(self, job: Job, *, event_id: str, segments: tuple[Segment, ...] = ()) -> LiveUpdate:
        update = JobUpdate(job_id=job.id, status=job.status, progress=job.progress, segments=segments)
        return LiveUpdate(event_id=event_id, update=self._told(update), job=job)

    def of_event(self, published: Published) -> LiveUpdate:
        return LiveUpdate(event_id=published.event_id, update=self._told(published.update))

    def _told(self, update: JobUpdate) -> JobUpdate:
        segments = tuple(segment for segment in update.segments if segment.id >= self.next_segment)
        if segments:
            self.next_segment = segments[-1].id + 1
        self._progress = max(self._progress, update.progress)
        return msgspec.structs.replace(update, segments=segments, progress=self._progress)
