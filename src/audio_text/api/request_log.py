"""Around every request: its id, its line in the log, and a limit on how long its body may stand still."""

import asyncio
import logging
import re
import time
from contextlib import suppress
from http import HTTPStatus
from typing import Any, cast
from uuid import uuid4

import structlog
from litestar.exceptions import HTTPException
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from audio_text.api.client_address import client_address

HEADER = "X-Request-ID"
BODY_STALL_SECONDS = 60.0
"""Longest wait for the next piece of a request body: the slowest uplink delivers something within it."""

SLOWEST_BYTES_PER_SECOND = 500
"""What a body has to bring on average, once the longest wait is over: any line carries more, and who only wants to
occupy the connection sends less."""

LINGER_SECONDS = 5.0
"""How long the rest of a refused body is read and thrown away, so that the client gets to see the refusal."""

_HEADER = HEADER.lower().encode()
_VALID = re.compile(rb"[A-Za-z0-9_.:/+=@-]{1,128}")
PROBES = frozenset({"/", "/api/v1", "/health/live", "/health/ready"})
"""Asked for every few seconds by whatever watches over the process: not worth a line each."""

log = structlog.get_logger(__name__)


def request_id_of(scope: Any) -> str:  # noqa: ANN401 -- litestar's scopes are a union of TypedDicts
    """Give the id of the request that a scope belongs to; empty outside of one."""
    return scope.get("state", {}).get("request_id", "")


class _Body:
    """A request's body as it arrives."""

    def __init__(self, receive: Receive, stall_seconds: float) -> None:
        self._receive = receive
        self._stall_seconds = stall_seconds
        self._waited_seconds = 0.0
        self._size = 0
        self._is_complete = False

    async def receive(self) -> Any:  # noqa: ANN401 -- ASGI's messages are a union of TypedDicts
        """Give up on a body that stops arriving, be it by silence or by the client's end."""
        if self._is_complete:
            return await self._receive()
        began_at = time.perf_counter()
        try:
            async with asyncio.timeout(self._stall_seconds):
                message: Any = await self._receive()
        except TimeoutError:
            message = None
        self._waited_seconds += time.perf_counter() - began_at
        if message is None or message["type"] == "http.disconnect" or self._drips(message):
            self._is_complete = True
            raise HTTPException(status_code=HTTPStatus.REQUEST_TIMEOUT)
        self._is_complete = not message.get("more_body", False)
        return message

    def _drips(self, message: Any) -> bool:  # noqa: ANN401 -- ASGI's messages are a union of TypedDicts
        """Whether it arrives in time, and yet never would: only what was waited for counts, not what we took."""
        self._size += len(message.get("body", b""))
        enough = self._waited_seconds * SLOWEST_BYTES_PER_SECOND
        return message.get("more_body", False) and self._waited_seconds > self._stall_seconds and self._size < enough

    async def discard_rest(self) -> None:
        """Read on for a while: a connection closed upon unread data is reset, and takes the answer with it."""
        with suppress(TimeoutError, HTTPException):
            async with asyncio.timeout(LINGER_SECONDS):
                while not self._is_complete:
                    await self.receive()


class RequestLog:
    """ASGI application around another one."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        trusted_proxies: tuple[str, ...] = (),
        body_stall_seconds: float = BODY_STALL_SECONDS,
    ) -> None:
        self._app = app
        self._trusted_proxies = trusted_proxies
        self._body_stall_seconds = body_stall_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        request_id = _asked_id(scope) or uuid4().hex
        scope["state"]["request_id"] = request_id
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            if scope["type"] == "http":
                await self._serve(scope, _Body(receive, self._body_stall_seconds), send)
            else:
                await self._follow(scope, receive, send)

    async def _follow(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a socket; its line in the log is its own. The server drops headers of those that are accepted."""

        async def send_with_id(message: Any) -> None:  # noqa: ANN401 -- ASGI's messages are a union of TypedDicts
            if message["type"] == "websocket.http.response.start":
                message["headers"] = [*message["headers"], (_HEADER, request_id_of(scope).encode())]
            await send(message)

        with structlog.contextvars.bound_contextvars(address=client_address(scope, self._trusted_proxies)):
            await self._app(scope, receive, send_with_id)

    async def _serve(self, scope: Scope, body: _Body, send: Send) -> None:
        started_at = time.perf_counter()
        status = 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (_HEADER, request_id_of(scope).encode())]
            await send(message)

        try:
            await self._app(scope, body.receive, send_with_id)
        finally:
            log.log(
                logging.DEBUG if scope["path"] in PROBES else logging.INFO,
                "request",
                method=cast("HTTPScope", scope)["method"],
                path=scope["path"],
                address=client_address(scope, self._trusted_proxies),
                status=status,
                duration_ms=round((time.perf_counter() - started_at) * 1_000, 1),
            )
        if status >= HTTPStatus.BAD_REQUEST:
            await body.discard_rest()


def _asked_id(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == _HEADER and _VALID.fullmatch(value):
            return value.decode()
    return ""
