"""Routes of jobs: submit, read, cancel, retry, note, delete, mail."""

from typing import Annotated, Any

from litestar import Request, Response, delete, get, patch, post
from litestar.openapi.spec import Example
from litestar.params import JSONBody, PathParameter

from audio_text.api.access import ALSO_OPTION, Access
from audio_text.api.choices import RetryRequest
from audio_text.api.client_address import address_of
from audio_text.api.dependencies import GivenCaller, GivenServices, GivenSettings
from audio_text.api.dto import AttemptView, JobView
from audio_text.api.idempotency import REPLAYED_HEADER, GivenKey, checked_key, key_of
from audio_text.api.ids import checked_id
from audio_text.api.job_requests import NotesRequest, TranscribeRequest
from audio_text.api.mail_views import EmailAnswer, EmailRequest
from audio_text.api.problems import documented, documented_header
from audio_text.api.request_log import request_id_of
from audio_text.domain.idempotency import fingerprint_of
from audio_text.errors import (
    AudioQuotaError,
    ConcurrentJobsError,
    DatabaseUnavailableError,
    EmptyAudioError,
    ForeignUrlError,
    IdempotencyKeyReusedError,
    InvalidAudioError,
    InvalidRequestError,
    JobNotFoundError,
    JobStateError,
    LimitsUnavailableError,
    MailDisabledError,
    NoSoundTrackError,
    PriorityTooHighError,
    PrivateAddressError,
    RemoteUrlError,
    StoreUnavailableError,
    TierFullError,
    UnknownModelError,
    UnsupportedMediaError,
    UploadMissingError,
    UploadTooLargeError,
)

JobId = Annotated[
    str,
    PathParameter(description="The job's id.", examples=[Example(value="3f0c3f4e-7d0b-4c56-8d3b-2a5f6f9f2b11")]),
]


@post(
    "/job/transcribe",
    opt={"access": Access.submit},
    summary="Submit a job",
    response_description="The job, pending.",
    response_headers=[
        documented_header("Location", "Where to read it."),
        documented_header(REPLAYED_HEADER, "`true` where the job was submitted before, under the same key."),
    ],
    responses=documented(
        InvalidRequestError,
        UnknownModelError,
        PriorityTooHighError,
        ForeignUrlError,
        RemoteUrlError,
        PrivateAddressError,
        EmptyAudioError,
        UploadMissingError,
        UploadTooLargeError,
        UnsupportedMediaError,
        InvalidAudioError,
        NoSoundTrackError,
        IdempotencyKeyReusedError,
        DatabaseUnavailableError,
        StoreUnavailableError,
        ConcurrentJobsError,
        AudioQuotaError,
        TierFullError,
    ),
    tags=["jobs"],
)
async def transcribe(
    request: Request[Any, Any, Any],
    data: JSONBody[TranscribeRequest],
    *,
    services: GivenServices,
    caller: GivenCaller,
    settings: GivenSettings,
    idempotency_key: GivenKey = None,
) -> Response[JobView]:
    """Have a recording transcribed that was uploaded, or that lies elsewhere, where the service fetches such.

    An upload is looked at first: it must be there, not too large, and hold sound. What lies elsewhere is fetched and
    looked at when its turn has come; what is wrong with it ends the job then. The job is safe once this answers.
    If the answer is lost, send the same request again under the same `Idempotency-Key`: there will be one job.
    """
    submission = data.submission(caller, request_id=request_id_of(request.scope))
    is_new = True
    if (text := checked_key(idempotency_key)) is None:
        job = await services.submission.submit(submission)
    else:
        key = key_of(text, fingerprint_of(data), settings=settings, caller=caller)
        job, is_new = await services.submission.submit_once(submission, key=key)
    headers = {"Location": f"/api/v1/job/status/{job.id}"} | ({} if is_new else {REPLAYED_HEADER: "true"})
    return Response(JobView.of(job, caller=caller), headers=headers)


@get(
    "/job/status/{job_id:str}",
    opt={"access": Access.read},
    summary="Read a job",
    response_description="The job.",
    responses=documented(InvalidRequestError, JobNotFoundError, DatabaseUnavailableError),
    tags=["jobs"],
)
async def read_job(job_id: JobId, services: GivenServices, caller: GivenCaller) -> JobView:
    """Read one job: while it waits, with its place in the queue; once it is completed, with its text."""
    job = await services.lifecycle.get(checked_id(job_id, JobNotFoundError))
    return JobView.of(job, await services.backlog.place(job), caller=caller)


@post(
    "/job/{job_id:str}/email",
    opt={"access": Access.submit, ALSO_OPTION: Access.read},
    status_code=200,
    summary="Mail a transcript",
    response_description="It is stored, and sent until the mail server takes it or refuses it for good.",
    responses=documented(
        InvalidRequestError,
        JobNotFoundError,
        DatabaseUnavailableError,
        LimitsUnavailableError,
        MailDisabledError,
    ),
    tags=["jobs"],
)
async def mail_transcript(
    *,
    request: Request[Any, Any, Any],
    job_id: JobId,
    data: JSONBody[EmailRequest],
    services: GivenServices,
    caller: GivenCaller,
) -> EmailAnswer:
    """Send the transcript of a completed job to an address: the text, and files of it.

    It goes out within seconds. While the mail server is away, it is tried again for days.
    """
    address = address_of(request)
    await services.mailing.order(
        checked_id(job_id, JobNotFoundError), to=data.email, formats=data.formats, caller=caller, address=address
    )
    return EmailAnswer(success=True, message=f"The transcript is on its way to {data.email}.")


@post(
    "/job/{job_id:str}/cancel",
    opt={"access": Access.submit},
    status_code=200,
    summary="Cancel a job",
    response_description="The job, cancelled.",
    responses=documented(InvalidRequestError, JobNotFoundError, JobStateError, DatabaseUnavailableError),
    tags=["jobs"],
)
async def cancel_job(job_id: JobId, services: GivenServices, caller: GivenCaller) -> JobView:
    """End a job that waits or runs; what was transcribed so far is kept. Safe to repeat."""
    return JobView.of(await services.lifecycle.cancel(checked_id(job_id, JobNotFoundError)), caller=caller)


@post(
    "/job/{job_id:str}/retry",
    opt={"access": Access.submit},
    status_code=200,
    summary="Retry a job",
    response_description="The job, pending.",
    responses=documented(
        InvalidRequestError,
        UnknownModelError,
        JobNotFoundError,
        UploadMissingError,
        JobStateError,
        ConcurrentJobsError,
        AudioQuotaError,
        TierFullError,
        DatabaseUnavailableError,
        StoreUnavailableError,
    ),
    tags=["jobs"],
)
async def retry_job(
    *, job_id: JobId, services: GivenServices, caller: GivenCaller, data: JSONBody[RetryRequest | None] = None
) -> JobView:
    """Have a failed or cancelled job done again, with another model or other options if the body names them.

    It goes on where it was, unless model or options change. Safe to repeat: a job that waits or runs stays as it is.
    """
    chosen = data or RetryRequest()
    model = chosen.model or chosen.mode
    job = await services.lifecycle.retry(
        checked_id(job_id, JobNotFoundError), caller=caller, model=model, options=chosen.options
    )
    return JobView.of(job, caller=caller)


@patch(
    "/job/{job_id:str}",
    opt={"access": Access.submit},
    summary="Change what is noted on a job",
    response_description="The job.",
    responses=documented(InvalidRequestError, JobNotFoundError, DatabaseUnavailableError),
    tags=["jobs"],
)
async def annotate_job(
    *, job_id: JobId, data: JSONBody[NotesRequest], services: GivenServices, caller: GivenCaller
) -> JobView:
    """Set or remove description and metadata of a job in any state, by a JSON merge patch (RFC 7396)."""
    return JobView.of(
        await services.lifecycle.annotate(checked_id(job_id, JobNotFoundError), notes=data.notes), caller=caller
    )


@delete(
    "/job/{job_id:str}",
    opt={"access": Access.submit},
    summary="Delete a job",
    response_description="It is gone.",
    responses=documented(InvalidRequestError, JobNotFoundError, DatabaseUnavailableError),
    tags=["jobs"],
)
async def delete_job(job_id: JobId, services: GivenServices) -> None:
    """Remove a job in any state, with its transcript, and its recording unless another job may need it."""
    await services.lifecycle.delete(checked_id(job_id, JobNotFoundError))


@get(
    "/job/{job_id:str}/attempts",
    opt={"access": Access.read},
    summary="List the attempts at a job",
    response_description="Attempts, oldest first.",
    responses=documented(InvalidRequestError, JobNotFoundError, DatabaseUnavailableError),
    tags=["jobs"],
)
async def read_attempts(job_id: JobId, services: GivenServices) -> list[AttemptView]:
    """Tell when workers took the job, where in the recording each began, and how it ended."""
    return [
        AttemptView.of(record) for record in await services.lifecycle.attempts(checked_id(job_id, JobNotFoundError))
    ]
