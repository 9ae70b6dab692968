"""Routes of batches: submit many recordings at once, see how far they are, cancel them, take all transcripts."""

from typing import Annotated, Any

from litestar import Request, Response, Router, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import JSONBody, PathParameter, QueryParameter

from audio_text.api.access import DOWNLOAD_OPTION, Access
from audio_text.api.batch_views import BatchRequest, BatchView
from audio_text.api.dependencies import GivenCaller, GivenServices, GivenSettings
from audio_text.api.idempotency import REPLAYED_HEADER, GivenBatchKey, checked_key, key_of
from audio_text.api.ids import checked_id
from audio_text.api.paging import LINK, Cursor, Limit, moment, page, page_size
from audio_text.api.problems import documented, documented_header
from audio_text.api.request_log import request_id_of
from audio_text.api.streamed import Download
from audio_text.api.transcripts import document_of
from audio_text.domain.formats import TranscriptFormat
from audio_text.domain.idempotency import fingerprint_of
from audio_text.errors import (
    AudioQuotaError,
    BatchNotFoundError,
    BatchRefusedError,
    ConcurrentJobsError,
    DatabaseUnavailableError,
    IdempotencyKeyReusedError,
    InvalidRequestError,
    StoreUnavailableError,
    TierFullError,
)
from audio_text.services.batches import new_batch
from audio_text.services.export import zipped

PATH = "/api/v1/batches"

LARGEST_BODY_BYTES = 8_388_608
"""8 MiB: a thousand jobs with upload links of S3, which are as long as the rest."""

BatchId = Annotated[
    str,
    PathParameter(description="The batch's id.", examples=[Example(value="7d0b4c56-3f0c-4f4e-8d3b-2a5f6f9f2b11")]),
]
ALWAYS = (InvalidRequestError, BatchNotFoundError, DatabaseUnavailableError)


@post(
    "/",
    opt={"access": Access.submit},
    request_max_body_size=LARGEST_BODY_BYTES,
    summary="Submit a batch",
    response_description="The batch, its jobs pending.",
    response_headers=[
        documented_header("Location", "Where to read it."),
        documented_header(REPLAYED_HEADER, "`true` where it was submitted before, under the same key."),
    ],
    responses=documented(
        InvalidRequestError,
        BatchRefusedError,
        ConcurrentJobsError,
        AudioQuotaError,
        TierFullError,
        IdempotencyKeyReusedError,
        DatabaseUnavailableError,
        StoreUnavailableError,
    ),
)
async def submit_batch(
    request: Request[Any, Any, Any],
    data: JSONBody[BatchRequest],
    *,
    services: GivenServices,
    settings: GivenSettings,
    caller: GivenCaller,
    idempotency_key: GivenBatchKey = None,
) -> Response[BatchView]:
    """Have up to a thousand uploaded recordings transcribed.

    Every upload is looked at first; if one of the jobs cannot be accepted, none is, and `errors` names each of those.
    Then all of them are stored together, and are jobs like any others. Under an `Idempotency-Key` that is sent
    again, the answer is the batch that it led to, as it is now, for as long as that batch is there.
    """
    key = None
    if (text := checked_key(idempotency_key)) is not None:
        key = key_of(text, fingerprint_of(data), settings=settings, caller=caller)
    request_id = request_id_of(request.scope)
    submissions = [job.submission(caller, request_id=request_id) for job in data.jobs]
    asked = new_batch(caller=caller, size=len(submissions), description=data.description, metadata=data.metadata or {})
    batch, is_new = await services.batches.submit(asked, submissions, key=key)
    headers = {"Location": f"{PATH}/{batch.id}"} | ({} if is_new else {REPLAYED_HEADER: "true"})
    return Response(BatchView.of(batch), headers=headers)


@get(
    "/",
    opt={"access": Access.read},
    summary="List batches",
    response_description="Batches, newest first.",
    response_headers=[documented_header("Link", LINK)],
    responses=documented(InvalidRequestError, DatabaseUnavailableError),
)
async def read_batches(
    *,
    services: GivenServices,
    settings: GivenSettings,
    caller: GivenCaller,
    limit: Limit = None,
    cursor: Cursor = None,
) -> Response[list[BatchView]]:
    """List your batches, newest first, a page at a time."""
    size = page_size(limit, settings)
    found = await services.batches.newest(caller=caller, limit=size + 1, before=moment(cursor, of=PATH))
    batches, headers = page(
        found, size, at=lambda batch: (batch.created_at, batch.id), path=PATH, query=[("limit", size)], of=PATH
    )
    return Response([BatchView.of(batch) for batch in batches], headers=headers)


@get(
    "/{batch_id:str}",
    opt={"access": Access.read},
    summary="Read a batch",
    response_description="The batch.",
    responses=documented(*ALWAYS),
)
async def read_batch(batch_id: BatchId, services: GivenServices, caller: GivenCaller) -> BatchView:
    """See how the jobs of a batch stand, and how far they are."""
    return BatchView.of(await services.batches.get(checked_id(batch_id, BatchNotFoundError), caller=caller))


@post(
    "/{batch_id:str}/cancel",
    opt={"access": Access.submit},
    status_code=200,
    summary="Cancel a batch",
    response_description="The batch; none of its jobs waits or runs any more.",
    responses=documented(*ALWAYS),
)
async def cancel_batch(batch_id: BatchId, services: GivenServices, caller: GivenCaller) -> BatchView:
    """End all jobs of a batch that wait or run; what was transcribed so far is kept. Safe to repeat."""
    return BatchView.of(await services.batches.cancel(checked_id(batch_id, BatchNotFoundError), caller=caller))


@get(
    "/{batch_id:str}/transcripts",
    opt={"access": Access.read, DOWNLOAD_OPTION: True},
    media_type="application/zip",
    summary="Take all transcripts of a batch",
    response_description="A zip archive, written while you read it.",
    response_headers=[documented_header("Content-Disposition", "A name for the file.")],
    responses=documented(*ALWAYS)
    | {200: ResponseSpec(bytes, description="A zip archive.", media_type="application/zip", generate_examples=False)},
)
async def export_transcripts(
    *,
    request: Request[Any, Any, Any],
    batch_id: BatchId,
    services: GivenServices,
    caller: GivenCaller,
    format: Annotated[  # noqa: A002 -- the name on the wire, which errors repeat
        TranscriptFormat,
        QueryParameter(description="What to write the transcripts as.", examples=[Example(value="srt")]),
    ] = TranscriptFormat.text,
) -> Response[Any]:
    """Take the transcripts of all completed jobs, in the order in which they were submitted.

    `manifest.json` in the archive lists every job, with its file or why there is none. The archive may be taken at any
    time: it holds what is completed by then.
    """
    batch = await services.batches.get(checked_id(batch_id, BatchNotFoundError), caller=caller)
    parts = zipped(
        services.batches.jobs(batch.id),
        transcripts=services.transcripts,
        transcript_format=format,
        writer_of=lambda stored: document_of(stored, format),
    )
    headers = {
        "Content-Type": "application/zip",
        "Content-Disposition": f'attachment; filename="batch-{batch.id}.zip"',
        "Cache-Control": "no-store",
    }
    return Download(request, parts, headers=headers)


router = Router(
    "/batches",
    route_handlers=[submit_batch, read_batches, read_batch, cancel_batch, export_transcripts],
    tags=["batches"],
)
