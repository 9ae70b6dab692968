"""Send the wake-up of a job that was just made pending."""

import structlog

from audio_text.domain.job import Job
from audio_text.errors import QueueUnavailableError
from audio_text.ports import JobQueue

log = structlog.get_logger(__name__)


async def wake(queue: JobQueue, job: Job) -> None:
    """Say on the job's tier that it waits. The row is the truth: without the message the job only starts later."""
    try:
        await queue.enqueue(job.tier, job_id=job.id, request_id=job.request_id)
    except QueueUnavailableError:
        log.warning("job_stored_but_not_enqueued", job_id=job.id, tier=job.tier)
