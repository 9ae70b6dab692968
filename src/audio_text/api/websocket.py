"""The live socket of a job: what `LiveService` tells, in the words of `messages`, until one side has enough."""

import asyncio
import re
import time
from contextlib import aclosing, suppress
from enum import Enum
from typing import Annotated, Any
from uuid import uuid4

import msgspec
import structlog
from litestar import WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.params import QueryParameter

from audio_text.api.dependencies import GivenServices, GivenSettings
from audio_text.api.dto import checked_job_id
from audio_text.api.jobs import JobId
from audio_text.api.messages import Connected, ErrorMessage, JobUpdateMessage, Message, Ping, Pong
from audio_text.errors import AudioTextError, JobNotFoundError, TransientError
from audio_text.services.live import LiveService
from audio_text.settings import EventSettings

LARGEST_FRAME = 4_096
"""Characters; clients have nothing to say that is longer than a pong."""

FRAMES_PER_WINDOW = 100
WINDOW_SECONDS = 10.0
"""A client that sends more than ten frames a second does not follow a job."""

CLOSE_SECONDS = 1.0
"""How long a farewell may take before the connection is dropped without it."""

_EVENT_ID = re.compile(r"\d{1,18}-\d{1,18}", re.ASCII)

log = structlog.get_logger(__name__)


class Close(Enum):
    """Why a connection ends; clients come back after anything but `over`."""

    over = 1000, "The job is over."
    gone = None, "The client left."
    chatty = 1008, "Too many messages."
    oversize = 1009, "A message is too long."
    broken = 1011, "Something went wrong inside the service."
    unavailable = 1013, "Try again in a few seconds."
    unknown_job = 4404, "There is no job with this id."
    slow = 4408, "The client does not take what it is sent."


@websocket("/job/ws/{job_id:str}")
async def follow_job(
    *,
    socket: WebSocket[Any, Any, Any],
    job_id: JobId,
    services: GivenServices,
    settings: GivenSettings,
    last_event_id: Annotated[str | None, QueryParameter(description="The last `event_id` that was seen.")] = None,
) -> None:
    """Tell the state of a job now, and everything that happens to it from then on."""
    await socket.accept()
    after = last_event_id if last_event_id and _EVENT_ID.fullmatch(last_event_id) else None
    await _Connection(socket, job_id, live=services.live, settings=settings.events).run(after)


class _Connection:
    """One client on one job."""

    def __init__(
        self, socket: WebSocket[Any, Any, Any], job_id: str, *, live: LiveService, settings: EventSettings
    ) -> None:
        self._id = uuid4().hex
        self._socket = socket
        self._job_id = job_id
        self._live = live
        self._settings = settings
        self._sending = asyncio.Lock()

    async def run(self, after: str | None) -> None:
        """Serve the connection to its end; whatever belongs to it ends with it."""
        opened_at = time.perf_counter()
        reason = Close.broken
        try:
            reason = await self._first_end(after)
        except* WebSocketDisconnect:
            reason = Close.gone
        except* Exception:
            log.exception("socket_failed", job_id=self._job_id, connection_id=self._id)
        finally:
            log.info(
                "socket_closed",
                job_id=self._job_id,
                connection_id=self._id,
                reason=reason.name,
                duration_seconds=round(time.perf_counter() - opened_at, 3),
            )
        await self._close(reason)

    async def _first_end(self, after: str | None) -> Close:
        async with asyncio.TaskGroup() as group:
            halves = {group.create_task(self._tell(after)), group.create_task(self._listen())}
            ended, others = await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
            for half in others:
                half.cancel()
        return ended.pop().result()

    async def _tell(self, after: str | None) -> Close:
        try:
            await self._send(Connected(job_id=self._job_id, connection_id=self._id, message="Connected."))
            async with aclosing(
                self._live.follow(checked_job_id(self._job_id), after=after, idle_seconds=self._settings.ping_seconds)
            ) as updates:
                async for update in updates:
                    await self._send(JobUpdateMessage.of(update) if update else Ping(connection_id=self._id))
        except AudioTextError as error:
            return await self._apologize(error)
        except TimeoutError:
            return Close.slow
        return Close.over

    async def _apologize(self, error: AudioTextError) -> Close:
        message = ErrorMessage(job_id=self._job_id, message=error.detail, error=error.code)
        match error:
            case JobNotFoundError():
                reason = Close.unknown_job
            case TransientError():
                reason = Close.unavailable
            case _:
                raise error
        with suppress(TimeoutError):
            await self._send(message)
        return reason

    async def _listen(self) -> Close:
        window_ends_at, frames = 0.0, 0
        while True:
            event = await self._socket.receive()
            if event["type"] == "websocket.disconnect":
                return Close.gone
            frame = event.get("text") or event.get("bytes") or ""
            if len(frame) > LARGEST_FRAME:
                return Close.oversize
            now = time.monotonic()
            if now > window_ends_at:
                window_ends_at, frames = now + WINDOW_SECONDS, 0
            frames += 1
            if frames > FRAMES_PER_WINDOW:
                return Close.chatty
            if _is_ping(frame):
                try:
                    await self._send(Pong(connection_id=self._id))
                except TimeoutError:
                    return Close.slow

    async def _send(self, message: Message) -> None:
        """Raises TimeoutError when the client takes nothing for too long."""
        text = msgspec.json.encode(message)
        async with asyncio.timeout(self._settings.send_timeout_seconds), self._sending:
            await self._socket.send_data(text)

    async def _close(self, reason: Close) -> None:
        code, sentence = reason.value
        if code is not None:
            with suppress(WebSocketDisconnect, TimeoutError):
                async with asyncio.timeout(CLOSE_SECONDS):
                    await self._socket.close(code, sentence)


def _is_ping(frame: str | bytes) -> bool:
    if frame in {"ping", b"ping"}:
        return True
    try:
        return msgspec.json.decode(frame, type=_ClientMessage).type == "ping"
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


class _ClientMessage(msgspec.Struct):
    """What a client may say in JSON; `pong` needs no answer, and other types are none of ours."""

    type: str = ""
