"""Run as a script: send the same request over some connections for some seconds, each as soon as the last is answered.

Reads its task as JSON from standard input, and writes the seconds that each answer took, and its own CPU time.
"""

import asyncio
import json
import sys
import time
from typing import Any

import uvloop


class Connection(asyncio.Protocol):
    """One request after the other; an answer ends where its Content-Length says."""

    def __init__(self, request: bytes, status: bytes, until: float, done: asyncio.Future[None]) -> None:
        self.taken: list[float] = []
        self._request, self._status, self._until, self._done = request, status, until, done
        self._buffer, self._length = b"", -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._send()

    def _send(self) -> None:
        self._began = time.perf_counter()
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        if self._length < 0:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._buffer[:end].lower()
            if not head.startswith(self._status):
                self._fail(self._buffer[:400])
                return
            begin = head.index(b"content-length:") + 15
            self._length = end + 4 + int(head[begin : head.find(b"\r", begin) if b"\r" in head[begin:] else None])
        if len(self._buffer) >= self._length:
            now = time.perf_counter()
            self.taken.append(now - self._began)
            self._buffer, self._length = b"", -1
            if now < self._until:
                self._send()
            else:
                self._transport.close()
                self._done.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._done.done():
            self._fail(repr(error).encode())

    def _fail(self, why: bytes) -> None:
        if not self._done.done():
            self._done.set_exception(RuntimeError(why.decode(errors="replace")))
        self._transport.close()


async def main(task: dict[str, Any]) -> list[float]:
    loop = asyncio.get_running_loop()
    until = time.perf_counter() + task["seconds"]
    connections, waiting = [], []
    for _ in range(task["connections"]):
        done = loop.create_future()
        _, connection = await loop.create_connection(
            lambda done=done: Connection(task["request"].encode(), task["status"].encode(), until, done),
            task["host"],
            task["port"],
        )
        connections.append(connection)
        waiting.append(done)
    await asyncio.gather(*waiting)
    return [seconds for connection in connections for seconds in connection.taken]


if __name__ == "__main__":
    taken = uvloop.run(main(json.load(sys.stdin)))
    json.dump({"taken": taken, "cpu_seconds": time.process_time()}, sys.stdout)
