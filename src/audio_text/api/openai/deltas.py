"""`stream=true`: the transcript as server-sent events, each piece as soon as it is decoded."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from litestar import Request

from audio_text.api.openai.refusals import told, told_of
from audio_text.api.openai.replies import TextDelta, TextDone
from audio_text.api.sse import PING, EventSource, event
from audio_text.api.streamed import Outlet
from audio_text.domain.job import Job, JobStatus
from audio_text.domain.speakers import Turns, speakers_of
from audio_text.services.waiting import WaitingService


class Deltas(EventSource):
    """Follows a job while it is sent; when the client goes, it stops waiting for the job."""

    def __init__(
        self, request: Request[Any, Any, Any], job: Job, waiting: WaitingService, *, send_timeout_seconds: float
    ) -> None:
        super().__init__(self._tell_pieces, send_timeout_seconds=send_timeout_seconds)
        self._request = request
        self._job = job
        self._waiting = waiting

    async def _tell_pieces(self, outlet: Outlet) -> None:
        await outlet.write(b"")  # the headers: clients wait for them with less patience than for the text
        async with aclosing(self._pieces()) as pieces:
            async for piece in pieces:
                await outlet.write(piece)

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(events_of(self._waiting, self._job)) as events:
                async for piece in events:
                    yield piece
        except Exception as error:  # noqa: BLE001 -- the answer has begun: what is wrong can only be told in it
            yield event(told(self._request, error).answer)


async def events_of(waiting: WaitingService, job: Job) -> AsyncGenerator[bytes, None]:
    """Follow the job in OpenAI's events: the pieces together are exactly the text of the last event."""
    text, turns = _Text(), Turns(speakers_of(job.options))
    async with aclosing(waiting.follow(job.id)) as updates:
        async for told_now in updates:
            if told_now is None:
                yield PING
                continue
            for said in turns.pieces(told_now.update.segments):
                if piece := text.add(said):
                    yield event(TextDelta(delta=piece))
            if told_now.update.status is JobStatus.completed:
                yield event(TextDone(text=text.so_far))
            elif told_now.update.status.is_terminal:
                yield event(told_of(told_now.job or job).answer)


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
