"""`stream=true`: the transcript as server-sent events, each piece as soon as it is decoded."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, cast

import msgspec
from litestar import Request, Response
from litestar.response.base import ASGIResponse
from litestar.types import Receive, Scope, Send

from audio_text.api.openai.presence import while_connected
from audio_text.api.openai.refusals import told, told_of
from audio_text.api.openai.replies import TextDelta, TextDone
from audio_text.domain.job import Job, JobStatus
from audio_text.errors import ClientGoneError
from audio_text.services.waiting import WaitingService

PING = b": ping\n\n"
"""A comment: clients skip it, and a proxy sees that the connection lives."""

HEADERS = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",  # nginx would collect pieces
}


class Deltas(Response[Any]):
    """Follows a job while it is sent; when the client goes, it stops waiting for the job."""

    def __init__(
        self, request: Request[Any, Any, Any], job: Job, waiting: WaitingService, *, send_timeout_seconds: float
    ) -> None:
        super().__init__(None)
        self._request = request
        self._job = job
        self._waiting = waiting
        self._send_timeout_seconds = send_timeout_seconds

    def to_asgi_response(self, *_: object, **__: object) -> ASGIResponse:
        """Give what litestar calls with scope, receive and send."""
        return cast("ASGIResponse", self._serve)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 -- ASGI's signature
        headers = [(name.encode(), value.encode()) for name, value in {**HEADERS, **self.headers}.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        try:
            await while_connected(receive, self._send_all(send))
        except (ClientGoneError, TimeoutError):
            return

    async def _send_all(self, send: Send) -> None:
        async with aclosing(self._events()) as events:
            async for event in events:
                async with asyncio.timeout(self._send_timeout_seconds):
                    await send({"type": "http.response.body", "body": event, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _events(self) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(events_of(self._waiting, self._job)) as events:
                async for event in events:
                    yield event
        except Exception as error:  # noqa: BLE001 -- the answer has begun: what is wrong can only be told in it
            yield _event(told(self._request, error).answer)


async def events_of(waiting: WaitingService, job: Job) -> AsyncGenerator[bytes, None]:
    """Follow the job in OpenAI's events: the pieces together are exactly the text of the last event."""
    text = _Text()
    async with aclosing(waiting.follow(job.id)) as updates:
        async for told_now in updates:
            if told_now is None:
                yield PING
                continue
            for segment in told_now.update.segments:
                if piece := text.add(segment.text):
                    yield _event(TextDelta(delta=piece))
            if told_now.update.status is JobStatus.completed:
                yield _event(TextDone(text=text.so_far))
            elif told_now.update.status.is_terminal:
                yield _event(told_of(told_now.job or job).answer)


class _Text:
    """The text so far: white space at its beginning and its end is no part of it."""

    def __init__(self) -> None:
        self.so_far: str = ""
        self._space: str = ""

    def add(self, text: str) -> str:
        """Add a segment's text; what there is to send for it, maybe nothing."""
        text = self._space + text if self.so_far else text.lstrip()
        piece = text.rstrip()
        self._space = text[len(piece) :]
        self.so_far += piece
        return piece


def _event(data: msgspec.Struct) -> bytes:
    return b"data: " + msgspec.json.encode(data) + b"\n\n"
