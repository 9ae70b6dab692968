"""Every error that leaves the API, in one shape: application/problem+json (RFC 9457)."""

import re
from http import HTTPStatus
from typing import Any, cast
from urllib.parse import quote

import msgspec
import structlog
from litestar import Request, Response
from litestar.datastructures import ResponseHeader
from litestar.exceptions import HTTPException
from litestar.openapi.datastructures import ResponseSpec

from audio_text.api.dto import FieldProblem, Problem
from audio_text.api.request_log import request_id_of
from audio_text.errors import AudioTextError

MEDIA_TYPE = "application/problem+json"

RETRY_AFTER_SECONDS = 5
"""What clients are told to wait when a dependency is away: restarts of PostgreSQL and Redis take less."""

_INTERNAL = "Something went wrong inside the service. Its log has the details under this request_id."
_SENTENCES = {
    400: "The request cannot be understood.",
    404: "There is nothing at this address.",
    408: "The request stopped arriving: send it again.",
    413: "The request body is larger than this address accepts.",
}
_MISSING = re.compile(r"Object missing required field `(?P<field>[^`]+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `(?P<field>[^`]+)`")
_MISSING_PARAMETER = re.compile(r"Missing required \w+ parameter '(?P<field>[^']+)'")
_PATTERN = re.compile(r"^Expected `str` matching regex .*$")

log = structlog.get_logger(__name__)


def render(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer any exception; what is not foreseen is logged in full and told without internals."""
    headers: dict[str, str] = {}
    errors: tuple[FieldProblem, ...] = ()
    match error:
        case AudioTextError(http_status=status, code=code, detail=detail) if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            pass
        case AudioTextError(http_status=HTTPStatus.SERVICE_UNAVAILABLE as status, code=code, detail=detail):
            headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
            log.warning("request_refused", code=code, reason=detail, cause=repr(error.__cause__))
        case HTTPException(status_code=status) if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            headers |= error.headers or {}
            errors = _field_problems(error)
            code, detail = _code(status), _sentence(request, error, errors)
        case _:
            status, code, detail = HTTPStatus.INTERNAL_SERVER_ERROR, AudioTextError.code, _INTERNAL
            log.error("request_failed", exc_info=error)
    problem = Problem(
        type=f"urn:audio-text:problem:{code}",
        title=code.replace("_", " ").capitalize(),
        status=status,
        detail=detail,
        code=code,
        instance=quote(request.scope["path"]),
        request_id=request_id_of(request.scope),
        errors=errors,
    )
    return Response(msgspec.json.encode(problem), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def documented(*kinds: type[AudioTextError], **others: str) -> dict[int, ResponseSpec]:
    """Say in the OpenAPI document which errors a route answers: ours by class, others as `s404="…"`."""
    sentences: dict[int, list[str]] = {}
    for kind in kinds:
        sentences.setdefault(kind.http_status, []).append(f"`{kind.code}`: {kind().detail}")
    for status, sentence in others.items():
        sentences.setdefault(int(status.removeprefix("s")), []).append(sentence)
    return {
        status: ResponseSpec(Problem, description="\n\n".join(lines), media_type=MEDIA_TYPE, generate_examples=False)
        for status, lines in sorted(sentences.items())
    }


def documented_header(name: str, description: str) -> ResponseHeader:
    """Say in the OpenAPI document that a response has this header; the route itself sets it."""
    return ResponseHeader(name=name, value="", description=description, documentation_only=True)


def _code(status: int) -> str:
    if status == HTTPStatus.BAD_REQUEST:
        return "invalid_request"
    return HTTPStatus(status).phrase.lower().replace(" ", "_").replace("-", "_")


def _sentence(request: Request[Any, Any, Any], error: HTTPException, errors: tuple[FieldProblem, ...]) -> str:
    if errors:
        return " ".join(f"`{problem.field}` {problem.message}." for problem in errors)
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("allow", "")
        return f"{request.method} is not possible here. Possible: {allowed}."
    if error.status_code == HTTPStatus.BAD_REQUEST:
        return f"The request cannot be understood: {error.detail}."
    return _SENTENCES.get(error.status_code, f"{error.detail}.")


def _field_problems(error: HTTPException) -> tuple[FieldProblem, ...]:
    """Read litestar's list of what did not validate."""
    if missing := _MISSING_PARAMETER.match(error.detail):
        return (FieldProblem(field=missing["field"], message="is missing"),)
    found = cast("list[dict[str, str]]", error.extra if isinstance(error.extra, list) else [])
    return tuple(_field_problem(item.get("key", ""), item.get("message", "")) for item in found)


def _field_problem(key: str, message: str) -> FieldProblem:
    inside = "" if key == "data" else f"{key}."
    if match := _MISSING.fullmatch(message):
        return FieldProblem(field=inside + match["field"], message="is missing")
    if match := _UNKNOWN.fullmatch(message):
        return FieldProblem(field=inside + match["field"], message="is not a field of this request")
    if key == "data":
        return FieldProblem(field="body", message="must be a JSON object")
    expectation = _PATTERN.sub("it has not the form that the documentation shows", message)
    return FieldProblem(field=key, message=f"is not usable: {expectation[:1].lower()}{expectation[1:]}")
