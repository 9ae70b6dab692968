"""Jobs as clients and operators see them, and the whole table of them."""

from collections.abc import Collection
from datetime import datetime
from typing import Protocol

import msgspec
from msgspec import UNSET, UnsetType

from audio_text.domain.backlog import Backlog
from audio_text.domain.idempotency import IdempotencyKey, Submitted
from audio_text.domain.job import AttemptRecord, Job
from audio_text.domain.listing import JobQuery
from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.transcript import Segment
from audio_text.domain.usage import Quota, Usage
from audio_text.ports.claims import JobClaims
from audio_text.ports.upkeep import JobUpkeep


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """What a retried job runs with; None keeps what it had."""

    whisper_model: str | None = None
    tier: str | None = None
    options: TranscriptionOptions | None = None


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """What changes in the notes on a job; UNSET keeps what is there.

    Of the metadata, the keys that are named change, and go where their value is None; None instead clears all.
    """

    description: str | UnsetType | None = UNSET
    metadata: dict[str, str | None] | UnsetType | None = UNSET


class JobRepository(JobClaims, JobUpkeep, Protocol):
    """The table of jobs and their segments. Every method may raise DatabaseUnavailableError.

    Whatever ends a job sets its expires_at, if it has an expires_in_seconds; a retry clears it.
    """

    async def add(self, job: Job, *, key: IdempotencyKey | None = None, quota: Quota | None = None) -> bool:
        """Store a new job, committed when this returns; with a key, both or none of them.

        False, and nothing stored, when another job holds the key. With a quota, raises ConcurrentJobsError where its
        key has as many pending and processing jobs already, AudioQuotaError where the job's duration is more than is
        left of today's seconds, or nothing is left: exactly, whoever else adds jobs at the same time.

        The duration counts from then on, whatever becomes of the job. One that is not known counts as the quota's
        reserve, or as what of it was heard if that is more, until `note_recording` or `complete` tells it; the reserve
        is given back when the job ends, or is deleted, before anybody began it, and when it fails and its recording
        was never brought. What is more than was taken counts today. Whatever takes a day beyond the quota's day limit
        by that raises AudioQuotaError, and is not written.
        """
        ...

    async def usage(self, key_id: str) -> Usage:
        """What the key has in work, the seconds of audio that it submitted today, and what is only reserved of them."""
        ...

    async def submitted(self, key: IdempotencyKey) -> Submitted | None:
        """What was submitted under this text by this owner, whatever it was; None: nothing that still holds.

        A key goes when it expires, and with its job.
        """
        ...

    async def get(self, job_id: str) -> Job:
        """Read one job. Raises JobNotFoundError."""
        ...

    async def owner_of(self, job_id: str) -> str | None:
        """Whose a job is, for good; None: it came without a key. Raises JobNotFoundError."""
        ...

    async def find(self, query: JobQuery, *, limit: int) -> list[Job]:
        """Jobs that the query asks for, in its order: without another word, all of them, newest first."""
        ...

    async def segments(self, job_id: str, *, first: int = 0, limit: int | None = None) -> list[Segment]:
        """Stored segments with id >= `first`, in order, at most `limit`; empty for an unknown job."""
        ...

    async def last_segment(self, job_id: str) -> int | None:
        """The id of the last segment stored so far; None without any."""
        ...

    async def backlogs(self, tiers: Collection[str], *, limit: int) -> dict[str, Backlog]:
        """What waits on each of the tiers, at most `limit` jobs, in the order of their turns, and how fast it goes.

        Pending jobs that may be claimed now. A recording of unknown length counts as the last completed ones did.
        """
        ...

    async def pending(self, tier: str, *, limit: int) -> int:
        """How many jobs of the tier wait, put off or not; no more than `limit` are counted."""
        ...

    async def cancel(self, job_id: str) -> Job:
        """Move pending or processing → cancelled, keeping segments and progress; the job as it stands then.

        Safe to repeat. Raises JobNotFoundError, and JobStateError naming the state of a completed or failed job.
        """
        ...

    async def retry(self, job_id: str, *, again: Again, quota: Quota | None = None) -> Job:
        """Move failed or cancelled → pending with its attempts reset; the job as it stands then.

        Stored segments are kept to continue behind them, unless model or options change. It has no deadline any more.
        A pending or processing job that was retried already is returned as it is. Raises JobNotFoundError,
        JobStateError for a completed one.

        With a quota, it is decided as in `add`. A job whose model or options change takes its seconds once more; one of
        unknown length takes the reserve where it has none any more, or has it of an earlier day; others take none, and
        where it was for lack of seconds that they failed, AudioQuotaError is raised on a day that has none left.
        """
        ...

    async def annotate(self, job_id: str, *, notes: Notes) -> Job:
        """Change what is noted on a job, whatever its status; the job as it stands then.

        Raises JobNotFoundError, and InvalidRequestError when it would have more than MOST_METADATA keys.
        """
        ...

    async def delete(self, job_id: str) -> Job | None:
        """Remove the job with its segments and attempts, whatever its status; the job as it was, None if unknown."""
        ...

    async def attempts(self, job_id: str) -> list[AttemptRecord]:
        """Every claim of the job so far, oldest first."""
        ...

    async def dead_letters(self, *, limit: int, before: tuple[datetime, str] | None = None) -> list[Job]:
        """Failed jobs that used up their attempts, newest first (finished_at, then id), older than `before`."""
        ...

    async def drop_dead_letter(self, job_id: str) -> bool:
        """Take a job off the list of dead letters, leaving it failed; False when it is not on it."""
        ...

    async def check(self) -> None:
        """Raise DatabaseUnavailableError unless a query answers, DatabaseNotMigratedError without all tables."""
        ...
