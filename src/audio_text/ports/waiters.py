"""Whether anybody waits for a job with an open request."""

from typing import Protocol


class Waiters(Protocol):
    """Who waits for which job with an open request, over all API processes. Raises EventsUnavailableError."""

    async def stay(self, job_id: str, *, seconds: float) -> None:
        """Say that somebody waits for the job, now and for so long."""
        ...

    async def is_anybody_there(self, job_id: str) -> bool:
        """Whether somebody said so, and the time is not over."""
        ...
