"""A batch: jobs that were submitted together, and how far all of them are."""

from datetime import datetime

import msgspec

MOST_JOBS = 1_000
"""Jobs that one batch may have."""


class Tally(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs of a batch stand how.

    `progress` is percent, 0-100: the mean of its jobs, of which one that is over counts as done.
    """

    pending: int = 0
    processing: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    progress: float = 0.0

    @property
    def unfinished(self) -> int:
        """Jobs that are not over."""
        return self.pending + self.processing


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs that were submitted together: one row of `batch`.

    `size` is how many there were; some may have been deleted since. `finished_at` is when the last of them was over
    for the first time: a job that is retried later does not change it. Times are aware UTC.
    """

    id: str
    owner: str | None
    size: int
    created_at: datetime
    description: str | None = None
    metadata: dict[str, str] = {}
    finished_at: datetime | None = None
    tally: Tally = Tally()
