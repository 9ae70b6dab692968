"""How workers learn that there is work."""

from typing import Protocol


class JobQueue(Protocol):
    """Wakes the workers of a tier."""

    async def enqueue(
        self, tier: str, *, job_id: str, delay_seconds: float = 0.0, request_id: str | None = None
    ) -> None:
        """Say that work exists on the tier. Raises QueueUnavailableError within 2 seconds."""
        ...

    async def depth(self, tier: str) -> int:
        """How many messages of the tier wait to be taken now. Raises QueueUnavailableError."""
        ...

    async def check(self) -> None:
        """Raise QueueUnavailableError unless the queue answers."""
        ...
