"""What is told about a job while it lives. An event is a hint; the row is the truth."""

from typing import Self

import msgspec

from audio_text.domain.job import Job, JobStatus
from audio_text.domain.transcript import Segment


class JobUpdate(msgspec.Struct, frozen=True, kw_only=True, tag="job_update"):
    """The job moved: its status, its progress (percent 0-100) and the segments decoded since the last update.

    `claims` is the job's at that time: it tells news from what somebody says late who has lost the job since.
    """

    job_id: str
    status: JobStatus
    progress: float
    segments: tuple[Segment, ...] = ()
    claims: int = 0

    @classmethod
    def of(cls, job: Job) -> Self:
        """Tell how the job stands now."""
        return cls(job_id=job.id, status=job.status, progress=job.progress, claims=job.claims)

    def is_news(self, newest: "JobUpdate") -> bool:
        """Whether it may follow this one: not from an earlier claim, nor after the end but that the job is retried."""
        if self.claims != newest.claims:
            return self.claims > newest.claims
        return not newest.status.is_terminal or self.status is JobStatus.pending


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """An update as it stands in the job's event log; `event_id` is its place there and a client's cursor."""

    event_id: str
    update: JobUpdate
