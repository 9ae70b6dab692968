"""Jobs and the keys they were submitted under, in memory."""

from datetime import UTC, datetime, timedelta

from audio_text.domain.idempotency import IdempotencyKey, Submitted
from audio_text.domain.job import Job
from fakes.rows import FakeRows, storable_struct


class FakeJobKeys(FakeRows):
    """Keeps by owner and key what was submitted, and until when."""

    def __init__(self) -> None:
        super().__init__()
        self._keys: dict[tuple[str | None, str], tuple[Submitted, datetime]] = {}

    async def add(self, job: Job, *, key: IdempotencyKey | None = None) -> bool:
        await self.check()
        if key is not None:
            held = await self.submitted(key)
            if held is not None and not key.takes_over and held.job.id != job.id:
                return False
            told = Submitted(fingerprint=key.fingerprint, job=storable_struct(job))
            self._keys[key.owner, key.text] = told, datetime.now(UTC) + timedelta(seconds=key.seconds)
        self.jobs.setdefault(job.id, storable_struct(job))
        return True

    async def submitted(self, key: IdempotencyKey) -> Submitted | None:
        await self.check()
        held, until = self._keys.get((key.owner, key.text), (None, datetime.now(UTC)))
        return held if held and until > datetime.now(UTC) and held.job.id in self.jobs else None

    async def forget_keys(self, *, limit: int) -> int:
        await self.check()
        expired = sorted((until, name) for name, (_, until) in self._keys.items() if until <= datetime.now(UTC))
        for _, name in expired[:limit]:
            del self._keys[name]
        return len(expired[:limit])
