"""Routes of recordings: where to upload one, and the upload itself when this machine's disk is the store."""

from typing import Annotated, Any

from litestar import Request, get, post, put
from litestar.exceptions import NotFoundException
from litestar.openapi.spec import Example
from litestar.params import JSONBody, PathParameter, QueryParameter

from audio_text.api.access import Access
from audio_text.api.dependencies import GivenCaller, GivenServices
from audio_text.api.dto import NAME
from audio_text.api.problems import documented
from audio_text.api.upload_views import CONTENT_TYPE_PATTERN, UploadAnswer, UploadRequest
from audio_text.errors import (
    ChecksumMismatchError,
    DiskFullError,
    EmptyAudioError,
    InvalidRequestError,
    StoreUnavailableError,
    UnsupportedMediaError,
    UploadLinkError,
    UploadMismatchError,
    UploadNotFoundError,
    UploadTooLargeError,
)

_PRESIGN_ERRORS = documented(
    InvalidRequestError, EmptyAudioError, UploadTooLargeError, UnsupportedMediaError, StoreUnavailableError
)


@post(
    "/audio/presigned-url",
    opt={"access": Access.submit},
    status_code=200,
    summary="Ask for an upload URL",
    response_description="Where to send the file.",
    responses=_PRESIGN_ERRORS,
    tags=["audio"],
)
async def presign(data: JSONBody[UploadRequest], services: GivenServices, caller: GivenCaller) -> UploadAnswer:
    """Get a URL to PUT one file to, bound to the size, type and SHA-256 that are declared here.

    The file name's extension decides whether the file is accepted; browsers call an m4a `video/mp4`, and an opus
    nothing at all. What is large, or travels over a bad line, is better sent in parts: POST /audio/uploads.
    """
    target = await services.uploads.create(
        filename=data.filename,
        content_type=data.content_type,
        size_bytes=data.file_size,
        sha256=data.sha256,
        owner=caller.owner,
    )
    return UploadAnswer.of(target)


@get(
    "/audio/get_presigned_url",
    opt={"access": Access.submit},
    summary="Ask for an upload URL (older spelling)",
    response_description="Where to send the file.",
    responses=_PRESIGN_ERRORS,
    tags=["audio"],
)
async def presign_by_query(
    *,
    services: GivenServices,
    caller: GivenCaller,
    filename: Annotated[
        str, QueryParameter(description="The file's name.", examples=[Example(value="talk.m4a")], schema_extra=NAME)
    ],
    file_size: Annotated[
        int,
        QueryParameter(
            description="Exact size of the file in bytes.",
            examples=[Example(value=1_048_576)],
            schema_extra={"minimum": 1},
        ),
    ],
    content_type: Annotated[
        str | None,
        QueryParameter(
            description="Its type; empty when not known.",
            examples=[Example(value="video/mp4")],
            schema_extra={"pattern": CONTENT_TYPE_PATTERN},
        ),
    ] = None,
) -> UploadAnswer:
    """Do the same as POST /audio/presigned-url, from query parameters."""
    asked = UploadRequest(filename=filename, content_type=content_type, file_size=file_size)
    return await presign.fn(asked, services, caller)


@put(
    "/audio/upload/{key:path}",
    opt={"access": Access.signed},
    status_code=200,
    summary="Upload a file",
    response_description="The file is stored.",
    responses=documented(
        UploadMismatchError,
        ChecksumMismatchError,
        UploadLinkError,
        UploadNotFoundError,
        UploadTooLargeError,
        StoreUnavailableError,
        DiskFullError,
    ),
    request_max_body_size=None,
    tags=["audio"],
)
async def receive_upload(
    request: Request[Any, Any, Any],
    services: GivenServices,
    key: Annotated[
        str, PathParameter(description="From the upload URL.", examples=[Example(value="uploads/2b/2b9c.m4a")])
    ],
) -> None:
    """Send the raw bytes of a file, or of a part, to the URL that was handed out, with the same Content-Type.

    It exists while the store is this machine's disk. The body goes there as it arrives, never into memory.
    """
    if services.receiver is None:
        raise NotFoundException
    await services.receiver.receive(
        key.lstrip("/"),
        query=dict(request.query_params),
        content_type=request.headers.get("content-type"),
        content_length=request.content_length,
        body=request.stream(),
    )
