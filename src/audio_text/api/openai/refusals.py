"""Errors in OpenAI's shape, with what its clients look at to decide whether to try again."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Annotated, Any, NamedTuple

import msgspec
from litestar import Request, Response
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example
from msgspec import Meta

from audio_text.api.problems import Verdict, judged
from audio_text.domain.job import Job, JobStatus
from audio_text.errors import (
    AudioTextError,
    InvalidFieldError,
    RecordingTooLongError,
    UnauthorizedError,
    UnknownModelError,
    UnsupportedMediaError,
    UploadTooLargeError,
    WaitTooLongError,
)

PREFIX = "/v1/"
"""Under it errors have this shape."""

_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""What may go better at the next try; clients try again after other errors, too, unless they are told not to."""

_OF_THE_FILE = (UnsupportedMediaError, UploadTooLargeError, RecordingTooLongError)

_HINTS: dict[type[Exception] | None, str] = {
    RecordingTooLongError: "Submit it as a job (POST /api/v1/job/transcribe), or send `Prefer: respond-async`.",
    WaitTooLongError: "GET /api/v1/job/status/ and that id tells how it went.",
}


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong; every field is always there."""

    message: Annotated[str, Meta(description="A sentence for a person.", examples=["`temperature` is not usable."])]
    type: Annotated[str, Meta(description="Whose fault it is, roughly.", examples=["invalid_request_error"])]
    param: Annotated[str | None, Meta(description="The field at fault, if it is one.", examples=["temperature"])]
    code: Annotated[str | None, Meta(description="The kind of error, for a program.", examples=["invalid_field"])]


class ErrorAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Why a request failed, as OpenAI's clients read it."""

    error: Annotated[Refusal, Meta(description="What is wrong.")]


class Told(NamedTuple):
    """An error as it is answered."""

    status: int
    answer: ErrorAnswer
    headers: dict[str, str]

    def response(self) -> Response[bytes]:
        """The whole answer."""
        body = msgspec.json.encode(self.answer)
        return Response(body, status_code=self.status, media_type="application/json", headers=self.headers)


def render(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer any exception of an address under /v1."""
    return told(request, error).response()


def told(request: Request[Any, Any, Any], error: Exception) -> Told:
    """Say what is wrong with a request."""
    field = error.field if isinstance(error, InvalidFieldError) else None
    return _told(judged(request, error), type(error), field)


def told_of(job: Job) -> Told:
    """Say why a job ended without a transcript: what is the client's fault, or for good."""
    if job.status is JobStatus.cancelled:
        return _told(Verdict(status=HTTPStatus.CONFLICT, code="job_cancelled", detail="The job was cancelled."), None)
    kind = next((kind for kind in _tree(AudioTextError) if kind.code == job.error_code), AudioTextError)
    # Trying again is over, also after what could have passed.
    status = min(kind.http_status, HTTPStatus.INTERNAL_SERVER_ERROR)
    ended = _told(Verdict(status=status, code=kind.code, detail=job.error_message or kind().detail), kind)
    return ended._replace(headers=ended.headers | {"x-should-retry": "false"})


def refused(*kinds: type[AudioTextError]) -> dict[int, ResponseSpec]:
    """Say in the OpenAPI document which errors a route answers."""
    told: dict[int, list[ErrorAnswer]] = {}
    for kind in kinds:
        status, answer, _ = _told(Verdict(status=kind.http_status, code=kind.code, detail=kind().detail), kind)
        told.setdefault(status, []).append(answer)
    return {
        status: ResponseSpec(
            ErrorAnswer,
            description="\n\n".join(f"`{answer.error.code}`: {answer.error.message}" for answer in answers),
            examples=[
                Example(id=answer.error.code, summary=answer.error.message, value=msgspec.to_builtins(answer))
                for answer in answers
            ],
        )
        for status, answers in sorted(told.items())
    }


def refusals_of(*kinds: type[AudioTextError]) -> dict[str, Any]:
    """Describe the same as OpenAPI has it, for operations that are described already; the statuses differ."""
    told = [_told(Verdict(status=kind.http_status, code=kind.code, detail=kind().detail), kind) for kind in kinds]
    return {
        str(status): {
            "description": f"`{answer.error.code}`: {answer.error.message}",
            "content": {
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/ErrorAnswer"},
                    "examples": {str(answer.error.code): {"value": msgspec.to_builtins(answer)}},
                }
            },
        }
        for status, answer, _ in told
    }


def _told(verdict: Verdict, kind: type[Exception] | None, field: str | None = None) -> Told:
    status, code = verdict.status, verdict.code
    if kind is UnknownModelError:
        status, code, field = HTTPStatus.NOT_FOUND, "model_not_found", "model"
    elif kind is not None and issubclass(kind, _OF_THE_FILE):
        # OpenAI's clients have a class of error for 400, not for 415.
        status = HTTPStatus.BAD_REQUEST if status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE else status
        field = "file"
    elif kind is not None and issubclass(kind, UnauthorizedError):
        code = "invalid_api_key"
    message = " ".join(filter(None, (verdict.detail, _HINTS.get(kind))))
    side = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    refusal = Refusal(message=message, type=side, param=field, code=code)
    headers = verdict.headers | {"x-should-retry": "true" if status in _PASSING else "false"}
    return Told(status=int(status), answer=ErrorAnswer(error=refusal), headers=headers)


def _tree(root: type[AudioTextError]) -> Iterator[type[AudioTextError]]:
    yield root
    for kind in root.__subclasses__():
        yield from _tree(kind)
