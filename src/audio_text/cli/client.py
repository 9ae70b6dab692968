"""A client of a running service: upload, submit, follow, over the same HTTP and WebSocket API as everybody's."""

import asyncio
import ipaddress
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlencode, urlsplit

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from audio_text.domain.job import JobStatus
from audio_text.domain.transcript import Segment
from audio_text.errors import ServerRefusedError, ServerUnreachableError

T = TypeVar("T")

CONNECT_SECONDS = 10.0
# A store may answer only after it has written the whole upload away.
ANSWER_SECONDS = 120.0
UPLOAD_CHUNK_BYTES = 256 * 1024
# A late follower gets all stored segments in one message: about 8 MB for three hours with words.
LARGEST_MESSAGE_BYTES = 64 * 1024 * 1024
# The close code that coming back cannot help.
UNKNOWN_JOB = 4404
RECONNECT_DELAYS_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0)
# A connection that lasted this long was a working one: the next failure starts the backoff anew.
STEADY_SECONDS = 10.0


class RemoteJob(msgspec.Struct, frozen=True, kw_only=True):
    """What this client reads of a job as the service shows it. Durations in seconds."""

    id: str
    filename: str
    status: JobStatus
    whisper_model: str | None = None
    language: str | None = None
    duration: float | None = None
    processing_time_seconds: float | None = None
    real_time_factor: float | None = None
    error_message: str | None = None


class RemoteUpdate(msgspec.Struct, frozen=True, kw_only=True):
    """One `job_update`: progress is percent, 0-100; segments are those not told before."""

    job_id: str
    status: JobStatus
    progress: float = 0.0
    event_id: str | None = None
    segments: tuple[Segment, ...] = ()


class _UploadTarget(msgspec.Struct, frozen=True):
    url: str
    headers: dict[str, str] = {}


class Client:
    """Speaks with one service. Every method may raise ServerUnreachableError and ServerRefusedError."""

    def __init__(self, server: str, http: httpx.AsyncClient, *, reconnect_delays: Sequence[float]) -> None:
        self._server = server.rstrip("/")
        self._http = http
        self._reconnect_delays = reconnect_delays

    async def upload(
        self, audio: Path, *, content_type: str = "", on_progress: Callable[[int], object] = lambda _: None
    ) -> str:
        """Send a file to where the service wants it, telling `on_progress` the bytes sent; return the url."""
        size = (await asyncio.to_thread(audio.stat)).st_size
        request = {"filename": label(audio), "content_type": content_type, "file_size": size}
        answer = await self._call("POST", "/api/v1/audio/presigned-url", request)
        target = _decoded(answer.content, _UploadTarget)
        headers = {"Content-Type": content_type} if content_type else {}
        headers |= target.headers | {"Content-Length": str(size)}
        with _vendor_errors(target.url):
            _check(await self._http.put(target.url, content=_chunks(audio, on_progress), headers=headers))
        return target.url

    async def submit(self, *, filename: str, url: str, options: Mapping[str, object]) -> RemoteJob:
        """Ask for a transcription of an upload; `options` are the body's further fields, the model among them."""
        body = {"filename": filename, "url": url, **options}
        return _decoded((await self._call("POST", "/api/v1/job/transcribe", body)).content, RemoteJob)

    async def status(self, job_id: str) -> RemoteJob:
        """Read a job."""
        path = f"/api/v1/job/status/{quote(job_id, safe='')}"
        return _decoded((await self._call("GET", path)).content, RemoteJob)

    async def follow(self, job_id: str) -> AsyncGenerator[RemoteUpdate, None]:
        """Yield every update up to the terminal one, each segment once, through any number of lost connections."""
        last_event_id: str | None = None
        told: set[int] = set()
        backoff = _Backoff(self._reconnect_delays)
        while True:
            with backoff.attempt():
                async with self._socket(job_id, last_event_id) as socket, aclosing(_updates(socket)) as updates:
                    async for update in updates:
                        last_event_id = update.event_id or last_event_id
                        fresh = tuple(segment for segment in update.segments if segment.id not in told)
                        told.update(segment.id for segment in fresh)
                        yield msgspec.structs.replace(update, segments=fresh)
                        if update.status.is_terminal:
                            return
            await backoff.pause()

    @asynccontextmanager
    async def _socket(self, job_id: str, last_event_id: str | None) -> AsyncGenerator[ClientConnection]:
        query = f"?{urlencode({'last_event_id': last_event_id})}" if last_event_id else ""
        url = f"ws{self._server.removeprefix('http')}/api/v1/job/ws/{quote(job_id, safe='')}{query}"
        with _vendor_errors(url, OSError):
            async with connect(
                url,
                open_timeout=CONNECT_SECONDS,
                close_timeout=1.0,
                max_size=LARGEST_MESSAGE_BYTES,
                proxy=None if _is_loopback(self._server) else True,
            ) as socket:
                yield socket

    async def _call(self, method: str, path: str, body: object = None) -> httpx.Response:
        content = None if body is None else msgspec.json.encode(body)
        with _vendor_errors(self._server):
            response = await self._http.request(
                method, self._server + path, content=content, headers={"Content-Type": "application/json"}
            )
        return _check(response)


@asynccontextmanager
async def open_client(
    server: str, *, reconnect_delays: Sequence[float] = RECONNECT_DELAYS_SECONDS
) -> AsyncGenerator[Client]:
    """Open a client of the service at `server`, such as `http://127.0.0.1:3203`."""
    timeout = httpx.Timeout(ANSWER_SECONDS, connect=CONNECT_SECONDS)
    async with httpx.AsyncClient(timeout=timeout, trust_env=not _is_loopback(server)) as http:
        yield Client(server, http, reconnect_delays=reconnect_delays)


def label(audio: Path) -> str:
    """Spell a file's name so that it can travel as JSON, whatever bytes it is made of."""
    return audio.name.encode(errors="surrogateescape").decode(errors="replace")


async def _updates(socket: ClientConnection) -> AsyncGenerator[RemoteUpdate, None]:
    """Yield `job_update`s until the connection closes; answer pings, pass over what is not known."""
    while True:
        try:
            message = await socket.recv()
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code == UNKNOWN_JOB:
                raise ServerRefusedError(closed.rcvd.reason) from closed
            return
        match _decoded(message, dict[str, object]):
            case {"type": "job_update"}:
                yield _decoded(message, RemoteUpdate)
            case {"type": "ping", "timestamp": timestamp}:
                await socket.send(msgspec.json.encode({"type": "pong", "timestamp": timestamp}), text=True)
            case _:
                pass


async def _chunks(audio: Path, on_progress: Callable[[int], object]) -> AsyncGenerator[bytes, None]:
    sent = 0
    with audio.open("rb") as file:
        while chunk := await asyncio.to_thread(file.read, UPLOAD_CHUNK_BYTES):
            yield chunk
            sent += len(chunk)
            on_progress(sent)


@contextmanager
def _vendor_errors(address: str, *others: type[Exception]) -> Generator[None]:
    """Turn what httpx and websockets (and `others`) raise into this project's errors: the only place that knows."""
    place = "{0.scheme}://{0.netloc}".format(urlsplit(address))
    try:
        yield
    except InvalidStatus as error:
        if error.response.status_code < 500:  # noqa: PLR2004 -- HTTP's server errors begin here
            raise ServerRefusedError(_detail(error.response.status_code, bytes(error.response.body or b""))) from error
        raise ServerUnreachableError(f"{place} does not open a live connection just now.") from error
    except (httpx.TransportError, WebSocketException, *others) as error:
        reason = str(error) or type(error).__name__
        raise ServerUnreachableError(f"{place} cannot be reached ({reason}).") from error


def _check(response: httpx.Response) -> httpx.Response:
    if response.is_success:
        return response
    raise ServerRefusedError(_detail(response.status_code, response.content))


def _detail(status: int, body: bytes) -> str:
    """Find the sentence that the service wrote for a person; a store or a proxy on the way writes none."""
    try:
        return msgspec.json.decode(body, type=_Problem).detail
    except msgspec.DecodeError:
        return f"The server answered {status}."


class _Problem(msgspec.Struct, frozen=True):
    detail: str


class _Backoff:
    """Waits longer from failure to failure, and gives up after the last delay."""

    def __init__(self, delays: Sequence[float]) -> None:
        self._delays = delays
        self._failures = 0
        self._error = ServerUnreachableError()

    @contextmanager
    def attempt(self) -> Generator[None]:
        """Count how the body ends without what it was to bring: by ServerUnreachableError, or quietly."""
        began_at = time.monotonic()
        self._error = ServerUnreachableError("The live connection keeps breaking.")
        try:
            yield
        except ServerUnreachableError as error:
            self._error = error
        self._failures = 1 if time.monotonic() - began_at > STEADY_SECONDS else self._failures + 1

    async def pause(self) -> None:
        """Sleep before the next attempt. Raises the last ServerUnreachableError when there is none."""
        if self._failures > len(self._delays):
            raise self._error
        await asyncio.sleep(self._delays[self._failures - 1])


def _decoded(message: str | bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(message, type=kind)
    except msgspec.DecodeError as error:
        raise ServerRefusedError(f"The server sent what this client does not understand: {error}.") from error


def _is_loopback(server: str) -> bool:
    """Whether the service runs on this machine: then no proxy of the environment stands between."""
    host = urlsplit(server).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
