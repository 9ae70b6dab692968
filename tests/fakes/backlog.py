"""Tiers in memory, at a glance."""

from collections import Counter
from collections.abc import Collection
from datetime import UTC, datetime

from audio_text.adapters.job_backlog import RECENT
from audio_text.adapters.rows import RANKS
from audio_text.domain.backlog import Backlog, Waiting
from audio_text.domain.job import Job, JobStatus
from fakes.rows import FakeRows, age, end, is_late


class FakeJobBacklog(FakeRows):
    """Looks at every job."""

    async def backlogs(self, tiers: Collection[str], *, limit: int) -> dict[str, Backlog]:
        await self.check()
        return {tier: self._backlog(tier, limit) for tier in tiers}

    async def pending(self, tier: str, *, limit: int) -> int:
        await self.check()
        return min(limit, sum(job.tier == tier and job.status is JobStatus.pending for job in self.jobs.values()))

    def _backlog(self, tier: str, limit: int) -> Backlog:
        now = datetime.now(UTC)
        jobs = [job for job in self.jobs.values() if job.tier == tier]
        running = [job for job in jobs if job.lease_expires_at and job.lease_expires_at > now]
        completed = sorted(
            (job for job in jobs if job.status is JobStatus.completed and job.reused_from is None), key=end
        )[-RECENT:]
        heard = sum(job.duration or 0.0 for job in completed)
        taken = sum(job.processing_time_seconds or 0.0 for job in completed)
        waiting = [
            job
            for job in jobs
            if job.status is JobStatus.pending and (job.available_at or now) <= now and not is_late(job)
        ]
        oldest = sorted(waiting, key=lambda job: (-RANKS[job.priority], *age(job)))[:limit]
        turns = Counter(job.owner for job in running)
        places = {}
        for job in oldest:
            turns[job.owner] += 1
            places[job.id] = (-RANKS[job.priority], turns[job.owner], *age(job))
        typical = heard / len(completed) if completed else 0.0
        in_turn = sorted(oldest, key=lambda job: places[job.id])
        return Backlog(
            waiting=tuple(Waiting(job.id, job.priority, _seconds(job, typical)) for job in in_turn),
            running=len(running),
            running_seconds=sum(max((job.duration or 0.0) - job.position, 0.0) for job in running),
            real_time_factor=taken / heard if heard else None,
        )


def _seconds(job: Job, typical: float) -> float:
    whole = typical if job.duration is None else job.duration
    last = job.options.clip_end_seconds
    clip_end = whole if last is None else min(whole, last)
    return max(clip_end - job.options.clip_start_seconds - job.position, 0.0)
