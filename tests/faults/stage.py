"""Plays the cells of a matrix, several at a time, ahead of the tests that ask how they went."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from audio_text.settings import Settings, StoreKind
from faults.scenes import Cell
from faults.world import Crew, World, until, world
from services.api import free_port, settings_of
from services.database import temporary_database
from services.faulty import Nursery
from services.postgres import PostgresServer
from services.redis import RedisServer
from services.s3 import S3Server

AT_ONCE = 10
"""Cells that are played at the same time: most of a cell's time is waiting for a lease to run out."""


class Stage(NamedTuple):
    """The servers that all worlds share; recordings lie in a folder of each world, or in the bucket of `s3`."""

    nursery: Nursery
    postgres: PostgresServer
    redis: RedisServer
    template: str
    folder: Path
    s3: S3Server | None = None

    async def play(self, cell: Cell) -> None:
        """Raises AssertionError where something is not as it must be, TimeoutError where it never comes to be."""
        async with self._world(str(cell)) as (world, crew):
            await cell.scene(cell, world, crew)
            await crew.go()

    async def twin(self, recording: str) -> str:
        """The text of the recording when nothing goes wrong."""
        async with self._world(recording) as (world, crew):
            job_id = await world.submit(recording)
            crew.worker()
            await until(lambda: world.has_ended(job_id))
            await crew.go()
            return (await world.row(job_id))["result_text"]

    @asynccontextmanager
    async def _world(self, name: str) -> AsyncGenerator[tuple[World, Crew]]:
        kind = "disk" if self.s3 is None else "s3"
        folder = self.folder / "".join(letter if letter.isalnum() else "_" for letter in f"{kind} {name}")
        folder.mkdir()
        async with temporary_database(self.postgres, template=self.template) as database:
            settings = self._settings(settings_of(database, self.redis, folder))
            async with world(settings, database, folder) as opened:
                yield opened, Crew(self.nursery, opened.settings)

    def _settings(self, settings: Settings) -> Settings:
        here = msgspec.structs.replace(
            settings.remote, enabled=True, allow_http=True, allowed_networks=("127.0.0.1/32",), ports=(free_port(),)
        )
        settings = msgspec.structs.replace(settings, remote=here)
        if self.s3 is None:
            return settings
        keys = {"s3_access_key": self.s3.access_key, "s3_secret_key": self.s3.secret_key}
        return msgspec.structs.replace(
            settings,
            store=msgspec.structs.replace(settings.store, kind=StoreKind.s3),
            s3=self.s3.settings,
            secrets=msgspec.structs.replace(settings.secrets, **keys),
        )


class Plays:
    """What came of each cell."""

    def __init__(self, stage: Stage, cells: Iterable[Cell]) -> None:
        cells = list(cells)
        loop = asyncio.get_running_loop()
        self._stage = stage
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._twins = {name: loop.create_task(stage.twin(name)) for name in {cell.recording for cell in cells}}
        self._plays = {str(cell): loop.create_task(self._play(cell)) for cell in cells}

    async def result(self, cell: Cell) -> None:
        """Wait until the cell was played; raises what it raised."""
        await self._plays[str(cell)]

    async def close(self) -> None:
        """Break off what nobody asked for."""
        tasks = [*self._plays.values(), *self._twins.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _play(self, cell: Cell) -> None:
        async with self._turns:
            twin = await asyncio.shield(self._twins[cell.recording])
            await self._stage.play(cell._replace(twin=twin))
