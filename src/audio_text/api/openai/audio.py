"""Recordings that are transcribed or translated while the client waits: a form in, a transcript out."""

from typing import Any, TypeVar

from litestar import Request, Response, post
from litestar.openapi.datastructures import ResponseSpec

from audio_text.api.access import Access
from audio_text.api.dependencies import GivenCaller, GivenServices, GivenSettings
from audio_text.api.dto import JobView
from audio_text.api.idempotency import KEY_HEADER, checked_key, key_of
from audio_text.api.openai.deltas import Deltas
from audio_text.api.openai.fields import TranscriptionForm, TranslationForm, understood
from audio_text.api.openai.form import Form
from audio_text.api.openai.refusals import refused, told_of
from audio_text.api.openai.replies import Transcription, reply
from audio_text.api.presence import while_connected
from audio_text.api.request_log import request_id_of
from audio_text.bootstrap import ApiServices
from audio_text.domain.access import Caller
from audio_text.domain.idempotency import fingerprint_of
from audio_text.domain.job import Job, JobStatus
from audio_text.errors import (
    AudioQuotaError,
    ConcurrentJobsError,
    DatabaseUnavailableError,
    EmptyAudioError,
    EventsUnavailableError,
    IdempotencyKeyReusedError,
    InvalidAudioError,
    InvalidFieldError,
    InvalidRequestError,
    NoSoundTrackError,
    RecordingTooLongError,
    StoreUnavailableError,
    TierFullError,
    UnknownModelError,
    UnsupportedMediaError,
    UploadTooLargeError,
    WaitTooLongError,
)
from audio_text.services.submission import Submission
from audio_text.settings import Settings

JOB_HEADER = "X-Job-ID"
IGNORED_HEADER = "X-Ignored-Fields"
RETRY_HEADER = "x-stainless-retry-count"
"""How often the client tried before: OpenAI's own clients send it with everything."""

_LONGEST_IGNORED = 500
"""Characters of that header's value."""

_ANSWERS = {
    200: ResponseSpec(
        Transcription, description="The transcript, in the format that was asked for.", generate_examples=False
    ),
    202: ResponseSpec(JobView, description="With `Prefer: respond-async`: the job, pending.", generate_examples=False),
} | refused(
    InvalidRequestError,
    InvalidFieldError,
    UnknownModelError,
    UploadTooLargeError,
    UnsupportedMediaError,
    InvalidAudioError,
    EmptyAudioError,
    NoSoundTrackError,
    RecordingTooLongError,
    IdempotencyKeyReusedError,
    ConcurrentJobsError,
    AudioQuotaError,
    TierFullError,
    WaitTooLongError,
    DatabaseUnavailableError,
    StoreUnavailableError,
    EventsUnavailableError,
)

F = TypeVar("F", bound=TranslationForm)


@post(
    "/audio/transcriptions",
    opt={"access": Access.submit},
    status_code=200,
    summary="Transcribe a recording",
    responses=_ANSWERS,
    request_max_body_size=None,
    tags=["openai"],
)
async def transcriptions(
    *, request: Request[Any, Any, Any], services: GivenServices, caller: GivenCaller, settings: GivenSettings
) -> Response[Any]:
    """Send a recording, and wait for its transcript; with `stream`, get the text as it is decoded.

    It is a job like any other. When the client closes the connection and does not come back, the job is cancelled.
    `Prefer: respond-async` answers at once with the job, and is the way for long recordings.
    """
    return await _answer(request, services, settings, caller=caller, kind=TranscriptionForm)


@post(
    "/audio/translations",
    opt={"access": Access.submit},
    status_code=200,
    summary="Translate a recording into English",
    responses=_ANSWERS,
    request_max_body_size=None,
    tags=["openai"],
)
async def translations(
    *, request: Request[Any, Any, Any], services: GivenServices, caller: GivenCaller, settings: GivenSettings
) -> Response[Any]:
    """Send a recording, and wait for what is said in it, in English. Otherwise as transcriptions."""
    return await _answer(request, services, settings, caller=caller, kind=TranslationForm)


async def _answer(
    request: Request[Any, Any, Any], services: ApiServices, settings: Settings, *, caller: Caller, kind: type[F]
) -> Response[Any]:
    form, ignored, job = await _submitted(request, services, settings, caller=caller, kind=kind)
    response = await _waited(request, services, settings, form=form, job=job, caller=caller)
    response.headers[JOB_HEADER] = job.id
    if ignored:
        response.headers[IGNORED_HEADER] = ", ".join(ignored).encode("ascii", "replace").decode()[:_LONGEST_IGNORED]
    return response


async def _submitted(
    request: Request[Any, Any, Any], services: ApiServices, settings: Settings, *, caller: Caller, kind: type[F]
) -> tuple[F, list[str], Job]:
    """Take the form and submit its recording; what is stored by then is removed when it leads to no new job."""
    body, is_new = Form(request, services.uploads, owner=caller.owner), False
    try:
        await body.read()
        form, ignored = understood(body.fields, kind)
        if body.recording is None:
            raise InvalidFieldError("`file` is missing.", field="file")
        submission = Submission(
            filename=body.recording.filename,
            url=body.recording.url,
            caller=caller,
            model=settings.model_behind(form.model),
            options=form.options,
            request_id=request_id_of(request.scope),
            longest_seconds=None if _is_async(request) else settings.openai.longest_audio_seconds,
        )
        # A job that somebody waits for ends with the waiting; one that is only looked up later must be another.
        asked = (submission.model, submission.options, body.recording.sha256, _is_async(request))
        # Where everything is everybody's, different keys still tell clients apart.
        client = request.headers.get("authorization", "") if caller.owner is None else caller.owner
        fingerprint = fingerprint_of(client, *asked)
        given = checked_key(request.headers.get(KEY_HEADER))
        key = key_of(given or f"openai {fingerprint}", fingerprint, settings=settings, caller=caller)
        is_retry = given is not None or _is_retry(request)
        job, is_new = await services.waiting.submit(submission, key=key, is_retry=is_retry)
    finally:
        if not is_new:
            await body.discard()
    return form, ignored, job


async def _waited(
    request: Request[Any, Any, Any],
    services: ApiServices,
    settings: Settings,
    *,
    form: TranslationForm,
    job: Job,
    caller: Caller,
) -> Response[Any]:
    if _is_async(request):
        headers = {"Location": f"/api/v1/job/status/{job.id}", "Preference-Applied": "respond-async"}
        return Response(JobView.of(job, caller=caller), status_code=202, headers=headers)
    if form.is_streamed:
        return Deltas(request, job, services.waiting, send_timeout_seconds=settings.events.send_timeout_seconds)
    ended, segments = await while_connected(request.receive, services.waiting.outcome(job.id))
    if ended.status is not JobStatus.completed:
        return told_of(ended).response()
    return reply(form, ended, segments)


def _is_async(request: Request[Any, Any, Any]) -> bool:
    """Whether the client would rather have the job than wait (RFC 7240)."""
    preferences = request.headers.get("prefer", "").split(",")
    return any(preference.partition(";")[0].strip().lower() == "respond-async" for preference in preferences)


def _is_retry(request: Request[Any, Any, Any]) -> bool:
    return request.headers.get(RETRY_HEADER, "0") != "0"
