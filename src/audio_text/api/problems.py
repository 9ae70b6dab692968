"""Every error that leaves the API, in one shape: application/problem+json (RFC 9457)."""

import math
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
from litestar.openapi.spec import Example

from audio_text.api.dto import FieldProblem, Problem
from audio_text.api.request_log import request_id_of
from audio_text.errors import AudioTextError, BatchRefusedError, TransientError, WaitTooLongError

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


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of an exception, whatever the shape of the answer."""

    status: int
    code: str
    detail: str
    headers: dict[str, str] = {}
    errors: tuple[FieldProblem, ...] = ()


def judged(request: Request[Any, Any, Any], error: Exception) -> Verdict:
    """Judge any exception; what is not foreseen is logged in full and told without internals."""
    match error:
        case BatchRefusedError(http_status=status, code=code, detail=detail, refusals=refusals):
            errors = tuple(
                FieldProblem(field=f"jobs[{place}]", message=f"{refusal.code}: {refusal.detail}")
                for place, refusal in refusals.items()
            )
            return Verdict(status=status, code=code, detail=detail, errors=errors)
        case AudioTextError(http_status=status, code=code, detail=detail) if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            # RFC 9110, 15.5.2: a 401 says how to do better.
            headers = {"WWW-Authenticate": "Bearer"} if status == HTTPStatus.UNAUTHORIZED else _retry_after(error)
            return Verdict(status=status, code=code, detail=detail, headers=headers)
        case WaitTooLongError(http_status=status, code=code, detail=detail):
            return Verdict(status=status, code=code, detail=detail)
        case TransientError(http_status=status, code=code, detail=detail):
            log.warning("request_refused", code=code, reason=detail, cause=repr(error.__cause__))
            headers = _retry_after(error) or {"Retry-After": str(RETRY_AFTER_SECONDS)}
            return Verdict(status=status, code=code, detail=detail, headers=headers)
        case HTTPException(status_code=status) if status < HTTPStatus.INTERNAL_SERVER_ERROR:
            errors = _field_problems(error)
            detail = _sentence(request, error, errors)
            return Verdict(
                status=status, code=_code(status), detail=detail, headers=dict(error.headers or {}), errors=errors
            )
        case _:
            log.error("request_failed", exc_info=error)
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            return Verdict(status=status, code=AudioTextError.code, detail=_INTERNAL)


def render(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer any exception."""
    verdict = judged(request, error)
    problem = _problem(verdict, instance=quote(request.scope["path"]), request_id=request_id_of(request.scope))
    return Response(
        msgspec.json.encode(problem), status_code=verdict.status, media_type=MEDIA_TYPE, headers=verdict.headers
    )


def documented(*kinds: type[AudioTextError]) -> dict[int, ResponseSpec]:
    """Say in the OpenAPI document which errors a route answers, with an example of each."""
    told: dict[int, list[type[AudioTextError]]] = {}
    for kind in kinds:
        told.setdefault(kind.http_status, []).append(kind)
    return {
        status: ResponseSpec(
            Problem,
            description="\n\n".join(f"`{kind.code}`: {kind().detail}" for kind in same),
            media_type=MEDIA_TYPE,
            examples=[Example(id=kind.code, summary=kind().detail, value=_example(kind)) for kind in same],
        )
        for status, same in sorted(told.items())
    }


def refusals_of(*kinds: type[AudioTextError]) -> dict[str, Any]:
    """Describe the same as OpenAPI has it, for operations that are described already; the statuses differ."""
    return {
        str(int(kind.http_status)): {
            "description": f"`{kind.code}`: {kind().detail}",
            "content": {
                MEDIA_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "examples": {kind.code: {"summary": kind().detail, "value": _example(kind)}},
                }
            },
        }
        for kind in kinds
    }


def add_refusals(responses: dict[str, Any], told: dict[str, Any]) -> None:
    """Describe errors beside what an operation answers already, also under the same status."""
    for status, answer in told.items():
        known = responses.setdefault(status, answer)
        for media_type, content in answer["content"].items():
            examples = known["content"][media_type]["examples"]
            if content["examples"].keys() - examples.keys():
                known["description"] += f"\n\n{answer['description']}"
                examples |= content["examples"]


def documented_header(name: str, description: str) -> ResponseHeader:
    """Say in the OpenAPI document that a response has this header; the route itself sets it."""
    return ResponseHeader(name=name, value="", description=description, documentation_only=True)


def _problem(verdict: Verdict, *, instance: str, request_id: str) -> Problem:
    return Problem(
        type=f"urn:audio-text:problem:{verdict.code}",
        title=verdict.code.replace("_", " ").capitalize(),
        status=verdict.status,
        detail=verdict.detail,
        code=verdict.code,
        instance=instance,
        request_id=request_id,
        errors=verdict.errors,
    )


def _example(kind: type[AudioTextError]) -> object:
    verdict = Verdict(status=int(kind.http_status), code=kind.code, detail=kind().detail)
    return msgspec.to_builtins(_problem(verdict, instance="/api/v1/job/transcribe", request_id="b1946ac9"))


def _retry_after(error: AudioTextError) -> dict[str, str]:
    seconds = error.retry_after_seconds
    return {} if seconds is None else {"Retry-After": str(max(1, math.ceil(seconds)))}


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
