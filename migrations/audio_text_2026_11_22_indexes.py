from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from audio_text.adapters.piccolo_conf import DB

ID = "2026-11-22T13:00:00:000003"
VERSION = "1.38.0"
DESCRIPTION = "Indexes that Piccolo cannot declare: partial, or of several columns"

INDEXES = {
    # The next job of a tier is among the first entries, however many wait: before it come only those in work.
    # It holds no column that a heartbeat or a progress update changes, so that these touch no index at all.
    "transcription_job_claim": "(tier, creation_date, id) WHERE status IN ('pending', 'processing')",
    # Pages of recent jobs, from any point on.
    "transcription_job_newest": "(creation_date DESC, id DESC)",
    # Whether a recording may be deleted.
    "transcription_job_object": "(object_key) WHERE status IN ('pending', 'processing')",
}


async def create() -> None:
    for name, columns in INDEXES.items():
        await DB.run_ddl(f"CREATE INDEX {name} ON transcription_job {columns}")


async def drop() -> None:
    for name in INDEXES:
        await DB.run_ddl(f"DROP INDEX {name}")


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
