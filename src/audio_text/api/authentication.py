"""Who calls, and may they: the guards before every route and socket."""

import base64
import binascii
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast
from urllib.parse import parse_qsl

import structlog
from litestar import Request, WebSocket
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Scope as AsgiScope

from audio_text.api.access import ALSO_OPTION, OPTION, TICKET_OPTION, Access
from audio_text.api.client_address import address_of
from audio_text.api.ids import checked_id
from audio_text.bootstrap import ApiServices
from audio_text.domain.access import ANYBODY, Caller, Credential, Scope
from audio_text.domain.key_secrets import digest_of, is_secret
from audio_text.errors import (
    AudioTextError,
    JobNotFoundError,
    KeyInUrlError,
    MissingAdminScopeError,
    MissingReadScopeError,
    MissingScopeError,
    MissingSubmitScopeError,
    UnauthorizedError,
)
from audio_text.services.limiting import LimitingService
from audio_text.settings import Settings

SUBPROTOCOL = "audio-text"
"""What a socket speaks; browsers that send a key beside it (`bearer.` and its base64url) want an answer."""

BEARER = "bearer."
TICKET = "ticket"

MISSING: dict[Access, type[MissingScopeError]] = {
    Access.submit: MissingSubmitScopeError,
    Access.read: MissingReadScopeError,
    Access.admin: MissingAdminScopeError,
}
"""What is raised for a key that lacks what is needed."""

_KEY_NAMES = frozenset({"api_key", "api-key", "apikey", "access_token", "authorization", "bearer", "token"})
_CALLER, _DIGEST, _REFUSAL = "caller", "digest", "refusal"

log = structlog.get_logger(__name__)

Connection = ASGIConnection[Any, Any, Any, Any]


async def authenticated(connection: Connection, handler: BaseRouteHandler) -> None:
    """Find out who calls, and note it.

    Raises UnauthorizedError, KeyInUrlError, RateLimitedError where too many keys were refused, TransientError. What
    carries no decision is an error of this service, whoever asks.
    """
    if (access := _asked_of(connection, handler)) is not None:
        with _refusals_noted(connection):
            _state(connection.scope)[_CALLER] = await _caller(connection, handler, access)


async def authorized(connection: Connection, handler: BaseRouteHandler) -> None:
    """Let a caller pass who may call this; comes after requests are counted, for it may cost a statement.

    Raises MissingScopeError, JobNotFoundError for a job of somebody else, and TransientError.
    """
    access, caller = _asked_of(connection, handler), caller_of(connection.scope)
    if access is None or caller is None:
        return
    with _refusals_noted(connection):
        for needed in (access, Access(handler.opt.get(ALSO_OPTION, access))):
            if Scope(needed.value) not in caller.scopes:
                raise MISSING[needed]
        if access is not Access.admin and not caller.sees_all and "job_id" in connection.path_params:
            job_id = checked_id(connection.path_params["job_id"], JobNotFoundError)
            await _services(connection).ownership.require_job(job_id, caller)


def caller_of(scope: AsgiScope) -> Caller | None:
    """Tell who was found to call; None: nobody was asked for, or nobody is known."""
    return _state(scope).get(_CALLER)


def refusal_of(scope: AsgiScope) -> AudioTextError | None:
    """Tell why the guards refused whoever calls; None: they did not."""
    return _state(scope).get(_REFUSAL)


def credential_of(scope: AsgiScope) -> Credential | None:
    """Tell what the caller showed; None: nothing, or what ends with this process alone, as the operator's token."""
    caller = caller_of(scope)
    if caller is None or caller.key_id is None:
        return None
    return Credential(key_id=caller.key_id, digest=_state(scope).get(_DIGEST))


def _asked_of(connection: Connection, handler: BaseRouteHandler) -> Access | None:
    """Tell what a caller needs here; None: nobody is asked for."""
    if isinstance(connection, Request) and connection.method == "OPTIONS":  # answered from the table of routes alone
        return None
    access = Access(handler.opt.get(OPTION))
    return None if access in {Access.public, Access.signed} else access


@contextmanager
def _refusals_noted(connection: Connection) -> Generator[None]:
    try:
        yield
    except AudioTextError as error:
        _state(connection.scope)[_REFUSAL] = error
        log.info("access_refused", code=error.code, path=connection.scope["path"])
        raise


async def _caller(connection: Connection, handler: BaseRouteHandler, access: Access) -> Caller:
    settings, keys = cast("Settings", connection.app.state.settings), _services(connection).access
    if settings.access.open and access is not Access.admin:
        return ANYBODY
    query = parse_qsl(connection.scope["query_string"].decode("latin-1"))
    if any(name.lower() in _KEY_NAMES or is_secret(value) for name, value in query):
        raise KeyInUrlError
    secret = _bearer(connection.headers.getall("authorization", [])) or _offered_key(connection)
    tickets = [value for name, value in query if name == TICKET]
    limiting, address = _services(connection).limiting, address_of(connection)
    if secret is None and tickets and (isinstance(connection, WebSocket) or handler.opt.get(TICKET_OPTION)):
        async with _refusals_counted(limiting, address):
            try:
                return await keys.redeem(tickets[0])
            except UnauthorizedError:
                # Not before: whether it is a good one costs no more to find out, and those have nothing to wait for.
                await limiting.require_trusted(address)
                raise
    if secret is None:
        raise UnauthorizedError
    if not keys.remembers(secret):
        await limiting.require_trusted(address)
    async with _refusals_counted(limiting, address):
        caller = await keys.caller(secret)
    _state(connection.scope)[_DIGEST] = digest_of(secret)
    return caller


@asynccontextmanager
async def _refusals_counted(limiting: LimitingService, address: str) -> AsyncGenerator[None]:
    try:
        yield
    except UnauthorizedError:
        await limiting.count_refused(address)
        raise


def _bearer(headers: list[str]) -> str | None:
    """Read what was sent as `Authorization: Bearer KEY` (RFC 6750): once, or not at all."""
    if len(headers) != 1:
        return None
    scheme, _, given = headers[0].partition(" ")
    return (given.strip() or None) if scheme.lower() == "bearer" else None


def _offered_key(connection: Connection) -> str | None:
    """Read the key that a browser sends as a subprotocol, for it can set no other header of a socket."""
    if not isinstance(connection, WebSocket):
        return None
    for protocol in protocols_of(connection.scope):
        if protocol.startswith(BEARER):
            text = protocol.removeprefix(BEARER)
            try:
                return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("latin-1")
            except (ValueError, binascii.Error) as error:
                raise UnauthorizedError from error
    return None


def protocols_of(scope: AsgiScope) -> list[str]:
    """List the subprotocols that a socket offers."""
    sent = [value.decode("latin-1") for name, value in scope["headers"] if name == b"sec-websocket-protocol"]
    return [protocol.strip() for text in sent for protocol in text.split(",")]


def _services(connection: Connection) -> ApiServices:
    return cast("ApiServices", connection.app.state.services)


def _state(scope: AsgiScope) -> dict[str, Any]:
    return scope["state"]
