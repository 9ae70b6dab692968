"""Lists of jobs: which, in which order, and from where on."""

from datetime import datetime
from enum import StrEnum

import msgspec

from audio_text.domain.job import Job, JobStatus
from audio_text.domain.owners import EVERYBODY, Whose

Place = tuple[datetime | float | None, str]
"""Where a job stands in a list: what the list is sorted by, and the job's id."""


class JobSort(StrEnum):
    """What a list may be sorted by; each is the name of a field.

    A job that has not ended comes after all that have, one of unknown duration before all others. Jobs that are alike
    stand in the order of their ids.
    """

    creation_date = "creation_date"
    finished_at = "finished_at"
    duration = "duration"


class JobQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs are wanted, and in which order. What is empty or None leaves none out.

    `created_after` is the first moment wanted, `created_before` the first that is not. All of `metadata` must be on a
    job. `words`: of a completed job's transcript, as people type them: "a phrase", this OR that, -without. `after`:
    the place behind which the list goes on.
    """

    owner: Whose = EVERYBODY
    batch_id: str | None = None
    statuses: tuple[JobStatus, ...] = ()
    models: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    created_after: datetime | None = None
    created_before: datetime | None = None
    metadata: dict[str, str] = {}
    words: str | None = None
    sort: JobSort = JobSort.creation_date
    is_ascending: bool = False
    after: Place | None = None

    def place_of(self, job: Job) -> Place:
        """Where the job stands in this list."""
        return getattr(job, self.sort), job.id
