"""Send a wake-up, without failing: whoever sends one has already written the row."""

import structlog

from audio_text.domain.job import Job
from audio_text.errors import QueueUnavailableError
from audio_text.ports import JobQueue

log = structlog.get_logger(__name__)


async def wake(queue: JobQueue, tier: str, job: Job | None = None, *, delay_seconds: float = 0.0) -> None:
    """Say on the tier that work waits, because of this job if one is known.

    The row is the truth: without the message the job only starts later, when the reconciliation finds it.
    """
    try:
        await queue.enqueue(
            tier,
            job_id=job.id if job else "",
            delay_seconds=delay_seconds,
            request_id=job.request_id if job else None,
        )
    except QueueUnavailableError:
        log.warning("wake_up_not_sent", tier=tier, job_id=job.id if job else None)
