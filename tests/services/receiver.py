"""Somebody's webhook: it verifies what comes with the convention's own library, and answers as a test has it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import msgspec
from standardwebhooks.webhooks import Webhook

from services.outside import Script, answer

Taken = Callable[["Call"], Script]


def always(script: Script) -> Taken:
    return lambda _: script


@dataclass(frozen=True)
class Call:
    """One request, as it came."""

    headers: dict[str, str]
    body: bytes

    @property
    def event_id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def event(self) -> dict[str, Any]:
        return msgspec.json.decode(self.body)

    def verified(self, secret: str) -> Any:
        """What it says, if whoever has the secret signed it."""
        return Webhook(secret).verify(self.body, self.headers)


@dataclass
class Receiver:
    """`reply` decides what each call is answered; `calls` are all that came."""

    reply: Taken = field(default_factory=lambda: always(answer(204)))
    calls: list[Call] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}/hook"

    @property
    def counts(self) -> Counter[str]:
        return Counter(call.event_id for call in self.calls)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
                call = Call(headers, await reader.readexactly(int(headers["content-length"])))
                self.calls.append(call)
                await self.reply(call)(writer)
        finally:
            writer.close()


@asynccontextmanager
async def serving(reply: Taken | None = None) -> AsyncIterator[Receiver]:
    receiver = Receiver() if reply is None else Receiver(reply)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    async with server:
        receiver.port = server.sockets[0].getsockname()[1]
        yield receiver


async def never(writer: asyncio.StreamWriter) -> None:
    """Say nothing for longer than a test waits."""
    await writer.drain()
    await asyncio.sleep(2)
