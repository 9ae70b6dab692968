"""A job is followed over a socket: each piece of news once, through any number of lost connections."""

import time
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, contextmanager
from urllib.parse import quote

import msgspec

from audio_text.client.answers import Update, decoded
from audio_text.client.session import Session, delay_seconds
from audio_text.client.transport import Socket
from audio_text.errors import ServerUnreachableError, WaitTooLongError

IDLE_SECONDS = 90.0
"""The service says something every `events.ping_seconds`, 20 by default: after so long a silence it is gone."""

STEADY_SECONDS = 10.0
"""A connection that lasted so long, or brought news, was a working one: the next failure starts the delays anew."""


async def follow(session: Session, job_id: str, *, timeout: float | None) -> AsyncGenerator[Update]:  # noqa: ASYNC109 -- the transport bounds each wait, and one of them has no event loop
    """Yield every update up to that of a final status.

    Raises WaitTooLongError after `timeout` seconds, JobNotFoundError, and ServerUnreachableError when coming back
    fails too often in a row.
    """
    patience = _Patience(session.max_reconnects, seconds=timeout)
    last_event_id: str | None = None
    told: set[int] = set()
    while True:
        with patience.attempt():
            query = {"last_event_id": last_event_id}
            async with (
                session.connect(f"/api/v1/job/ws/{quote(job_id, safe='')}", query=query) as socket,
                aclosing(_updates(socket, patience)) as updates,
            ):
                async for update in updates:
                    if update.event_id is not None and update.event_id != last_event_id:
                        last_event_id = update.event_id
                        patience.renew()
                    fresh = tuple(segment for segment in update.segments if segment.id not in told)
                    told.update(segment.id for segment in fresh)
                    yield msgspec.structs.replace(update, segments=fresh)
                    if update.status.is_terminal:
                        return
        await session.transport.sleep(patience.pause_seconds())


async def _updates(socket: Socket, patience: "_Patience") -> AsyncGenerator[Update]:
    """Yield `job_update`s until the connection closes; answer pings, pass over what is not known."""
    while (message := await socket.receive(patience.wait_seconds())) is not None:
        match decoded(message, dict[str, object]):
            case {"type": "job_update"}:
                yield decoded(message, Update)
            case {"type": "ping", "timestamp": timestamp}:
                await socket.send(msgspec.json.encode({"type": "pong", "timestamp": timestamp}))
            case _:
                pass


class _Patience:
    """Counts failures in a row and the time: says how long to wait, and when it is enough."""

    def __init__(self, most: int, *, seconds: float | None) -> None:
        self._most = most
        self._ends_at = None if seconds is None else time.monotonic() + seconds
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

    def renew(self) -> None:
        """Forget the failures: there was news."""
        self._failures = 0

    def wait_seconds(self) -> float:
        """How long a message may be waited for. Raises WaitTooLongError."""
        return min(IDLE_SECONDS, self._left())

    def pause_seconds(self) -> float:
        """How long to wait before the next connection. Raises the last error after too many of them."""
        left = self._left()
        if self._failures > self._most:
            raise self._error
        return min(delay_seconds(self._failures), left)

    def _left(self) -> float:
        left = IDLE_SECONDS if self._ends_at is None else self._ends_at - time.monotonic()
        if left <= 0:
            raise WaitTooLongError
        return left
