"""A door in front of PostgreSQL that a test can shut, so that one test's outage is no other test's."""

import asyncio
from contextlib import suppress
from typing import Self

import msgspec

from services.api import free_port
from services.database import Database

CHUNK_BYTES = 65_536


class Relay:
    """`database` is the way through it. Shut until `start`."""

    def __init__(self, behind: Database) -> None:
        self._behind = behind.settings
        settings = msgspec.structs.replace(behind.settings, host="127.0.0.1", port=free_port())
        self.database = Database(settings, behind.password)
        self.is_silent = False
        self._server: asyncio.Server | None = None
        self._served: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.database.settings.port)

    async def stop(self) -> None:
        """Refuse new connections and cut those that are open, as a server does that is killed."""
        if self._server is not None:
            self._server.close()
        await self.cut()

    async def cut(self) -> None:
        """Break the connections that are open; new ones are welcome."""
        for writer in self._served.values():
            writer.transport.abort()
        if self._served:
            await asyncio.wait(list(self._served))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._served[task] = writer
        server_reader, server_writer = await asyncio.open_connection(self._behind.host, self._behind.port)
        try:
            with suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._copy(reader, server_writer))
                    group.create_task(self._copy(server_reader, writer))
        finally:
            server_writer.transport.abort()
            writer.transport.abort()
            del self._served[task]

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK_BYTES):
            if not self.is_silent:
                writer.write(data)
                await writer.drain()
        raise ConnectionResetError  # what one side ends, ends for the other
