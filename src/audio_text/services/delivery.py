"""Use case: send a finished transcript to somebody."""

from audio_text.domain.job import JobStatus
from audio_text.errors import InvalidRequestError
from audio_text.ports import JobRepository, Mail, Mailer


class DeliveryService:
    """Mails transcripts."""

    def __init__(self, *, jobs: JobRepository, mailer: Mailer) -> None:
        self._jobs = jobs
        self._mailer = mailer

    async def mail_transcript(self, job_id: str, *, to: str) -> None:
        """Send the text of a completed job. Raises JobNotFoundError, InvalidRequestError, MailUnavailableError."""
        job = await self._jobs.get(job_id)
        if job.status is not JobStatus.completed or not job.result_text:
            raise InvalidRequestError(
                f"Only the text of a completed job can be mailed; this job is {job.status.value}"
                f"{' and has no text' if job.status is JobStatus.completed else ''}."
            )
        await self._mailer.send(Mail(to=to, subject=f"Transcript of {job.filename}", text=job.result_text))
