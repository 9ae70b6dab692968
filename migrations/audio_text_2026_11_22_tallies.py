from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from audio_text.adapters.piccolo_conf import DB

ID = "2026-11-22T20:30:00:000024"
VERSION = "1.38.0"
DESCRIPTION = "Indexes that lead to batches, and from each to its jobs"

# Nobody in particular is an owner like any other. A job of no batch is in no index.
INDEXES = {
    "batch_key": "UNIQUE INDEX batch_key ON batch ((COALESCE(owner, '')), key) WHERE key IS NOT NULL",
    "batch_unfinished": "INDEX batch_unfinished ON batch (created_at) WHERE finished_at IS NULL",
    "batch_newest": "INDEX batch_newest ON batch (created_at DESC, id DESC)",
    "transcription_job_batch": (
        "INDEX transcription_job_batch ON transcription_job (batch_id, creation_date) WHERE batch_id IS NOT NULL"
    ),
}


async def create() -> None:
    for index in INDEXES.values():
        await DB.run_ddl(f"CREATE {index}")


async def drop() -> None:
    for name in INDEXES:
        await DB.run_ddl(f"DROP INDEX {name}")


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
