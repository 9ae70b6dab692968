"""The schema: forward, back, by one process at a time, and the same as the code says."""

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any

import msgspec
import pytest
from piccolo.apps.migrations.commands.new import AutoMigrationManager
from piccolo.columns import Text, Varchar
from piccolo.conf.apps import AppConfig
from piccolo.table import Table, create_table_class
from structlog.testing import capture_logs

from audio_text.adapters.migrations import ADVISORY_LOCK, migrate, revert
from audio_text.adapters.piccolo_app import APP_CONFIG
from audio_text.adapters.tables import (
    EnumVarchar,
    TranscriptionAttempt,
    TranscriptionJob,
)
from audio_text.domain.job import AttemptRecord, Job, JobStatus
from audio_text.errors import AudioTextError, ConfigurationError, DatabaseUnavailableError
from services.database import Database
from services.relay import Relay

NAMES = [
    f"audio_text_2026_11_22_{name}"
    for name in (
        *("status", "tables", "indexes", "attempts", "turns", "owners", "shares", "expiry", "resuming"),
        *("resource", "search", "channels", "speeds", "windows", "reuse", "digests", "callers"),
        *("keys", "usage", "deliveries", "ends"),
        *("batches", "tallies", "batch_ends", "reserves", "settling", "lists"),
    )
]

TABLES = APP_CONFIG.table_classes

EVERYTHING = """
SELECT relname AS name FROM pg_class WHERE relnamespace = 'public'::regnamespace
UNION SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace
UNION SELECT proname || pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
UNION SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE NOT tgisinternal
UNION SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
UNION SELECT attrelid::regclass || '.' || attname || ' ' || format_type(atttypid, atttypmod)
    FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
    WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
ORDER BY name
"""


async def test_an_empty_database_gets_every_migration_once(empty_database: Database) -> None:
    assert await migrate(empty_database.settings, empty_database.password) == NAMES
    assert await migrate(empty_database.settings, empty_database.password) == []


async def test_backwards_to_nothing_leaves_an_empty_database(database: Database) -> None:
    assert await revert(database.settings, database.password) == NAMES[::-1]
    assert await _fetch(database, EVERYTHING) == []


async def test_every_step_back_can_be_taken_forward_again(database: Database) -> None:
    before = await _fetch(database, EVERYTHING)
    for steps in range(1, len(NAMES) + 1):
        await revert(database.settings, database.password, steps=steps)
        assert await migrate(database.settings, database.password) == NAMES[-steps:]
    assert await _fetch(database, EVERYTHING) == before


async def test_a_database_that_is_newer_than_the_code_is_left_alone(database: Database) -> None:
    await _fetch(database, "INSERT INTO migration (name, app_name) VALUES ('9999-01-01', 'audio_text')")
    assert await migrate(database.settings, database.password) == []
    with pytest.raises(ConfigurationError, match="9999-01-01"):
        await revert(database.settings, database.password)


async def test_a_migration_that_fails_leaves_nothing_behind(empty_database: Database) -> None:
    await _fetch(empty_database, "CREATE TABLE transcription_segment ()")
    with pytest.raises(AudioTextError, match="refused a statement"):
        await migrate(empty_database.settings, empty_database.password)
    tables = {row["name"] for row in await _fetch(empty_database, EVERYTHING)}
    assert "transcription_job" not in tables
    await _fetch(empty_database, "DROP TABLE transcription_segment")
    assert await migrate(empty_database.settings, empty_database.password) == NAMES[1:]


async def test_of_two_that_start_at_once_one_migrates(empty_database: Database) -> None:
    both = await asyncio.gather(*(migrate(empty_database.settings, empty_database.password) for _ in range(2)))
    assert sorted(both) == [[], NAMES]


async def test_of_two_processes_that_start_at_once_one_migrates(empty_database: Database) -> None:
    program = (
        "import asyncio, sys, msgspec; from audio_text.settings import DatabaseSettings; "
        "from audio_text.adapters.migrations import migrate; "
        "settings = msgspec.json.decode(sys.argv[1], type=DatabaseSettings); "
        "print(len(asyncio.run(migrate(settings, sys.argv[2]))))"
    )
    settings = msgspec.json.encode(empty_database.settings)
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, settings, empty_database.password, stdout=asyncio.subprocess.PIPE
        )
        for _ in range(2)
    ]
    outputs = [(await process.communicate())[0].split()[-1] for process in processes]
    assert sorted(outputs) == [b"0", b"%d" % len(NAMES)]


async def test_a_migrator_waits_for_another_one_and_says_so(empty_database: Database) -> None:
    async with _lock_of_another_migrator(empty_database):
        with capture_logs() as logs, pytest.raises(DatabaseUnavailableError, match="Another process"):
            await migrate(empty_database.settings, empty_database.password, patience_seconds=0.1)
    assert [line["event"] for line in logs] == ["waiting_for_another_migrator"]


async def test_a_table_in_use_stops_a_migration_instead_of_the_service(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audio_text.adapters.migrations.LOCK_TIMEOUT", "50ms")
    reader = await database.connect()
    try:
        async with reader.transaction():
            await reader.execute("SELECT FROM transcription_job")
            with pytest.raises(DatabaseUnavailableError, match="locked"):
                await revert(database.settings, database.password)
    finally:
        await reader.close()


async def test_a_server_that_comes_up_late_is_waited_for(empty_database: Database) -> None:
    relay = Relay(empty_database)
    with capture_logs() as logs:
        async with asyncio.TaskGroup() as group:
            migrating = group.create_task(migrate(relay.database.settings, relay.database.password))
            await asyncio.sleep(0.3)
            async with relay:
                assert await migrating == NAMES
    waiting = next(line for line in logs if line["event"] == "waiting_for_database")
    assert (waiting["host"], waiting["port"]) == ("127.0.0.1", relay.database.settings.port)
    assert "refused" in waiting["reason"].lower() or "connect" in waiting["reason"].lower()


async def test_a_server_that_never_comes_up_is_not_waited_for_for_ever(empty_database: Database) -> None:
    nobody = Relay(empty_database).database
    with pytest.raises(DatabaseUnavailableError, match=f"No PostgreSQL answered at 127.0.0.1:{nobody.settings.port}"):
        await migrate(nobody.settings, nobody.password, patience_seconds=0.3)


async def test_a_wrong_password_is_told_at_once(empty_database: Database) -> None:
    with pytest.raises(ConfigurationError, match="AUDIO_TEXT_DATABASE_PASSWORD"):
        await migrate(empty_database.settings, "wrong")


async def test_a_missing_database_is_told_at_once(empty_database: Database) -> None:
    with pytest.raises(ConfigurationError, match='no database "nowhere"'):
        await migrate(empty_database.named("nowhere").settings, empty_database.password)


async def test_the_migrations_lead_to_the_tables_of_the_code() -> None:
    assert await _missing_changes(*TABLES) == []


class OtherStatus(StrEnum):
    pending = "pending"
    archived = "archived"


@pytest.mark.parametrize(
    ("changed", "change"),
    [
        ({"mood": Text(default=None, null=True)}, "mood"),
        ({"filename": Varchar(length=10, default=None)}, "filename"),
        ({"status": EnumVarchar("job_status", OtherStatus, default="pending")}, "status"),
    ],
    ids=["new column", "other type", "other label"],
)
async def test_a_change_of_the_tables_without_a_migration_is_noticed(changed: dict[str, Any], change: str) -> None:
    columns = {column._meta.name: column for column in TranscriptionJob._meta.columns}
    job = create_table_class(
        "TranscriptionJob", class_kwargs={"tablename": "transcription_job"}, class_members=columns | changed
    )
    [statement] = await _missing_changes(job, *TABLES[1:])
    assert change in statement


async def test_the_database_has_the_columns_that_the_tables_declare(database: Database) -> None:
    for table in TABLES:
        found = await _fetch(
            database,
            "SELECT attname, format_type(atttypid, atttypmod) AS type, attnotnull FROM pg_attribute "
            "WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped",
            table._meta.tablename,
        )
        declared = [
            (column._meta.db_column_name, TYPES.get(column.column_type, column.column_type), not column._meta.null)
            for column in table._meta.columns
        ]
        assert sorted(tuple(row.values()) for row in found) == sorted(declared)


async def test_the_database_knows_every_status_in_order(database: Database) -> None:
    [row] = await _fetch(database, "SELECT enum_range(NULL::job_status)::text[] AS labels")
    assert row["labels"] == [status.value for status in JobStatus]


def test_a_job_has_a_column_for_each_of_its_fields_and_an_attempt_too() -> None:
    columns = {table: {column._meta.name for column in table._meta.columns} for table in TABLES}
    assert columns[TranscriptionJob] == {*Job.__struct_fields__, "usage_day", "is_unannounced", "words"}
    assert columns[TranscriptionAttempt] == {*AttemptRecord.__struct_fields__, "id", "job_id"}


TYPES = {
    "VARCHAR": "character varying",
    "VARCHAR[]": "character varying[]",
    "TEXT": "text",
    "BOOLEAN": "boolean",
    "SMALLINT": "smallint",
    "BIGINT": "bigint",
    "BIGSERIAL": "bigint",
    "INTEGER": "integer",
    "INTEGER[]": "integer[]",
    "DOUBLE PRECISION": "double precision",
    "TSVECTOR": "tsvector",
    "TIMESTAMPTZ": "timestamp with time zone",
    "JSONB": "jsonb",
    "DATE": "date",
}


async def _missing_changes(*tables: type[Table]) -> list[str]:
    """What Piccolo would write into a further migration."""
    config = AppConfig(
        app_name=APP_CONFIG.app_name,
        migrations_folder_path=APP_CONFIG.migrations_folder_path,
        table_classes=list(tables),
    )
    changes = await AutoMigrationManager(auto_input="y").get_alter_statements(config)
    return [statement for change in changes for statement in change.statements]


async def _fetch(database: Database, query: str, *args: object) -> list[Any]:
    connection = await database.connect()
    try:
        return await connection.fetch(query, *args)
    finally:
        await connection.close()


@asynccontextmanager
async def _lock_of_another_migrator(database: Database) -> AsyncGenerator[None]:
    connection = await database.connect()
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
        yield
    finally:
        await connection.close()
