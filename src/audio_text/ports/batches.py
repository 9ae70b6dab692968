"""Jobs that were submitted together."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from audio_text.domain.batch import Batch
from audio_text.domain.idempotency import IdempotencyKey
from audio_text.domain.job import Job
from audio_text.domain.owners import Whose
from audio_text.domain.usage import Quota


class BatchRepository(Protocol):
    """The table of batches. Every method may raise DatabaseUnavailableError."""

    async def add(
        self, batch: Batch, jobs: Sequence[Job], *, key: IdempotencyKey | None = None, quota: Quota | None = None
    ) -> bool:
        """Store a batch and its jobs: all, committed when this returns, or none.

        False, and nothing stored, when another batch of this owner holds the key, which it does as long as it is there.
        A quota has to have room for all of them, or it raises what `JobRepository.add` raises.
        """
        ...

    async def submitted(self, key: IdempotencyKey) -> tuple[str, Batch] | None:
        """The fingerprint and the batch, with its tally, that its owner submitted under this text; None: none."""
        ...

    async def get(self, batch_id: str) -> Batch:
        """Read one batch, with its tally. Raises BatchNotFoundError."""
        ...

    async def newest(self, *, owner: Whose, limit: int, before: tuple[datetime, str] | None = None) -> list[Batch]:
        """Batches, newest first (created_at, then id), older than `before`."""
        ...

    async def end_finished(self) -> list[Batch]:
        """Set finished_at on batches none of whose jobs is unfinished any more; those, without their tallies."""
        ...

    async def remove_empty(self) -> int:
        """Remove finished batches none of whose jobs is left; how many there were."""
        ...
