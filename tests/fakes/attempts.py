"""The records of attempts in memory: a part of the fake repository."""

from datetime import UTC, datetime

from msgspec.structs import replace

from audio_text.domain.job import AttemptRecord, Job
from audio_text.ports import Released


class FakeAttempts:
    """Of each job, its claims in order; at most the newest is open."""

    def __init__(self) -> None:
        self._records: dict[str, list[AttemptRecord]] = {}

    def of(self, job_id: str) -> list[AttemptRecord]:
        return list(self._records.get(job_id, []))

    def begin(self, job: Job, *, owner: str, position: float) -> None:
        record = AttemptRecord(
            claim=job.claims, attempt=job.attempt, owner=owner, started_at=datetime.now(UTC), position=position
        )
        self._records.setdefault(job.id, []).append(record)

    def end(self, job_id: str, reason: Released) -> None:
        *earlier, newest = self._records.get(job_id) or [None]
        if newest is not None and newest.end is None:
            ended = replace(
                newest,
                ended_at=datetime.now(UTC),
                end=reason.end,
                error_code=reason.error_code,
                error_message=reason.error_message,
            )
            self._records[job_id] = [*(record for record in earlier if record), ended]

    def forget(self, job_id: str) -> None:
        self._records.pop(job_id, None)
