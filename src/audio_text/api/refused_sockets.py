"""Sockets that are refused before they open: their clients are told why, as those of requests are."""

from typing import Any, cast

from litestar import Request
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from audio_text.api import problems

_REASON = "socket_refusal"
_EXTENSION = "websocket.http.response"
"""ASGI's way to answer the opening of a socket like any request. Without it, a server says 403 and no more."""


async def remember_refusal(error: Exception, scope: Scope) -> None:
    """Keep what was raised while a socket was opened, for the answer."""
    if scope["type"] == "websocket":
        scope["state"][_REASON] = error


class RefusedSockets:
    """ASGI application around another one."""

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
