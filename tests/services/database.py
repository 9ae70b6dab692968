"""A freshly migrated database per test: a copy of one that is migrated once per session."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count

import asyncpg
import msgspec
import pytest
from piccolo.querystring import QueryString

from audio_text.adapters.migrations import migrate
from audio_text.settings import DatabaseSettings
from services.postgres import PostgresServer

_numbers = count(1)


@dataclass(frozen=True)
class Database:
    """Where it is, as `open_database` and `migrate` take it."""

    settings: DatabaseSettings
    password: str

    async def connect(self) -> asyncpg.Connection:
        """A connection of the test's own, outside of any pool."""
        return await asyncpg.connect(
            host=self.settings.host,
            port=self.settings.port,
            user=self.settings.user,
            database=self.settings.name,
            password=self.password,
        )

    async def execute(self, statement: str) -> None:
        """Run one statement, on a connection of its own: a test may have restarted the server before."""
        connection = await self.connect()
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    def named(self, name: str) -> "Database":
        return Database(msgspec.structs.replace(self.settings, name=name), self.password)


@asynccontextmanager
async def temporary_database(server: PostgresServer, *, template: str) -> AsyncGenerator[Database]:
    """Copy the database `template`; drop the copy at the end, whoever is still connected."""
    home = Database(server.settings, server.password)
    copy = home.named(f"test_{next(_numbers)}")
    await home.execute(f'DROP DATABASE IF EXISTS "{copy.settings.name}" WITH (FORCE)')
    await home.execute(f'CREATE DATABASE "{copy.settings.name}" TEMPLATE "{template}"')
    try:
        yield copy
    finally:
        await home.execute(f'DROP DATABASE "{copy.settings.name}" WITH (FORCE)')


@pytest.fixture(scope="session")
async def migrated_database(postgres_server: PostgresServer) -> AsyncIterator[str]:
    """The name of a migrated database that is only copied from."""
    async with temporary_database(postgres_server, template="template0") as template:
        await migrate(template.settings, template.password)
        yield template.settings.name


@pytest.fixture
async def database(postgres_server: PostgresServer, migrated_database: str) -> AsyncIterator[Database]:
    """A migrated database of the test's own."""
    async with temporary_database(postgres_server, template=migrated_database) as copy:
        yield copy


@pytest.fixture
async def empty_database(postgres_server: PostgresServer) -> AsyncIterator[Database]:
    """A database of the test's own without any table."""
    async with temporary_database(postgres_server, template="template0") as fresh:
        yield fresh


def numbered(statement: str) -> str:
    """The statement as PostgreSQL sees it, with $1, $2, …"""
    return QueryString(statement, *range(statement.count("{}"))).compile_string()[0]
