"""Jobs as the reconciliation sees them."""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from audio_text.domain.job import Job, Retention


class JobUpkeep(Protocol):
    """The part of the table of jobs that brings to an end what nobody else does, and finds what may be cleaned up.

    Every method may raise DatabaseUnavailableError. Whatever ends a job sets its expires_at, if it has an
    expires_in_seconds.
    """

    async def overdue(self, *, seconds: float) -> dict[str, int]:
        """Tier → number of pending jobs that nobody claimed for longer than `seconds`, and of leases that ran out."""
        ...

    async def next_lease_end(self) -> float | None:
        """Seconds until the first lease runs out unless it is extended; None: there is none that still holds."""
        ...

    async def end_leases(self, owner: str) -> list[Job]:
        """Let the leases of this owner run out now; the jobs it had, which anybody may claim."""
        ...

    async def has_ends(self, retries: Mapping[str, int], *, seconds: float) -> bool:
        """Whether `end_exhausted`, `end_late` or `unannounced` would find a job."""
        ...

    async def end_exhausted(self, retries: Mapping[str, int]) -> list[Job]:
        """Fail, as dead letters with code worker_lost, jobs whose lease ran out after their last attempt.

        `retries`: by tier, how many attempts beyond the first; jobs of other tiers are left alone. Returns the jobs
        as they stand then.
        """
        ...

    async def end_late(self, *, limit: int) -> list[Job]:
        """Fail, with code deadline_passed, pending jobs that nobody began before their deadline; at most `limit`.

        Returns the jobs as they stand then. No claim takes such a job.
        """
        ...

    async def unannounced(self, *, seconds: float, limit: int) -> list[Job]:
        """Jobs that ended more than `seconds` ago and whose terminal event is not known to be published."""
        ...

    async def mark_announced(self, job_ids: Sequence[str]) -> None:
        """Remember that the terminal events of these jobs are published; a retry of a job forgets it."""
        ...

    async def forget_idempotency_keys(self, *, limit: int) -> int:
        """Remove those that have expired, at most `limit`; how many there were."""
        ...

    async def delete_expired(self, *, limit: int) -> dict[str, str]:
        """Remove jobs that are over and whose expires_at has passed, as `delete` does; id → object key of each."""
        ...

    async def needed_objects(self, keys: Collection[str], *, retention: Retention) -> set[str]:
        """Those of the keys that some job needs: it is not over, or not expired and keeps its recording for so long."""
        ...

    def exclusively(self, purpose: str) -> AbstractAsyncContextManager[bool]:
        """Hold the database-wide advisory lock of this purpose, if it is free: False when somebody else has it.

        It is freed when the context ends, or with the process or its connection, or some 15 seconds after the process
        froze; then the context ends with DatabaseUnavailableError when the process goes on.
        """
        ...
