"""Who waits, in memory."""

import time

from audio_text.errors import EventsUnavailableError


class FakeWaiters:
    """Waiters; `is_down` makes everything fail."""

    def __init__(self) -> None:
        self.until: dict[str, float] = {}
        self.is_down = False

    async def stay(self, job_id: str, *, seconds: float) -> None:
        self._answer()
        self.until[job_id] = time.monotonic() + seconds

    async def is_anybody_there(self, job_id: str) -> bool:
        self._answer()
        return self.until.get(job_id, 0.0) > time.monotonic()

    def _answer(self) -> None:
        if self.is_down:
            raise EventsUnavailableError
