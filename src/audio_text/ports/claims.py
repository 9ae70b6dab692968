"""Jobs as workers see them: taken by a claim, written under it, given back or ended."""

from typing import Protocol

import msgspec

from audio_text.domain.job import AttemptEnd, Completed, Failed, Job
from audio_text.domain.transcript import TranscriptChunk


class Claim(msgspec.Struct, frozen=True):
    """The right to write on a job: this claim of it, and no other. `token` never comes back (`Job.claims`)."""

    job_id: str
    token: int


class Released(msgspec.Struct, frozen=True, kw_only=True):
    """Why a running attempt gives its job back: to be retried after a failure, or handed to another worker."""

    end: AttemptEnd
    error_code: str | None = None
    error_message: str | None = None


class BroughtRecording(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a recording once it is in our store; `duration` in seconds, where its container says it."""

    size_bytes: int
    content_type: str | None
    duration: float | None


class JobClaims(Protocol):
    """The part of the table of jobs that workers write: every write names its claim, and is nothing once that is over.

    Every method may raise DatabaseUnavailableError. Whatever ends a job sets its expires_at, if it has an
    expires_in_seconds.
    """

    async def claim(self, tier: str, *, owner: str, lease_seconds: float) -> Job | None:
        """Take a job of the tier that may run: pending and available, or processing with its lease run out.

        Never one whose deadline passed before anybody began it. None: nothing to do.

        Highest priority first; then the job of whoever has the fewest in work on this tier, None being an owner like
        any other; then the oldest. Claims at the same time may deviate between owners, and never get the same job.
        It becomes processing, attempt + 1, claims + 1, leased to `owner`, who is a worker; started_at is set at the
        first attempt. An attempt record begins, and an earlier one that never ended is marked lost; `position` is
        where it goes on.
        """
        ...

    async def extend_lease(self, claim: Claim, *, lease_seconds: float) -> bool:
        """Push the end of the lease out; False when the claim no longer holds."""
        ...

    async def note_recording(self, claim: Claim, recording: BroughtRecording) -> bool:
        """Write down what a recording from elsewhere is, once it is stored; False when the claim no longer holds."""
        ...

    async def record(self, claim: Claim, chunk: TranscriptChunk) -> bool:
        """Store a chunk: its segments, progress, language and durations, in one statement.

        The newest attempt wins: segments with the same ids are replaced, those after the chunk's last are dropped.
        False, and nothing written, when the claim no longer holds (cancelled, taken over).
        """
        ...

    async def complete(self, claim: Claim, outcome: Completed) -> bool:
        """Move processing → completed, progress 100; False when the claim no longer holds."""
        ...

    async def complete_from_earlier(
        self, claim: Claim, *, audio_sha256: str, processing_time_seconds: float
    ) -> Job | None:
        """Move processing → completed with what an earlier job says, the newest with this SHA-256; the job then.

        Only one that is completed and not expired, with the same owner (None being one like any other), model and
        options. The job gets its own copy of the segments, reused_from, and no real_time_factor. None, and nothing
        written, when there is no such job, segments of this one are stored already, or the claim no longer holds.
        """
        ...

    async def fail(self, claim: Claim, outcome: Failed) -> bool:
        """Move processing → failed, keeping segments and progress; False when the claim no longer holds."""
        ...

    async def release(self, claim: Claim, *, delay_seconds: float, reason: Released) -> bool:
        """Move processing → pending, claimable after the delay, with the attempt's end on record.

        An attempt that was handed back is not spent. False when the claim no longer holds.
        """
        ...
