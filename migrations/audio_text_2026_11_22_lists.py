from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from audio_text.adapters.piccolo_conf import DB

ID = "2026-11-22T20:30:00:000027"
VERSION = "1.38.0"
DESCRIPTION = "Indexes of each owner's jobs and batches: whoever has few need not look through everybody's"

# None holds a column that a heartbeat or a progress update changes; jobs that are nobody's in particular are in none.
INDEXES = {
    "transcription_job_owned": "transcription_job (owner, creation_date, id) WHERE owner IS NOT NULL",
    "transcription_job_owned_end": (
        "transcription_job (owner, (COALESCE(finished_at, 'infinity')), id) WHERE owner IS NOT NULL"
    ),
    "batch_owned": "batch (owner, created_at, id) WHERE owner IS NOT NULL",
}


async def create() -> None:
    for name, columns in INDEXES.items():
        await DB.run_ddl(f"CREATE INDEX {name} ON {columns}")


async def drop() -> None:
    for name in INDEXES:
        await DB.run_ddl(f"DROP INDEX {name}")


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
