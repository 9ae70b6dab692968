"""Sockets that are refused before they begin: their clients are told why, as those of requests are, or in a message."""

from typing import Any, cast

import msgspec
from litestar import Request
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from audio_text.api import problems
from audio_text.api.authentication import SUBPROTOCOL, protocols_of, refusal_of
from audio_text.api.messages import ErrorMessage
from audio_text.errors import AudioTextError, TransientError

UNAVAILABLE = 1013
"""How sockets are closed of which nobody can tell just now whether they may be."""

LONGEST_REASON = 120
"""Bytes in a close frame, of which 123 fit (RFC 6455, 5.5)."""

_REASON = "socket_refusal"
_EXTENSION = "websocket.http.response"
"""ASGI's way to answer the opening of a socket like any request. Without it, a server says 403 and no more."""


async def remember_refusal(error: Exception, scope: Scope) -> None:
    """Keep what was raised while a socket was opened, for the answer."""
    if scope["type"] == "websocket":
        scope["state"][_REASON] = error


class RefusedSockets:
    """ASGI application around another one: errors before a socket opens are told in the answer to its opening."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        if scope["type"] != "websocket" or _EXTENSION not in (scope.get("extensions") or {}):
            await self._app(scope, receive, send)
            return
        is_open = False

        async def send_or_refuse(message: Message) -> None:
            nonlocal is_open
            is_open = is_open or message["type"] == "websocket.accept"
            if not is_open and message["type"] == "websocket.close" and (error := scope["state"].get(_REASON)):
                await refuse(scope, send, error)
            else:
                await send(message)

        await self._app(scope, receive, send_or_refuse)


async def refuse(scope: Scope, send: Send, error: Exception) -> None:
    """Answer a socket that is not open yet."""
    request: Request[Any, Any, Any] = Request(cast("Any", {**scope, "type": "http", "method": "GET"}))
    answer = problems.render(request, error)
    headers = {"content-type": problems.MEDIA_TYPE, "content-length": str(len(answer.content))} | dict(answer.headers)
    pairs = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    start = {"type": f"{_EXTENSION}.start", "status": answer.status_code, "headers": pairs}
    body = {"type": f"{_EXTENSION}.body", "body": answer.content, "more_body": False}
    for piece in (start, body):
        await send(cast("Message", piece))


class Handshake:
    """ASGI application around another one: how sockets are begun, and refused.

    A browser does not show a page the answer to a handshake. A socket that may not be is therefore accepted, told why,
    and closed with 4000 and HTTP's status: 4400, 4401, 4403, 4404, 4429; with 1013 where it may be tried again.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        accepting: dict[str, Any] = {"type": "websocket.accept", "headers": []}
        accepting["subprotocol"] = SUBPROTOCOL if SUBPROTOCOL in protocols_of(scope) else None

        async def send_begun(message: Any) -> None:  # noqa: ANN401 -- ASGI's messages are a union of TypedDicts
            refusal = refusal_of(scope)
            if message["type"] == "websocket.accept":
                message |= {"subprotocol": accepting["subprotocol"]}
            elif message["type"] == "websocket.close" and refusal is not None:
                await receive()  # the wish to connect, which comes first
                await send(cast("Any", accepting))
                told = ErrorMessage(message=refusal.detail, error=refusal.code)
                await send({"type": "websocket.send", "bytes": None, "text": msgspec.json.encode(told).decode()})
                message = _farewell(refusal)
            await send(message)

        await self._app(scope, receive, send_begun)


def _farewell(refusal: AudioTextError) -> dict[str, Any]:
    code = UNAVAILABLE if isinstance(refusal, TransientError) else 4_000 + int(refusal.http_status)
    reason = refusal.detail.encode()[:LONGEST_REASON].decode(errors="ignore")
    return {"type": "websocket.close", "code": code, "reason": reason}
