"""Use case: tell those who wait how many are ahead of them, and how long it may take."""

import asyncio
import time
from collections.abc import Sequence
from datetime import UTC, datetime

import structlog

from audio_text.domain.backlog import Backlog, QueuePlace
from audio_text.domain.job import Job, JobStatus, Priority
from audio_text.errors import TransientError
from audio_text.ports import JobRepository

LIMIT = 10_000
"""Most waiting jobs of a tier that are looked at; those behind them are told nothing."""

FALLING = (Priority.high, Priority.normal, Priority.low)
"""Classes in the order in which they are begun."""

NEVER = datetime.max.replace(tzinfo=UTC)

log = structlog.get_logger(__name__)


class BacklogService:
    """The places of pending jobs in the queues of their tiers: nice to know, and never worth a failure.

    A tier is looked at at most once every `refresh_seconds`, however many ask, and they ask one at a time. While the
    database does not answer, nobody has a place.
    """

    def __init__(self, jobs: JobRepository, *, refresh_seconds: float) -> None:
        self.refresh_seconds = refresh_seconds
        self._jobs = jobs
        self._views: dict[str, _View] = {}
        self._looking = asyncio.Lock()

    async def place(self, job: Job) -> QueuePlace | None:
        """The job's place, as `places` gives it."""
        return (await self.places([job])).get(job.id)

    async def places(self, jobs: Sequence[Job]) -> dict[str, QueuePlace]:
        """The places of those of the jobs that wait for a worker, by id; one statement at most."""
        waiting = [job for job in jobs if job.status is JobStatus.pending]
        views = await self._look({job.tier for job in waiting})
        return {job.id: place for job in waiting if (place := views[job.tier].place(job)) is not None}

    async def _look(self, tiers: set[str]) -> "dict[str, _View]":
        if self._stale(tiers):
            async with self._looking:
                # Whoever was here before may have looked at some of them.
                if stale := self._stale(tiers):
                    self._views |= await self._new_views(stale)
        return self._views

    async def _new_views(self, tiers: list[str]) -> "dict[str, _View]":
        date = datetime.now(UTC)
        try:
            backlogs = await self._jobs.backlogs(tiers, limit=LIMIT)
        except TransientError as error:
            log.warning("backlog_unknown", tiers=tiers, error=error.detail)
            return {tier: _View(Backlog(), date=NEVER) for tier in tiers}
        return {tier: _View(backlogs[tier], date=date) for tier in tiers}

    def _stale(self, tiers: set[str]) -> list[str]:
        oldest = time.monotonic() - self.refresh_seconds
        return sorted(tier for tier in tiers if tier not in self._views or self._views[tier].made_at <= oldest)


class _View:
    """A backlog as it was at a date, with the place of every job in it."""

    def __init__(self, backlog: Backlog, *, date: datetime) -> None:
        self.made_at = time.monotonic()
        self._date = date
        self._backlog = backlog
        self._places: dict[str, tuple[int, float]] = {}
        self._ends: dict[Priority, tuple[int, float]] = {}
        ahead = 0.0
        for number, job in enumerate(backlog.waiting):
            self._places[job.job_id] = number, ahead
            ahead += job.seconds
            self._ends[job.priority] = number + 1, ahead
        end = 0, 0.0
        for priority in FALLING:
            end = self._ends.setdefault(priority, end)

    def place(self, job: Job) -> QueuePlace | None:
        """Where the job stands; what came after the look stands behind its class. None: it does not wait for a turn."""
        if job.id not in self._places and self._is_newer(job):
            self._append(job)
        if job.id not in self._places:
            return None
        position, seconds = self._places[job.id]
        return QueuePlace(position=position, eta_seconds=self._backlog.eta_seconds(seconds))

    def _is_newer(self, job: Job) -> bool:
        is_put_off = job.available_at is not None and job.available_at > datetime.now(UTC)
        return job.update_date > self._date and not is_put_off and len(self._places) < LIMIT

    def _append(self, job: Job) -> None:
        self._places[job.id] = self._ends[job.priority]
        for priority in FALLING[FALLING.index(job.priority) :]:
            position, seconds = self._ends[priority]
            self._ends[priority] = position + 1, seconds + (job.duration or 0.0)
