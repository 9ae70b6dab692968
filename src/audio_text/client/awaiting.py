"""The transport that awaits: httpx and websockets on asyncio."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import TypeVar

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from audio_text.client.transport import (
    CLOSE_SECONDS,
    LARGEST_MESSAGE_BYTES,
    Reach,
    check_farewell,
    opening,
    vendor_errors,
)

T = TypeVar("T")


class AsyncTransport:
    """A `Transport` for one event loop."""

    def __init__(self, reach: Reach) -> None:
        self._reach = reach
        self._http = httpx.AsyncClient(
            timeout=reach.timeout, trust_env=reach.trusts_environment, verify=reach.verify(), follow_redirects=False
        )

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], content: bytes | Iterable[bytes] | None
    ) -> httpx.Response:
        """Ask; chunks are read in a thread, because a disk may be slow."""
        body = content if isinstance(content, bytes | None) else _chunks(iter(content))
        with vendor_errors(url):
            return await self._http.request(method, url, headers=headers, content=body)

    @asynccontextmanager
    async def connect(self, url: str, *, headers: Mapping[str, str]) -> AsyncGenerator["AsyncSocket"]:
        """Open a live connection."""
        with opening(url):
            connection = await connect(
                url,
                additional_headers=headers,
                close_timeout=CLOSE_SECONDS,
                max_size=LARGEST_MESSAGE_BYTES,
                open_timeout=self._reach.connect_seconds,
                proxy=True if self._reach.trusts_environment else None,
                ssl=(self._reach.ssl_context or True) if url.startswith("wss") else None,
            )
        async with connection:
            yield AsyncSocket(connection, url, wait_seconds=self._reach.wait_seconds)

    async def run(self, function: Callable[[], T]) -> T:
        """Call in a thread."""
        return await asyncio.to_thread(function)

    async def sleep(self, seconds: float) -> None:
        """Let others work meanwhile."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Close the pool."""
        await self._http.aclose()


class AsyncSocket:
    """A `Socket`."""

    def __init__(self, connection: ClientConnection, url: str, *, wait_seconds: float) -> None:
        self._connection = connection
        self._url = url
        self._wait_seconds = wait_seconds

    async def receive(self, seconds: float) -> str | bytes | None:
        """Wait for a message."""
        with vendor_errors(self._url):
            try:
                async with asyncio.timeout(seconds):
                    return await self._connection.recv()
            except ConnectionClosed as closed:
                check_farewell(closed)
                return None

    async def send(self, message: bytes) -> None:
        """Say something."""
        with vendor_errors(self._url):
            async with asyncio.timeout(self._wait_seconds):
                await self._connection.send(message, text=True)


async def _chunks(chunks: Iterator[bytes]) -> AsyncGenerator[bytes]:
    while chunk := await asyncio.to_thread(next, chunks, b""):
        yield chunk
