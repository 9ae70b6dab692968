"""The transport that blocks, and how coroutines over it become plain methods: each runs to its end in one step."""

import functools
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import httpx
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from audio_text.client.transport import (
    CLOSE_SECONDS,
    LARGEST_MESSAGE_BYTES,
    Reach,
    check_farewell,
    opening,
    vendor_errors,
)

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")


class Blocking(Generic[A]):
    """Has the methods of an object whose transport blocks, without `await`."""

    def __init__(self, awaiting: A) -> None:
        self._awaiting = awaiting


def blocking(method: Callable[Concatenate[A, P], Coroutine[Any, Any, T]]) -> Callable[Concatenate[Blocking[A], P], T]:
    """Make a method that returns what the coroutine returns."""

    @functools.wraps(method)
    def call(self: Blocking[A], *args: P.args, **kwargs: P.kwargs) -> T:
        return run(method(self._awaiting, *args, **kwargs))  # pyright: ignore[reportPrivateUsage] -- its own

    return call


def blocking_stream(
    method: Callable[Concatenate[A, P], AsyncGenerator[T]],
) -> Callable[Concatenate[Blocking[A], P], Generator[T]]:
    """Make a generator that yields what the asynchronous one yields, and ends it when it is left."""

    @functools.wraps(method)
    def call(self: Blocking[A], *args: P.args, **kwargs: P.kwargs) -> Generator[T]:
        stream = method(self._awaiting, *args, **kwargs)  # pyright: ignore[reportPrivateUsage] -- its own
        try:
            while True:
                try:
                    item = run(stream.__anext__())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            run(stream.aclose())

    return call


def run(step: Coroutine[Any, Any, T]) -> T:
    """Run what never waits for an event loop, because its transport blocks."""
    try:
        step.send(None)
    except StopIteration as done:
        return done.value
    raise RuntimeError("A transport that blocks has nothing to wait for.")


class BlockingTransport:
    """A `Transport` whose methods return when they are done; several threads may share it."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._http = httpx.Client(timeout=reach.timeout, trust_env=reach.trusts_environment, verify=reach.verify())

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], content: bytes | Iterable[bytes] | None
    ) -> httpx.Response:
        """Ask."""
        with vendor_errors(url):
            return self._http.request(method, url, headers=headers, content=content)

    @asynccontextmanager
    async def connect(self, url: str, *, headers: Mapping[str, str]) -> AsyncGenerator["BlockingSocket"]:
        """Open a live connection."""
        with opening(url):
            connection = connect(
                url,
                additional_headers=headers,
                close_timeout=CLOSE_SECONDS,
                max_size=LARGEST_MESSAGE_BYTES,
                open_timeout=self._reach.connect_seconds,
                proxy=True if self._reach.trusts_environment else None,
                ssl=self._reach.ssl_context if url.startswith("wss") else None,
            )
        with connection:
            yield BlockingSocket(connection, url)

    async def run(self, function: Callable[[], T]) -> T:
        """Call."""
        return function()

    async def sleep(self, seconds: float) -> None:
        """Hold this thread."""
        time.sleep(seconds)  # noqa: ASYNC251 -- there is no event loop

    async def close(self) -> None:
        """Close the pool."""
        self._http.close()


class BlockingSocket:
    """A `Socket`. Sending is bounded by the connection's own pings, which nobody answers when it is dead."""

    def __init__(self, connection: ClientConnection, url: str) -> None:
        self._connection = connection
        self._url = url

    async def receive(self, seconds: float) -> str | bytes | None:
        """Wait for a message."""
        with vendor_errors(self._url):
            try:
                return self._connection.recv(seconds)
            except ConnectionClosed as closed:
                check_farewell(closed)
                return None

    async def send(self, message: bytes) -> None:
        """Say something."""
        with vendor_errors(self._url):
            self._connection.send(message, text=True)
