"""What is told about a job while it lives. An event is a hint; the row is the truth."""

import msgspec

from audio_text.domain.job import JobStatus
from audio_text.domain.transcript import Segment


class JobUpdate(msgspec.Struct, frozen=True, kw_only=True, tag="job_update"):
    """The job moved: its status, its progress (percent 0-100) and the segments decoded since the last update."""

    job_id: str
    status: JobStatus
    progress: float
    segments: tuple[Segment, ...] = ()


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """An update as it stands in the job's event log; `event_id` is its place there and a client's cursor."""

    event_id: str
    update: JobUpdate
