"""The rows that the parts of the fake repository share."""

from datetime import UTC, date, datetime, timedelta
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from audio_text.adapters.rows import storable
from audio_text.domain.job import AttemptEnd, Job, JobStatus
from audio_text.domain.transcript import Segment
from audio_text.errors import AudioQuotaError, DatabaseUnavailableError
from audio_text.ports import Released
from fakes.attempts import FakeAttempts

Row = TypeVar("Row", Job, Segment)
UNFINISHED = (JobStatus.pending, JobStatus.processing)
RETRYABLE = (JobStatus.failed, JobStatus.cancelled)
LOST = Released(end=AttemptEnd.lost)


class FakeRows:
    """`jobs` is open to tests; while `is_down`, every method raises DatabaseUnavailableError."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.is_down = False
        self._segments: dict[str, dict[int, Segment]] = {}
        self._attempts = FakeAttempts()
        self._unannounced: set[str] = set()
        self._held: set[str] = set()
        self._audio_seconds: dict[tuple[str | None, date], float] = {}
        self._usage_days: dict[str, date] = {}

    async def check(self) -> None:
        if self.is_down:
            raise DatabaseUnavailableError

    def overwrite(self, job_id: str, **fields: Any) -> Job:
        """Put a job into any state, as another process might have done meanwhile."""
        fields = {"update_date": datetime.now(UTC)} | fields
        old, new = self.jobs[job_id], replace(self.jobs[job_id], **fields)
        if old.status in UNFINISHED and (old.reserved_seconds is not None or new.duration not in {None, old.duration}):
            new = self._settled(old, new)
        self.jobs[job_id] = storable_struct(new)
        return self.jobs[job_id]

    def _settled(self, old: Job, new: Job) -> Job:
        had = (old.duration or 0.0) if old.reserved_seconds is None else old.reserved_seconds
        reserved = None
        if _is_unheard(new):
            takes = 0.0
        elif None in {old.reserved_seconds, new.reserved_seconds} or new.status is JobStatus.completed:
            takes = had if new.duration is None else new.duration
        else:
            takes = reserved = max(had, new.position) if new.position > old.position else had
        self._book(old, takes - had, most=new.day_limit_seconds)
        return replace(new, reserved_seconds=reserved)

    def _book(self, job: Job, more: float, *, most: float | None = None) -> None:
        """What comes back, comes back to the day that it was taken from; what is more counts today."""
        today = datetime.now(UTC).date()
        day = job.key_id, today if more > 0 else self._usage_days.get(job.id, job.creation_date.date())
        used = self._audio_seconds.get(day, 0.0) + more
        if more > 0 and most is not None:
            if used > most:
                raise AudioQuotaError
            self._audio_seconds[day] = used
        elif day in self._audio_seconds:
            self._audio_seconds[day] = used

    def _finish(self, job_id: str, **fields: Any) -> Job:
        self._unannounced.add(job_id)
        now, seconds = fields.get("finished_at") or datetime.now(UTC), self.jobs[job_id].expires_in_seconds
        expires_at = None if seconds is None else now + timedelta(seconds=seconds)
        ended = {"lease_owner": None, "lease_expires_at": None, "finished_at": now, "expires_at": expires_at}
        return self.overwrite(job_id, **(ended | fields))


def _is_unheard(job: Job) -> bool:
    was_never_brought = job.status is JobStatus.failed and job.source_url is not None and not job.file_size_bytes
    is_unused = job.status in RETRYABLE and (not job.claims or was_never_brought)
    return job.reserved_seconds is not None and job.duration is None and is_unused


def age(job: Job) -> tuple[datetime, str]:
    return job.creation_date, job.id


def end(job: Job) -> tuple[datetime, str]:
    return job.finished_at or datetime.max.replace(tzinfo=UTC), job.id


def is_expired(job: Job) -> bool:
    return job.expires_at is not None and job.expires_at <= datetime.now(UTC)


def is_late(job: Job) -> bool:
    is_waiting = job.status is JobStatus.pending and job.started_at is None
    return is_waiting and job.deadline is not None and job.deadline <= datetime.now(UTC)


def storable_struct(struct: Row) -> Row:
    """Give what comes back of it from a table: texts there cannot hold everything."""
    return msgspec.convert(storable(msgspec.to_builtins(struct)), type(struct))
