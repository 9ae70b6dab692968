"""Live status as server-sent events: what the socket says, for clients that only read."""

import asyncio
import re
from collections.abc import Callable, Coroutine, Sequence
from contextlib import aclosing
from functools import partial
from hashlib import blake2b
from typing import Annotated, Any, Self, cast

import msgspec
import structlog
from litestar import Request, Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from litestar.params import QueryParameter

from audio_text.api.access import TICKET_OPTION, Access
from audio_text.api.connections import while_key_holds
from audio_text.api.dependencies import GivenCaller, GivenServices, GivenSettings
from audio_text.api.ids import checked_id
from audio_text.api.jobs import JobId
from audio_text.api.messages import ErrorMessage, JobUpdateMessage
from audio_text.api.presence import unless
from audio_text.api.problems import RETRY_AFTER_SECONDS, documented
from audio_text.api.sse import HEADERS, MEDIA_TYPE, PING, EventSource, described_stream, event, pause, retry
from audio_text.api.streamed import Outlet
from audio_text.errors import (
    DatabaseUnavailableError,
    EventsUnavailableError,
    InvalidRequestError,
    JobNotFoundError,
    TooManyJobsError,
    TransientError,
    UnauthorizedError,
)
from audio_text.services.following import Admit, Gone, following
from audio_text.services.live import LiveService, LiveUpdate
from audio_text.settings import EventSettings

RETRY_SECONDS = 2.0
"""How long clients wait before they come back: another process is found at once, and this one restarts in less."""

LONGEST_CURSOR = 8_192
"""Characters; what servers and proxies let pass in a header."""

_CURSOR = re.compile(r"(\d{1,18}-\d{1,18})?(~?)", re.ASCII)

log = structlog.get_logger(__name__)


class Cursor(msgspec.Struct, frozen=True):
    """What a client has seen of a job: up to which event, and whether that was the end. Written `<event_id>~` then."""

    event_id: str | None = None
    is_end: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a client sent; what is not a cursor is the beginning."""
        match = _CURSOR.fullmatch(text)
        return cls(match[1], bool(match[2])) if match else cls()

    def __str__(self) -> str:
        return (self.event_id or "") + "~" * self.is_end


class Cursors(dict[str, Cursor]):
    """What a client has seen of several jobs; in one id: a digest of whose they are, and theirs in that order."""

    @classmethod
    def parse(cls, text: str, jobs: Sequence[str]) -> Self:
        """Read what a client sent; cursors of other jobs, or in another order, are none."""
        digest, *cursors = text[:LONGEST_CURSOR].split(".")
        if digest != _digest(jobs) or len(cursors) != len(jobs):
            cursors = [""] * len(jobs)
        return cls(zip(jobs, map(Cursor.parse, cursors), strict=True))

    def __str__(self) -> str:
        return ".".join([_digest(tuple(self)), *map(str, self.values())])


_LastEventId = Annotated[
    str | None,
    QueryParameter(
        description="The same as the header `Last-Event-ID`, for clients that cannot set it; the header counts first.",
        examples=[Example(value="1767268800000-3")],
    ),
]


@get(
    "/job/{job_id:str}/events",
    opt={"access": Access.read, TICKET_OPTION: True},
    summary="Follow a job",
    response_description="The stream; it ends after the update of a final status.",
    responses=documented(InvalidRequestError, JobNotFoundError, DatabaseUnavailableError, EventsUnavailableError)
    | {204: ResponseSpec(None, description="You have seen the end already: stay away.", generate_examples=False)},
    tags=["live"],
)
async def stream_job(
    *,
    request: Request[Any, Any, Any],
    job_id: JobId,
    services: GivenServices,
    settings: GivenSettings,
    last_event_id: _LastEventId = None,
) -> EventSource:
    """Follow a job as server-sent events: its state now, then everything that happens, each once and in order.

    The `data` of an event is a JobUpdateMessage, as on the socket. A client that comes back with `Last-Event-ID`, as
    browsers do by themselves, misses nothing.
    """
    seen = Cursor.parse(_last_event_id(request, last_event_id))
    tell = partial(
        _tell_job, live=services.live, settings=settings.events, job_id=checked_id(job_id, JobNotFoundError), seen=seen
    )
    return _source(request, tell, settings.events)


@get(
    "/job/events",
    opt={"access": Access.read, TICKET_OPTION: True},
    summary="Follow several jobs",
    response_description="The stream; it ends after the last job has ended.",
    responses=documented(
        InvalidRequestError, TooManyJobsError, JobNotFoundError, DatabaseUnavailableError, EventsUnavailableError
    )
    | {
        204: ResponseSpec(None, description="You have seen the end of all already: stay away.", generate_examples=False)
    },
    tags=["live"],
)
async def stream_jobs(
    *,
    request: Request[Any, Any, Any],
    job: Annotated[
        list[str],
        QueryParameter(
            description="A job's id; name it once for each job.",
            min_items=1,
            examples=[Example(value=["3f0c3f4e-7d0b-4c56-8d3b-2a5f6f9f2b11", "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d"])],
        ),
    ],
    services: GivenServices,
    caller: GivenCaller,
    settings: GivenSettings,
    last_event_id: _LastEventId = None,
) -> EventSource:
    """Follow several jobs in one stream of server-sent events, with the same guarantees for each of them.

    The `data` of an event is a JobUpdateMessage, or an ErrorMessage for a job that does not exist (any more). The `id`
    of an event says how far each of the jobs was told: it is of use with the same jobs in the same order.
    """
    jobs = tuple(dict.fromkeys(checked_id(each, JobNotFoundError) for each in job))
    if len(jobs) > settings.events.jobs_per_connection:
        raise TooManyJobsError(f"At most {settings.events.jobs_per_connection} jobs can be followed at once.")
    cursors = Cursors.parse(_last_event_id(request, last_event_id), jobs)
    admit = partial(services.ownership.require_job, caller=caller)
    tell = partial(_tell_jobs, live=services.live, admit=admit, settings=settings.events, cursors=cursors)
    return _source(request, tell, settings.events)


async def _tell_job(outlet: Outlet, *, live: LiveService, settings: EventSettings, job_id: str, seen: Cursor) -> None:
    async with aclosing(live.follow(job_id, after=seen.event_id, idle_seconds=settings.ping_seconds)) as updates:
        async for update in updates:
            if update is None:
                await outlet.write(PING)
            elif not (seen.is_end and _is_end(update)):
                seen = _after(update)
                await outlet.write(_written(update, seen))


async def _tell_jobs(
    outlet: Outlet, *, live: LiveService, admit: Admit, settings: EventSettings, cursors: Cursors
) -> None:
    async with following(live, admit=admit, limit=len(cursors), idle_seconds=settings.ping_seconds) as followed:
        for job_id, cursor in cursors.items():
            followed.add(job_id, after=cursor.event_id)
        while followed.jobs:
            news = await followed.news()
            if news is None:
                await outlet.write(PING)
            elif not (cursors[news.job_id].is_end and _is_end(news)):
                cursors[news.job_id] = _after(news)
                await outlet.write(_written(news, cursors))


def _source(
    request: Request[Any, Any, Any], tell: Callable[[Outlet], Coroutine[Any, Any, None]], settings: EventSettings
) -> EventSource:
    """Give an answer that ends in time when this process stops, or with the key, and from which browsers come back."""
    closing: asyncio.Event = request.app.state.closing

    async def tell_until_closing(outlet: Outlet) -> None:
        try:
            told = while_key_holds(request.scope, tell(outlet))
            await unless(closing.wait(), told, error=EventsUnavailableError)
        except TransientError as error:
            if not outlet.has_begun and not _comes_back(request):
                raise
            log.info("stream_interrupted", path=request.scope["path"], code=error.code)
            await outlet.write(_pause(error))
        except UnauthorizedError as error:
            if not outlet.has_begun:
                raise
            log.info("stream_ended_with_key", path=request.scope["path"])
            await outlet.write(event(ErrorMessage(message=error.detail, error=error.code)))
        except JobNotFoundError as error:
            if not outlet.has_begun:
                raise
            await outlet.write(event(_no_job(request.path_params["job_id"], error)))

    return EventSource(
        tell_until_closing, prelude=retry(RETRY_SECONDS), send_timeout_seconds=settings.send_timeout_seconds
    )


def interrupted(request: Request[Any, Any, Any], error: Exception) -> Response[bytes] | None:
    """Give the answer to a stream that nobody can begin just now, if it is one that is to be asked for again.

    Browsers do so after a stream that ends, and never after the status of an error (HTML, 9.2.3): who comes back, or
    takes nothing but such a stream, is told by a stream of that alone to try again later.
    """
    handler = cast("Any", request.scope).get("route_handler")
    is_stream = handler is not None and handler.opt.get(TICKET_OPTION)
    if not is_stream or not isinstance(error, TransientError) or not _comes_back(request):
        return None
    log.info("stream_interrupted", path=request.scope["path"], code=error.code)
    return Response(_pause(error), status_code=200, headers=HEADERS, media_type=MEDIA_TYPE)


def _comes_back(request: Request[Any, Any, Any]) -> bool:
    return "Last-Event-ID" in request.headers or request.headers.get("Accept", "").strip().lower() == MEDIA_TYPE


def _pause(error: TransientError) -> bytes:
    return pause(error.code, error.retry_after_seconds or RETRY_AFTER_SECONDS)


def _last_event_id(request: Request[Any, Any, Any], by_query: str | None) -> str:
    return request.headers.get("Last-Event-ID", by_query) or ""


def _is_end(news: LiveUpdate | Gone) -> bool:
    return isinstance(news, Gone) or news.update.status.is_terminal


def _after(news: LiveUpdate | Gone) -> Cursor:
    return Cursor(None if isinstance(news, Gone) else news.event_id, _is_end(news))


def _written(news: LiveUpdate | Gone, cursor: Cursor | Cursors) -> bytes:
    message = _no_job(news.job_id, JobNotFoundError()) if isinstance(news, Gone) else JobUpdateMessage.of(news)
    return event(message, event_id=str(cursor))


def _no_job(job_id: str, error: JobNotFoundError) -> ErrorMessage:
    return ErrorMessage(job_id=job_id, message=error.detail, error=error.code)


def _digest(jobs: Sequence[str]) -> str:
    return blake2b("\n".join(jobs).encode(), digest_size=4).hexdigest()


_DATA = """\
{"type":"job_update","job_id":"3f0c3f4e-7d0b-4c56-8d3b-2a5f6f9f2b11","status":"processing","progress":42.5,\
"message":"Transcribing: 42 % done.","event_id":"1767268800000-3","segments":[]}\
"""
CONTENT = described_stream("JobUpdateMessage", "ErrorMessage", example={"id": "1767268800000-3", "data": _DATA})
"""The answer's body in the OpenAPI document."""
