"""Server-sent events: how one is written, and the answer that they travel in."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, cast

import msgspec
import structlog
from litestar import Response
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from audio_text.api.presence import while_connected
from audio_text.errors import ClientGoneError

MEDIA_TYPE = "text/event-stream"

HEADERS = {
    "content-type": f"{MEDIA_TYPE}; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx would collect pieces
}

PING = b": ping\n\n"
"""A comment: clients skip it, and a proxy sees that the connection lives."""

log = structlog.get_logger(__name__)


def event(data: msgspec.Struct, *, event_id: str | None = None) -> bytes:
    """Write an event; `event_id` is what a client that comes back sends as Last-Event-ID."""
    name = b"" if event_id is None else b"id: %s\n" % event_id.encode()
    return b"%sdata: %s\n\n" % (name, msgspec.json.encode(data))


def retry(seconds: float) -> bytes:
    """Tell the client how long to wait before it comes back."""
    return b"retry: %d\n\n" % round(seconds * 1_000)


def described_stream(*messages: str, example: dict[str, str]) -> dict[str, Any]:
    """Describe a stream for OpenAPI 3.1, where the schema is that of one event; `messages` are names of schemas."""
    data = {
        "type": "string",
        "description": f"JSON: {' or '.join(messages)}.",
        "contentMediaType": "application/json",
        "contentSchema": {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in messages]},
    }
    event_id = {"type": "string", "description": "What a client that comes back sends as Last-Event-ID."}
    schema = {
        "type": "object",
        "description": "One of the events; comments come in between.",
        "properties": {"data": data} | ({"id": event_id} if "id" in example else {}),
        "required": ["data"],
    }
    return {MEDIA_TYPE: {"schema": schema, "examples": {"event": {"value": example}}}}


class Outlet:
    """Where the pieces of an answer go; the first one begins it, with status and headers."""

    def __init__(self, send: Send, headers: dict[str, str], *, prelude: bytes, timeout_seconds: float) -> None:
        self.has_begun = False
        self._send = send
        self._prelude = prelude
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        self._timeout_seconds = timeout_seconds

    async def write(self, piece: bytes) -> None:
        """Send a piece. Raises TimeoutError when the client takes nothing for too long."""
        async with asyncio.timeout(self._timeout_seconds):
            if not self.has_begun:
                await self._begin(200)
                piece = self._prelude + piece
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self) -> None:
        """Say that there is nothing more; that there never was anything: 204, upon which clients stay away."""
        if not self.has_begun:
            await self._begin(204)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _begin(self, status: int) -> None:
        self.has_begun = True
        await self._send({"type": "http.response.start", "status": status, "headers": self._headers})


class EventSource(Response[Any]):
    """An answer that `tell` writes to its outlet, piece by piece, as long as the client is there and takes them.

    What `tell` raises before the first piece is answered like any other error, and breaks the answer off later.
    The `prelude` is sent with the first piece.
    """

    def __init__(
        self, tell: Callable[[Outlet], Coroutine[Any, Any, None]], *, send_timeout_seconds: float, prelude: bytes = b""
    ) -> None:
        super().__init__(None)
        self._tell = tell
        self._prelude = prelude
        self._send_timeout_seconds = send_timeout_seconds

    def to_asgi_response(self, *_: object, **__: object) -> ASGIResponse:
        """Give what litestar calls with scope, receive and send."""
        return cast("ASGIResponse", self._serve)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {**HEADERS, **self.headers}
        outlet = Outlet(send, headers, prelude=self._prelude, timeout_seconds=self._send_timeout_seconds)
        try:
            await while_connected(receive, self._tell(outlet))
            await outlet.end()
        except (ClientGoneError, TimeoutError) as error:
            log.info("stream_dropped", path=scope["path"], reason=type(error).__name__)
        except Exception:
            if not outlet.has_begun:
                raise
            log.exception("stream_failed", path=scope["path"])
