"""Answers that are sent piece by piece, for as long as there is a client that takes them."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, cast

import structlog
from litestar import Request, Response
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from audio_text.api.connections import while_key_holds
from audio_text.api.presence import while_connected
from audio_text.errors import AudioTextError, ClientGoneError
from audio_text.settings import Settings

PIECE_BYTES = 16_384
"""What the reader of a download takes within the time that there is for a piece: 1.6 KB/s, with ten seconds."""

log = structlog.get_logger(__name__)


class Outlet:
    """Where the pieces of an answer go; the first one begins it, with status and headers."""

    def __init__(self, send: Send, headers: dict[str, str], *, prelude: bytes, timeout_seconds: float) -> None:
        self.has_begun = False
        self._send = send
        self._prelude = prelude
        self._headers = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
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


class Streamed(Response[Any]):
    """An answer that `tell` writes to its outlet, piece by piece, as long as the client is there and takes them.

    What `tell` raises before the first piece is answered like any other error, and breaks the answer off later.
    The `prelude` is sent with the first piece.
    """

    def __init__(
        self,
        tell: Callable[[Outlet], Coroutine[Any, Any, None]],
        *,
        headers: dict[str, str],
        send_timeout_seconds: float,
        prelude: bytes = b"",
    ) -> None:
        super().__init__(None, headers=headers)
        self._tell = tell
        self._prelude = prelude
        self._send_timeout_seconds = send_timeout_seconds

    def to_asgi_response(self, *_: object, **__: object) -> ASGIResponse:
        """Give what litestar calls with scope, receive and send."""
        return cast("ASGIResponse", self._serve)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        outlet = Outlet(send, self.headers, prelude=self._prelude, timeout_seconds=self._send_timeout_seconds)
        try:
            await while_connected(receive, self._tell(outlet))
            await outlet.end()
        except (ClientGoneError, TimeoutError) as error:
            log.info("stream_dropped", path=scope["path"], reason=type(error).__name__)
        except AudioTextError as error:
            if not outlet.has_begun:
                raise
            log.warning("stream_broken_off", path=scope["path"], code=error.code, reason=error.detail)
        except Exception:
            if not outlet.has_begun:
                raise
            log.exception("stream_failed", path=scope["path"])


class Download(Streamed):
    """A document in parts, each of which is made when the reader has taken the one before it."""

    def __init__(
        self,
        request: Request[Any, Any, Any],
        parts: AsyncGenerator[str] | AsyncGenerator[bytes],
        *,
        headers: dict[str, str],
    ) -> None:
        events = cast("Settings", request.app.state.settings).events
        super().__init__(self._tell_parts, headers=headers, send_timeout_seconds=events.send_timeout_seconds)
        self._scope = request.scope
        self._parts = parts

    async def _tell_parts(self, outlet: Outlet) -> None:
        await while_key_holds(self._scope, self._write(outlet))

    async def _write(self, outlet: Outlet) -> None:
        async with aclosing(self._parts) as parts:
            async for part in parts:
                data = part.encode() if isinstance(part, str) else part
                # An empty part begins the answer as well: one that has not begun in the end is 204.
                for first in range(0, max(len(data), 1), PIECE_BYTES):
                    await outlet.write(data[first : first + PIECE_BYTES])
