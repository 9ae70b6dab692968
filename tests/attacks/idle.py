"""Clients that open live connections and then say nothing."""

import asyncio
import base64
import time

HANDSHAKE_SECONDS = 30.0
AT_ONCE = 50


class IdleSockets:
    """Many of them; bare sockets, because a client library would take more memory than the server."""

    def __init__(self, host: str, port: int, *, path: str = "/api/v1/job/ws", secret: str | None = None) -> None:
        self._host, self._port, self._path = host, port, path
        self._key = f"Authorization: Bearer {secret}\r\n" if secret else ""
        self._open: list[asyncio.StreamWriter] = []

    async def open(self, count: int) -> tuple[int, int]:
        """How many were upgraded and stay so, and how many were not."""
        slots = asyncio.Semaphore(AT_ONCE)

        async def one() -> bool:
            async with slots:
                return await self._connect()

        results = await asyncio.gather(*(one() for _ in range(count)))
        return sum(results), count - sum(results)

    async def _connect(self) -> bool:
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                reader, writer = await asyncio.open_connection(self._host, self._port, limit=1024)
                key = base64.b64encode(bytes(16)).decode()
                writer.write(
                    f"GET {self._path} HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n{self._key}\r\n".encode()
                )
                line = await reader.readline()
        except (OSError, TimeoutError):
            return False
        if b" 101 " not in line:
            writer.close()
            return False
        self._open.append(writer)
        return True

    async def answer_seconds(self) -> float:
        """How long a stranger waits for the smallest answer."""
        began = time.perf_counter()
        reader, writer = await asyncio.open_connection(self._host, self._port)
        writer.write(f"GET /health/live HTTP/1.1\r\nHost: {self._host}\r\nConnection: close\r\n\r\n".encode())
        await reader.read()
        writer.close()
        return time.perf_counter() - began

    async def close(self) -> None:
        """Hang up."""
        for writer in self._open:
            writer.transport.abort()
        self._open.clear()
