"""Routes of uploads in parts: begin one, send its parts, see what has arrived, complete it or give it up."""

from typing import Annotated

from litestar import Response, Router, delete, get, post
from litestar.openapi.spec import Example
from litestar.params import JSONBody, PathParameter

from audio_text.api.access import Access
from audio_text.api.dependencies import GivenCaller, GivenServices
from audio_text.api.problems import documented, documented_header
from audio_text.api.upload_views import MultipartRequest, PartLinks, PartsRequest, UploadView
from audio_text.errors import (
    ChecksumMismatchError,
    DiskFullError,
    EmptyAudioError,
    InvalidRequestError,
    StoreUnavailableError,
    UnsupportedMediaError,
    UploadIncompleteError,
    UploadNotFoundError,
    UploadTooLargeError,
)

PATH = "/audio/uploads"

UploadId = Annotated[
    str,
    PathParameter(
        max_length=4_096, description="The upload's id.", examples=[Example(value="kzV0b2tlbi1vZi1hbi11cGxvYWQ")]
    ),
]
ALWAYS = (UploadNotFoundError, InvalidRequestError, StoreUnavailableError)


@post(
    "/",
    opt={"access": Access.submit},
    summary="Begin an upload in parts",
    response_description="The upload, without any part.",
    response_headers=[documented_header("Location", "Where to see what has arrived.")],
    responses=documented(
        InvalidRequestError,
        EmptyAudioError,
        UploadTooLargeError,
        UnsupportedMediaError,
        StoreUnavailableError,
        DiskFullError,
    ),
)
async def begin_upload(
    data: JSONBody[MultipartRequest], services: GivenServices, caller: GivenCaller
) -> Response[UploadView]:
    """Begin to send a large file in parts: in any order, several at a time, over a day, each again if it broke off.

    With `sha256`, no file is ever transcribed that has another: completing the upload answers `checksum_mismatch`, or,
    where the store cannot tell, its job fails with that code.
    """
    state = await services.multipart.begin(
        filename=data.filename,
        content_type=data.content_type,
        size_bytes=data.file_size,
        sha256=data.sha256,
        part_size=data.part_size,
        caller=caller,
    )
    return Response(UploadView.of(state), headers={"Location": f"/api/v1{PATH}/{state.id}"})


@post(
    "/{upload_id:str}/parts",
    opt={"access": Access.submit},
    status_code=200,
    summary="Ask for links of parts",
    response_description="A link for each part.",
    responses=documented(*ALWAYS),
)
async def sign_parts(
    *, upload_id: UploadId, data: JSONBody[PartsRequest], services: GivenServices, caller: GivenCaller
) -> PartLinks:
    """Get a URL for each of these parts, to PUT its raw bytes to.

    Part n is the bytes from (n - 1) · `part_size` on; all have that size, but the last has the rest. A part that is
    sent again replaces the first. A link that has expired is asked for again.
    """
    return PartLinks.of(data.numbers, await services.multipart.sign(upload_id, data.numbers, caller=caller))


@get(
    "/{upload_id:str}",
    opt={"access": Access.submit},
    summary="See what has arrived",
    response_description="The upload, with the parts that are there.",
    responses=documented(*ALWAYS),
)
async def read_upload(upload_id: UploadId, services: GivenServices, caller: GivenCaller) -> UploadView:
    """List the parts that are there whole, also those of a client that was broken off: it sends the others."""
    return UploadView.of(await services.multipart.read(upload_id, caller=caller))


@post(
    "/{upload_id:str}/complete",
    opt={"access": Access.submit},
    status_code=200,
    summary="Complete an upload",
    response_description="The upload, complete.",
    responses=documented(*ALWAYS, UploadIncompleteError, ChecksumMismatchError),
)
async def complete_upload(upload_id: UploadId, services: GivenServices, caller: GivenCaller) -> UploadView:
    """Make the file of its parts, once all are there. Safe to repeat, so that a lost answer is asked for again.

    On this machine's disk a declared `sha256` is compared now, which takes a few seconds for 5 GB.
    """
    return UploadView.of(await services.multipart.complete(upload_id, caller=caller))


@delete(
    "/{upload_id:str}",
    opt={"access": Access.submit},
    summary="Give an upload up",
    response_description="Nothing is left of it.",
    responses=documented(*ALWAYS),
)
async def abort_upload(upload_id: UploadId, services: GivenServices, caller: GivenCaller) -> None:
    """Remove the parts that are there. Safe to repeat; what is complete already stays."""
    await services.multipart.abort(upload_id, caller=caller)


router = Router(
    PATH, route_handlers=[begin_upload, sign_parts, read_upload, complete_upload, abort_upload], tags=["audio"]
)
