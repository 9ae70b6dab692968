"""Route of transcripts: the text of a job in any format, whole or in pages, finished or not."""

from hashlib import sha256
from typing import Annotated, Any
from urllib.parse import quote, urlencode

import msgspec
from litestar import Request, Response, get
from litestar.di import NamedDependency, Provide
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import PathParameter, QueryParameter, SkipValidation

from audio_text.api.access import DOWNLOAD_OPTION, Access
from audio_text.api.dependencies import GivenServices
from audio_text.api.ids import checked_id
from audio_text.api.negotiation import is_known, preferred
from audio_text.api.problems import documented, documented_header
from audio_text.api.streamed import Download
from audio_text.api.transcript_views import MEDIA_TYPES, TranscriptFacts
from audio_text.domain.formats import TranscriptFormat, Writer, writer
from audio_text.domain.speakers import speakers_of
from audio_text.domain.subtitles import DEFAULT_LIMITS, CueLimits
from audio_text.errors import (
    DatabaseUnavailableError,
    InvalidRequestError,
    JobNotFoundError,
    NotAcceptableError,
    TranscriptChangedError,
)
from audio_text.services.transcripts import StoredTranscript

PATH = "/job/{job_id:str}/transcript"
HIGHEST_SEGMENT_ID = 1_000_000_000
JSON_FORMATS = (TranscriptFormat.json, TranscriptFormat.verbose_json)


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """Which segments are wanted: those behind `cursor`, at most `limit`."""

    cursor: int | None = None
    limit: int | None = None

    @property
    def first(self) -> int:
        """Id of the first."""
        return 0 if self.cursor is None else self.cursor + 1

    @property
    def last(self) -> int | None:
        """Id of the last; None: whichever there is."""
        return None if self.limit is None else self.first + self.limit - 1


def _page(
    *,
    cursor: Annotated[
        int | None,
        QueryParameter(
            ge=0,
            le=HIGHEST_SEGMENT_ID,
            schema_extra={"minimum": 0},  # the framework forgets a bound of zero
            description="JSON only: the id of the last segment that you have; what follows is given.",
            examples=[Example(value=99)],
        ),
    ] = None,
    limit: Annotated[
        int | None,
        QueryParameter(
            ge=1, le=10_000, description="JSON only: most segments in a page.", examples=[Example(value=100)]
        ),
    ] = None,
) -> Page:
    return Page(cursor=cursor, limit=limit)


def _limits(
    *,
    max_line_width: Annotated[
        int,
        QueryParameter(
            ge=1,
            le=1_000,
            description="Subtitles: most characters in a line; a wide one counts as two, a longer word stays whole.",
            examples=[Example(value=42)],
        ),
    ] = DEFAULT_LIMITS.max_line_width,
    max_line_count: Annotated[
        int, QueryParameter(ge=1, le=10, description="Subtitles: most lines in a cue.", examples=[Example(value=2)])
    ] = DEFAULT_LIMITS.max_line_count,
    max_cue_seconds: Annotated[
        float,
        QueryParameter(
            ge=1, le=60, description="Subtitles: longest that a cue is shown, in seconds.", examples=[Example(value=7)]
        ),
    ] = DEFAULT_LIMITS.max_cue_seconds,
    max_characters_per_second: Annotated[
        float,
        QueryParameter(
            ge=1,
            le=1_000,
            description="Subtitles: a cue that has to be read faster than this is shown for longer, as far as there "
            "is silence after it.",
            examples=[Example(value=20)],
        ),
    ] = DEFAULT_LIMITS.max_characters_per_second,
) -> CueLimits:
    return CueLimits(
        max_line_width=max_line_width,
        max_line_count=max_line_count,
        max_cue_seconds=max_cue_seconds,
        max_characters_per_second=max_characters_per_second,
    )


@get(
    PATH,
    dependencies={
        "limits": Provide(_limits, sync_to_thread=False),
        "page": Provide(_page, sync_to_thread=False),
    },
    opt={"access": Access.read, DOWNLOAD_OPTION: True},
    summary="Read a transcript",
    response_description="The transcript, or what there is of it.",
    response_headers=[
        documented_header("Transcript-Status", "Where the job stands: anything but `completed` is a partial result."),
        documented_header("ETag", "Send it as If-None-Match: as long as nothing is new, the answer is 304."),
        documented_header("Link", 'The next page, rel="next", if `limit` leaves something out.'),
        documented_header("Content-Disposition", "A name for the file."),
    ],
    responses=documented(
        InvalidRequestError, JobNotFoundError, NotAcceptableError, TranscriptChangedError, DatabaseUnavailableError
    )
    | {304: ResponseSpec(None, description="Nothing has changed since that ETag.", generate_examples=False)},
    tags=["jobs"],
)
async def read_transcript(
    *,
    request: Request[Any, Any, Any],
    job_id: Annotated[
        str,
        PathParameter(description="The job's id.", examples=[Example(value="3f0c3f4e-7d0b-4c56-8d3b-2a5f6f9f2b11")]),
    ],
    services: GivenServices,
    limits: NamedDependency[SkipValidation[CueLimits]],
    page: NamedDependency[SkipValidation[Page]],
    format: Annotated[  # noqa: A002 -- the name on the wire, which errors repeat
        TranscriptFormat | None,
        QueryParameter(
            description="What to write it as; without it, the Accept header decides, and `json` is the default.",
            examples=[Example(value="srt")],
        ),
    ] = None,
) -> Response[Any]:
    """Read what a job has transcribed, also while it runs, and after it failed or was cancelled.

    Subtitles are cut into cues of readable size, by word times where the job has them. A result that is not, or not
    yet, complete says so: in the header `Transcript-Status`, in JSON as `is_partial`, in WebVTT as a `NOTE`.
    """
    transcript_format = format or _accepted(request.headers.get("Accept", "*/*"))
    if page != Page() and transcript_format not in JSON_FORMATS:
        raise InvalidRequestError(f"`cursor` and `limit` are for JSON: {transcript_format} is given as a whole.")
    stored = await services.transcripts.find(checked_id(job_id, JobNotFoundError))
    headers = _headers(stored, transcript_format, page) | {"ETag": _tag(stored, transcript_format, limits, page)}
    if is_known(headers["ETag"], request.headers.get("If-None-Match", "")):
        return Response(None, status_code=304, headers=headers)
    document = document_of(stored, transcript_format, limits=limits)
    parts = await services.transcripts.written(stored, document, first=page.first, last=page.last)
    # JSON knows no other.
    charset = "" if transcript_format in JSON_FORMATS else "; charset=utf-8"
    headers["Content-Type"] = MEDIA_TYPES[transcript_format] + charset
    return Download(request, parts, headers=headers)


def document_of(
    stored: StoredTranscript, transcript_format: TranscriptFormat, *, limits: CueLimits = DEFAULT_LIMITS
) -> Writer:
    """Begin the document of a transcript."""
    return writer(
        transcript_format,
        limits=limits,
        facts=TranscriptFacts.of(stored).fields,
        note=_note(stored) if stored.is_partial else None,
        speakers=speakers_of(stored.job.options),
    )


def _accepted(accept: str) -> TranscriptFormat:
    """Choose what the client likes best. Raises NotAcceptableError."""
    best = preferred(accept, list(dict.fromkeys(MEDIA_TYPES.values())))
    return next(kind for kind, media_type in MEDIA_TYPES.items() if media_type == best)


def _headers(stored: StoredTranscript, transcript_format: TranscriptFormat, page: Page) -> dict[str, str]:
    stem = stored.job.filename.rpartition(".")[0] or stored.job.filename
    name = quote(f"{stem}.{transcript_format.extension}", safe="")
    headers = {
        "Transcript-Status": stored.job.status.value,
        "Content-Disposition": f"inline; filename*=UTF-8''{name}",
        "Cache-Control": "private, no-cache",
        "Vary": "Accept",
        "X-Content-Type-Options": "nosniff",
    }
    if page.last is not None and page.last < stored.last:
        query = urlencode({"format": transcript_format.value, "limit": page.limit, "cursor": page.last})
        headers["Link"] = f'</api/v1/job/{quote(stored.job.id, safe="")}/transcript?{query}>; rel="next"'
    return headers


def _tag(stored: StoredTranscript, *choices: object) -> str:
    """Name these very bytes: what a client chose, and what changes whenever the job's segments or facts do."""
    job = stored.job
    identity = (job.id, job.claims, job.status, job.update_date, stored.last, *choices)
    return f'"{sha256(msgspec.json.encode(identity)).hexdigest()[:32]}"'


def _note(stored: StoredTranscript) -> str:
    job = stored.job
    return f"Partial transcript: the job is {job.status.value}, {job.progress:.1f} % of the audio is done."
