"""The schema, brought forward or back: one process at a time, and each migration one transaction with its record."""

import asyncio
import os
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, redirect_stdout, suppress
from importlib.machinery import SourceFileLoader
from io import StringIO
from pathlib import Path
from types import ModuleType
from typing import Protocol, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs] -- it has none: database.py says what we use
import structlog
from piccolo.apps.migrations.auto.migration_manager import MigrationManager
from piccolo.apps.migrations.tables import Migration
from piccolo.engine.postgres import PostgresTransaction

from audio_text.adapters import piccolo_conf
from audio_text.adapters.database import UNAVAILABLE, Connection, connect, connection_arguments, vendor_errors
from audio_text.adapters.piccolo_app import APP_CONFIG
from audio_text.errors import ConfigurationError, DatabaseUnavailableError
from audio_text.settings import DatabaseSettings

APPLICATION_NAME = "audio-text migrate"

ADVISORY_LOCK = int.from_bytes(b"audiotxt")
"""The lock that a migrator holds; any number that nobody else uses."""

LOCK_TIMEOUT = "5s"
"""How long a migration waits for a table: every statement of the service that comes after it waits as long."""

STATEMENT_SECONDS = 3_600.0
"""How long one statement of a migration may take: rewriting a large table is slow."""

PATIENCE_SECONDS = 60.0
"""How long to wait for the server to come up, and then for another migrator to finish."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.2, 5.0

log = structlog.get_logger(__name__)


class MigrationModule(Protocol):
    """A file of the folder `migrations`."""

    ID: str
    DESCRIPTION: str
    __name__: str

    async def forwards(self) -> MigrationManager:
        """Say what changes."""
        ...


async def migrate(
    settings: DatabaseSettings, password: str, *, patience_seconds: float = PATIENCE_SECONDS
) -> list[str]:
    """Apply the migrations that the database lacks, and give their names in order.

    Raises DatabaseUnavailableError; ConfigurationError when the server refuses the user or knows no such database.
    """
    applied: list[str] = []
    async with _only_migrator(settings, password, patience_seconds) as connection:
        async with _transaction(connection):
            done = await _recorded()
        for module in _modules():
            if module.ID in done:
                continue
            async with _transaction(connection):
                await _run(await module.forwards(), backwards=False)
                await Migration.insert(Migration(name=module.ID, app_name=APP_CONFIG.app_name))
            applied.append(module.__name__)
            log.info("migration_applied", migration=module.__name__, description=module.DESCRIPTION)
    return applied


async def revert(
    settings: DatabaseSettings,
    password: str,
    *,
    steps: int | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> list[str]:
    """Take back the last `steps` migrations, or all and every trace of them; give their names, newest first.

    Raises what `migrate` raises; ConfigurationError also when the database is newer than this service.
    """
    reverted: list[str] = []
    modules = {module.ID: module for module in _modules()}
    async with _only_migrator(settings, password, patience_seconds) as connection:
        async with _transaction(connection):
            done = sorted(await _recorded(), reverse=True)
        if unknown := [name for name in done if name not in modules]:
            raise ConfigurationError(f"The database has migrations that this version does not know: {unknown[0]}.")
        for name in done[:steps]:
            async with _transaction(connection):
                await _run(await modules[name].forwards(), backwards=True)
                await Migration.delete().where(Migration.name == name)
            reverted.append(modules[name].__name__)
            log.info("migration_reverted", migration=modules[name].__name__)
        if len(reverted) == len(done):
            async with _transaction(connection):
                await Migration.alter().drop_table()
    return reverted


def _modules() -> list[MigrationModule]:
    folder = Path(APP_CONFIG.migrations_folder_path)
    return sorted((_load(file) for file in folder.glob("*.py")), key=lambda module: module.ID)


def _load(file: Path) -> MigrationModule:
    # Piccolo would put the folder on sys.path, where its files could hide other modules.
    module = ModuleType(file.stem)
    SourceFileLoader(file.stem, str(file)).exec_module(module)
    return cast("MigrationModule", module)


async def _recorded() -> set[str]:
    await Migration.create_table(if_not_exists=True)
    return set(await Migration.get_migrations_which_ran(APP_CONFIG.app_name))


async def _run(manager: MigrationManager, *, backwards: bool) -> None:
    with redirect_stdout(StringIO()):  # Piccolo prints what the log says already
        await manager.run(backwards=backwards)


@asynccontextmanager
async def _transaction(connection: Connection) -> AsyncGenerator[None]:
    """Lend the connection, in a transaction, to all that Piccolo does in this task."""
    # Piccolo asks nowhere else for the engine that it runs migrations on.
    os.environ["PICCOLO_CONF"] = piccolo_conf.__name__  # noqa: TID251 -- written, not read
    lent = PostgresTransaction(piccolo_conf.DB)
    lent.connection = connection
    async with connection.transaction():
        await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
        token = piccolo_conf.DB.current_transaction.set(lent)
        try:
            yield
        finally:
            piccolo_conf.DB.current_transaction.reset(token)


@asynccontextmanager
async def _only_migrator(
    settings: DatabaseSettings, password: str, patience_seconds: float
) -> AsyncGenerator[Connection]:
    """Connect, wait until no other process migrates, and keep others out."""
    with vendor_errors():
        connection = await _connect(settings, password, patience_seconds)
        try:
            await _lock(connection, patience_seconds)
            yield connection
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.timeout_seconds):
                    await connection.close()  # and with it the lock


async def _lock(connection: Connection, patience_seconds: float) -> None:
    if (await connection.fetch("SELECT pg_try_advisory_lock($1) AS locked", ADVISORY_LOCK))[0]["locked"]:
        return
    log.info("waiting_for_another_migrator", patience_seconds=patience_seconds)
    try:
        async with asyncio.timeout(patience_seconds):
            await connection.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
    except TimeoutError as error:
        raise DatabaseUnavailableError(
            f"Another process has been migrating this database for more than {patience_seconds:.0f} seconds."
        ) from error


async def _connect(settings: DatabaseSettings, password: str, patience_seconds: float) -> Connection:
    arguments = connection_arguments(
        settings, password, application_name=APPLICATION_NAME, statement_seconds=STATEMENT_SECONDS
    )
    address = f"{settings.host}:{settings.port}"
    pause = FIRST_PAUSE_SECONDS
    deadline = asyncio.get_running_loop().time() + patience_seconds
    while True:
        try:
            return await connect(**arguments)
        except asyncpg.InvalidAuthorizationSpecificationError as error:
            raise ConfigurationError(
                f'PostgreSQL at {address} refuses the user "{settings.user}": check AUDIO_TEXT_DATABASE_USER '
                "and AUDIO_TEXT_DATABASE_PASSWORD."
            ) from error
        except asyncpg.InvalidCatalogNameError as error:
            raise ConfigurationError(
                f'PostgreSQL at {address} has no database "{settings.name}": create it, or name another in '
                "AUDIO_TEXT_DATABASE_NAME."
            ) from error
        except UNAVAILABLE as error:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                raise DatabaseUnavailableError(
                    f"No PostgreSQL answered at {address} within {patience_seconds:.0f} seconds."
                ) from error
            log.warning(
                "waiting_for_database",
                host=settings.host,
                port=settings.port,
                message=f"Waiting for PostgreSQL at {address}: start it, or name another in AUDIO_TEXT_DATABASE_HOST "
                "and AUDIO_TEXT_DATABASE_PORT.",
                reason=str(error) or repr(error),
            )
        # The spread keeps replicas that started together from knocking together.
        await asyncio.sleep(min(left, random.uniform(pause / 2, pause)))  # noqa: S311 -- nothing to guess here
        pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
