"""Use case: mail the transcript of a completed job. What is asked for is stored, then sent until it is taken."""

from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import sha256
from uuid import uuid4

import msgspec
import structlog

from audio_text.domain.access import Caller
from audio_text.domain.delivery import Delivery, DeliveryKind
from audio_text.domain.formats import TranscriptFormat, writer
from audio_text.domain.job import Job, JobStatus
from audio_text.domain.mail import Attachment, MailFormat, MailOrder, attachment_name, letter
from audio_text.domain.speakers import speakers_of
from audio_text.domain.usage import SECONDS_PER_HOUR, Rate
from audio_text.errors import InvalidRequestError, JobNotFoundError, MailDisabledError, RateLimitedError
from audio_text.ports import DeliveryRepository, JobRepository, Mailer, RateLimiter
from audio_text.services.limiting import who
from audio_text.services.transcripts import StoredTranscript, TranscriptService
from audio_text.settings import MailSettings

SLOW_ANSWERS = 4
"""A mail takes about ten answers of the server. So many may take as long as one may, and the rest no time."""

LANE = "mail"
EVENT_TYPE = "transcript.mail"

_MEDIA_TYPES = {
    MailFormat.text: "text/plain",
    MailFormat.srt: "application/x-subrip",
    MailFormat.vtt: "text/vtt",
}

log = structlog.get_logger(__name__)


class MailingService:
    """Takes orders of mails."""

    def __init__(
        self,
        *,
        jobs: JobRepository,
        deliveries: DeliveryRepository,
        limiter: RateLimiter,
        settings: MailSettings,
    ) -> None:
        self._jobs = jobs
        self._deliveries = deliveries
        self._limiter = limiter
        self._settings = settings

    async def order(
        self, job_id: str, *, to: str, formats: Sequence[MailFormat], caller: Caller, address: str
    ) -> Delivery:
        """Store a mail to be sent. `address` is where the caller is, for limits where callers have no keys.

        Raises JobNotFoundError, InvalidRequestError unless the job is completed and has text, MailDisabledError
        where mail is off, RateLimitedError, LimitsUnavailableError, DatabaseUnavailableError.
        """
        job = await self._jobs.get(job_id)
        if not caller.sees(job.owner):
            raise JobNotFoundError
        _check(job)
        if not self._settings.host:
            raise MailDisabledError
        await self._count(to, caller=caller, address=address)
        now = datetime.now(UTC)
        delivery_id = str(uuid4())
        order = MailOrder(job_id=job.id, to=to, formats=tuple(dict.fromkeys(formats)))
        delivery = Delivery(
            id=delivery_id,
            kind=DeliveryKind.mail,
            lane=LANE,
            event_type=EVENT_TYPE,
            event_id=delivery_id,
            # Mails of one job do not wait for each other: their recipients have nothing to do with each other.
            subject=None,
            payload=msgspec.json.encode(order).decode(),
            created_at=now,
            due_at=now,
            owner=caller.owner,
            recipient=to,
        )
        await self._deliveries.add(delivery)
        log.info("mail_ordered", job_id=job.id, delivery_id=delivery_id)
        return delivery

    async def _count(self, to: str, *, caller: Caller, address: str) -> None:
        # Addresses are other people's: what counts them does not need to know them.
        recipient = sha256(to.lower().encode()).hexdigest()
        for name, limit, whose in (
            (f"mail:from:{who(caller, address)}", self._settings.per_hour, "you"),
            (f"mail:to:{recipient}", self._settings.per_recipient_per_hour, "this address"),
        ):
            if limit:
                hit = await self._limiter.hit(name, (Rate(limit, SECONDS_PER_HOUR),))
                if not hit.is_within:
                    raise RateLimitedError(
                        f"More than {limit} mails within an hour for {whose}: wait as long as Retry-After says.",
                        retry_after_seconds=hit.tightest.reset_seconds,
                    )


class MailSender:
    """The `Sender` of mails: writes each when it is sent, from what the job says then."""

    def __init__(self, *, jobs: JobRepository, mailer: Mailer, timeout_seconds: float) -> None:
        self.seconds = SLOW_ANSWERS * timeout_seconds
        self._transcripts = TranscriptService(jobs=jobs)
        self._mailer = mailer

    async def send(self, delivery: Delivery) -> int | None:
        """Hand a mail to the server; its answer's code.

        Raises JobNotFoundError, InvalidRequestError when there is nothing to send any more, DeliveryFailedError,
        MailDisabledError, DatabaseUnavailableError.
        """
        order = msgspec.json.decode(delivery.payload, type=MailOrder)
        stored = await self._transcripts.find(order.job_id)
        _check(stored.job)
        attachments = [await self._attachment(stored, each) for each in order.formats if _has(stored, each)]
        mail = letter(stored.job, mail_id=delivery.id, to=order.to, attachments=tuple(attachments))
        return await self._mailer.send(mail)

    async def _attachment(self, stored: StoredTranscript, mail_format: MailFormat) -> Attachment:
        transcript_format = TranscriptFormat(mail_format.value)
        document = writer(transcript_format, speakers=speakers_of(stored.job.options))
        if stored.last < 0:
            text = f"{stored.job.result_text}\n"
        else:
            text = "".join([part async for part in await self._transcripts.written(stored, document)])
        return Attachment(
            name=attachment_name(stored.job, transcript_format.extension),
            media_type=_MEDIA_TYPES[mail_format],
            text=text,
        )


def _has(stored: StoredTranscript, mail_format: MailFormat) -> bool:
    """Jobs of the older service have text alone, without times."""
    return stored.last >= 0 or mail_format is MailFormat.text


def _check(job: Job) -> None:
    if job.status is not JobStatus.completed or not (job.result_text or "").strip():
        is_silent = job.status is JobStatus.completed
        raise InvalidRequestError(
            f"Only the text of a completed job can be mailed; this job is {job.status.value}"
            f"{' and has no text' if is_silent else ''}."
        )
