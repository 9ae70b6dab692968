"""The table of batches in memory, held to the same contract as the real one."""

from collections.abc import Sequence
from datetime import UTC, datetime

from msgspec.structs import replace

from audio_text.domain.batch import Batch, Tally
from audio_text.domain.idempotency import IdempotencyKey
from audio_text.domain.job import Job
from audio_text.domain.owners import Whose, is_of
from audio_text.domain.usage import Quota
from audio_text.errors import BatchNotFoundError
from fakes.repository import FakeJobRepository
from fakes.rows import storable_struct

Held = tuple[str | None, str]


class FakeBatchRepository:
    """Batches of the jobs in a fake repository, and down when that is."""

    def __init__(self, jobs: FakeJobRepository) -> None:
        self._jobs = jobs
        self._batches: dict[str, Batch] = {}
        self._keys: dict[Held, tuple[str, str]] = {}

    async def add(
        self, batch: Batch, jobs: Sequence[Job], *, key: IdempotencyKey | None = None, quota: Quota | None = None
    ) -> bool:
        await self._jobs.check()
        if key and (key.owner, key.text) in self._keys:
            return False
        if quota:
            await self._jobs.spend(quota, *jobs)
            jobs = [quota.held(job) for job in jobs]
        if key:
            self._keys[key.owner, key.text] = (key.fingerprint, batch.id)
        self._batches[batch.id] = storable_struct(batch)
        for job in jobs:
            await self._jobs.add(job)
        return True

    async def submitted(self, key: IdempotencyKey) -> tuple[str, Batch] | None:
        await self._jobs.check()
        if (key.owner, key.text) not in self._keys:
            return None
        fingerprint, batch_id = self._keys[key.owner, key.text]
        return fingerprint, await self.get(batch_id)

    async def get(self, batch_id: str) -> Batch:
        await self._jobs.check()
        if batch_id not in self._batches:
            raise BatchNotFoundError
        return replace(self._batches[batch_id], tally=self._tally(batch_id))

    async def newest(self, *, owner: Whose, limit: int, before: tuple[datetime, str] | None = None) -> list[Batch]:
        await self._jobs.check()
        wanted = [
            batch
            for batch in self._batches.values()
            if is_of(batch.owner, owner) and (before is None or (batch.created_at, batch.id) < before)
        ]
        newest = sorted(wanted, key=lambda batch: (batch.created_at, batch.id), reverse=True)[:limit]
        return [replace(batch, tally=self._tally(batch.id)) for batch in newest]

    async def end_finished(self) -> list[Batch]:
        await self._jobs.check()
        ended = [
            replace(batch, finished_at=datetime.now(UTC))
            for batch in self._batches.values()
            if batch.finished_at is None and not self._tally(batch.id).unfinished
        ]
        self._batches |= {batch.id: batch for batch in ended}
        return ended

    async def remove_empty(self) -> int:
        await self._jobs.check()
        empty = [batch.id for batch in self._batches.values() if batch.finished_at and not self._members(batch.id)]
        for batch_id in empty:
            del self._batches[batch_id]
        self._keys = {held: place for held, place in self._keys.items() if place[1] in self._batches}
        return len(empty)

    def _members(self, batch_id: str) -> list[Job]:
        return [job for job in self._jobs.jobs.values() if job.batch_id == batch_id]

    def _tally(self, batch_id: str) -> Tally:
        members = self._members(batch_id)
        counts = {name: sum(job.status == name for job in members) for name in Tally.__struct_fields__[:-1]}
        done = [100.0 if job.status.is_terminal else job.progress for job in members]
        return Tally(**counts, progress=sum(done) / len(done) if done else 100.0)
