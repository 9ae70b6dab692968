"""A queue that only remembers."""

import msgspec

from audio_text.errors import QueueUnavailableError


class WakeUp(msgspec.Struct, frozen=True, kw_only=True):
    """One message: for which tier, because of which job, and how much later it may be taken."""

    tier: str
    job_id: str
    request_id: str | None
    delay_seconds: float


class FakeJobQueue:
    """JobQueue in memory; set `is_down` to see what a caller does then."""

    def __init__(self) -> None:
        self.messages: list[WakeUp] = []
        self.is_down = False

    async def enqueue(
        self, tier: str, *, job_id: str, delay_seconds: float = 0.0, request_id: str | None = None
    ) -> None:
        await self.check()
        self.messages.append(WakeUp(tier=tier, job_id=job_id, request_id=request_id, delay_seconds=delay_seconds))

    async def depth(self, tier: str) -> int:
        await self.check()
        return sum(message.tier == tier and message.delay_seconds <= 0 for message in self.messages)

    async def check(self) -> None:
        if self.is_down:
            raise QueueUnavailableError
