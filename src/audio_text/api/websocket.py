"""Live sockets, of one job or of several: what `LiveService` tells, in the words of `messages`."""

import asyncio
import time
from abc import ABC, abstractmethod
from contextlib import aclosing, suppress
from enum import Enum
from functools import partial
from typing import Annotated, Any
from uuid import uuid4

import msgspec
import structlog
from litestar import WebSocket, websocket
from litestar.exceptions import WebSocketDisconnect
from litestar.params import QueryParameter
from msgspec import UNSET, UnsetType

from audio_text.api.access import Access
from audio_text.api.connections import while_key_holds
from audio_text.api.dependencies import GivenCaller, GivenServices, GivenSettings
from audio_text.api.events import Cursor
from audio_text.api.ids import checked_id
from audio_text.api.jobs import JobId
from audio_text.api.messages import (
    ClientMessage,
    Connected,
    ErrorMessage,
    JobUpdateMessage,
    Message,
    Ping,
    Pong,
    Subscribe,
    Unsubscribe,
    Unsubscribed,
)
from audio_text.api.request_log import request_id_of
from audio_text.errors import (
    AudioTextError,
    InvalidRequestError,
    JobNotFoundError,
    TooManyJobsError,
    TransientError,
    UnauthorizedError,
)
from audio_text.services.following import Admit, Following, Gone, following
from audio_text.services.live import LiveService
from audio_text.settings import EventSettings

LARGEST_FRAME = 4_096
"""Characters; clients have nothing to say that is longer than an id and a cursor."""

FRAMES_PER_WINDOW = 100
WINDOW_SECONDS = 10.0
"""A client that sends more than ten frames a second does not follow a job; besides, it may name each job once."""

CLOSE_SECONDS = 1.0
"""How long a farewell may take before the connection is dropped without it."""

log = structlog.get_logger(__name__)


class Close(Enum):
    """Why a connection ends; clients come back unless it is `over`, or the key or the job is at fault."""

    over = 1000, "The job is over."
    gone = None, "The client left."
    chatty = 1008, "Too many messages."
    oversize = 1009, "A message is too long."
    broken = 1011, "Something went wrong inside the service."
    unavailable = 1013, "Try again in a few seconds."
    unauthorized = 4401, "The key holds no more."
    unknown_job = 4404, "There is no job with this id."
    slow = 4408, "The client does not take what it is sent."


@websocket("/job/ws/{job_id:str}", opt={"access": Access.read})
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
    seen = Cursor.parse(last_event_id or "")
    await _JobConnection(socket, services.live, settings.events, job_id=job_id, seen=seen).run()


@websocket("/job/ws", opt={"access": Access.read})
async def follow_jobs(
    *, socket: WebSocket[Any, Any, Any], services: GivenServices, caller: GivenCaller, settings: GivenSettings
) -> None:
    """Tell the same of every job that the client subscribes to, until it leaves."""
    await socket.accept()
    admit = partial(services.ownership.require_job, caller=caller)
    await _JobsConnection(socket, services.live, settings.events, admit=admit).run()


class _Connection(ABC):
    """One client: what it is told, and what it may say."""

    def __init__(self, socket: WebSocket[Any, Any, Any], live: LiveService, settings: EventSettings) -> None:
        self._id = uuid4().hex
        self._socket = socket
        self._live = live
        self._settings = settings
        self._sending = asyncio.Lock()
        self._job_id: str | UnsetType = UNSET
        self._frames_per_window = FRAMES_PER_WINDOW

    @abstractmethod
    async def _tell(self) -> None:
        """Tell everything there is to tell. May raise AudioTextError, TimeoutError."""

    @abstractmethod
    async def _hear(self, message: ClientMessage, frame: str | bytes) -> None:
        """Do what a message other than a ping asks for. May raise TimeoutError."""

    async def run(self) -> None:
        """Serve the connection to its end; whatever belongs to it ends with it."""
        opened_at = time.perf_counter()
        reason = Close.broken
        names = {"connection_id": self._id} | ({"job_id": self._job_id} if self._job_id else {})
        try:
            reason = await self._first_end()
        except* WebSocketDisconnect:
            reason = Close.gone
        except* Exception:
            log.exception("socket_failed", **names)
        finally:
            log.info(
                "socket_closed",
                reason=reason.name,
                duration_seconds=round(time.perf_counter() - opened_at, 3),
                **names,
            )
        await self._close(reason)

    async def _first_end(self) -> Close:
        async with asyncio.TaskGroup() as group:
            halves = {group.create_task(self._talk()), group.create_task(self._listen())}
            ended, others = await asyncio.wait(halves, return_when=asyncio.FIRST_COMPLETED)
            for half in others:
                half.cancel()
        return ended.pop().result()

    async def _talk(self) -> Close:
        try:
            request_id = request_id_of(self._socket.scope)
            await self._send(
                Connected(job_id=self._job_id, connection_id=self._id, request_id=request_id, message="Connected.")
            )
            await while_key_holds(self._socket.scope, self._tell())
        except AudioTextError as error:
            return await self._apologize(error)
        except TimeoutError:
            return Close.slow
        return Close.over

    async def _apologize(self, error: AudioTextError) -> Close:
        match error:
            case UnauthorizedError():
                reason = Close.unauthorized
            case JobNotFoundError():
                reason = Close.unknown_job
            case TransientError():
                reason = Close.unavailable
            case _:
                raise error
        job_id = UNSET if reason is Close.unauthorized else self._job_id
        with suppress(TimeoutError):
            await self._send(ErrorMessage(job_id=job_id, message=error.detail, error=error.code))
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
            if frames > self._frames_per_window:
                return Close.chatty
            try:
                await self._answer(frame)
            except TimeoutError:
                return Close.slow

    async def _answer(self, frame: str | bytes) -> None:
        message = ClientMessage.read(frame)
        if message.type == "ping":
            await self._send(Pong(connection_id=self._id))
        else:
            await self._hear(message, frame)

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


class _JobConnection(_Connection):
    """One client on one job."""

    def __init__(
        self,
        socket: WebSocket[Any, Any, Any],
        live: LiveService,
        settings: EventSettings,
        *,
        job_id: str,
        seen: Cursor,
    ) -> None:
        super().__init__(socket, live, settings)
        self._job_id = job_id
        self._seen = seen

    async def _tell(self) -> None:
        job_id, pause = checked_id(str(self._job_id), JobNotFoundError), self._settings.ping_seconds
        async with aclosing(self._live.follow(job_id, after=self._seen.event_id, idle_seconds=pause)) as updates:
            async for update in updates:
                await self._send(JobUpdateMessage.of(update) if update else Ping(connection_id=self._id))

    async def _hear(self, message: ClientMessage, frame: str | bytes) -> None:
        """There is nothing to ask for."""


class _JobsConnection(_Connection):
    """One client on the jobs that it subscribes to."""

    _followed: Following

    def __init__(
        self, socket: WebSocket[Any, Any, Any], live: LiveService, settings: EventSettings, *, admit: Admit
    ) -> None:
        super().__init__(socket, live, settings)
        self._admit = admit
        self._frames_per_window = FRAMES_PER_WINDOW + settings.jobs_per_connection

    async def _first_end(self) -> Close:
        limit, pause = self._settings.jobs_per_connection, self._settings.ping_seconds
        async with following(self._live, admit=self._admit, limit=limit, idle_seconds=pause) as self._followed:
            return await super()._first_end()

    async def _tell(self) -> None:
        while True:
            news = await self._followed.news()
            if news is None:
                await self._send(Ping(connection_id=self._id))
            elif isinstance(news, Gone):
                await self._refuse(JobNotFoundError(), news.job_id)
            else:
                await self._send(JobUpdateMessage.of(news))

    async def _hear(self, message: ClientMessage, frame: str | bytes) -> None:
        if message.type not in {"subscribe", "unsubscribe"}:
            return
        try:
            wish: Subscribe | Unsubscribe = msgspec.json.decode(frame, type=Subscribe | Unsubscribe)
        except msgspec.DecodeError as error:
            await self._refuse(InvalidRequestError(f"This message is not usable: {error}."))
            return
        if isinstance(wish, Unsubscribe):
            self._followed.remove(wish.job_id)
            await self._send(Unsubscribed(job_id=wish.job_id))
            return
        try:
            after = Cursor.parse(wish.last_event_id or "").event_id
            self._followed.add(checked_id(wish.job_id, JobNotFoundError), after=after)
        except (JobNotFoundError, TooManyJobsError) as error:
            await self._refuse(error, wish.job_id)

    async def _refuse(self, error: AudioTextError, job_id: str | UnsetType = UNSET) -> None:
        """Say why a job is not followed; the others are."""
        await self._send(ErrorMessage(job_id=job_id, message=error.detail, error=error.code))
