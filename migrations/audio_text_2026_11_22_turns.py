from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from audio_text.adapters.piccolo_conf import DB

ID = "2026-11-22T15:00:00:000005"
VERSION = "1.38.0"
DESCRIPTION = "Indexes for priorities and for the upkeep of the table"

NEW = {
    # The next job of a tier is among the first entries, however many wait: before it come those in work or put off.
    # It holds no column that a heartbeat or a progress update changes, so that these touch no index at all.
    "transcription_job_turn": "(tier, priority DESC, creation_date, id) WHERE status IN ('pending', 'processing')",
    # Whether a recording may be deleted: a failed or cancelled job may still be retried.
    "transcription_job_needed": "(object_key) WHERE status IN ('pending', 'processing', 'failed', 'cancelled')",
    # The rest hold few rows: those that somebody has to look at.
    "transcription_job_running": "(tier) WHERE status = 'processing'",
    "transcription_job_dead_letter": "(finished_at DESC, id DESC) WHERE is_dead_letter",
    "transcription_job_unannounced": "(finished_at, id) WHERE is_unannounced",
    "transcription_job_expiry": (
        "(expires_at, id) WHERE expires_at IS NOT NULL AND status IN ('completed', 'failed', 'cancelled')"
    ),
}

OLD = {
    "transcription_job_claim": "(tier, creation_date, id) WHERE status IN ('pending', 'processing')",
    "transcription_job_object": "(object_key) WHERE status IN ('pending', 'processing')",
}


async def _replace(old: dict[str, str], new: dict[str, str]) -> None:
    # Building an index lets readers through and dropping one does not: that comes last, and takes no time.
    for name, columns in new.items():
        await DB.run_ddl(f"CREATE INDEX {name} ON transcription_job {columns}")
    for name in old:
        await DB.run_ddl(f"DROP INDEX {name}")


async def create() -> None:
    await _replace(OLD, NEW)


async def drop() -> None:
    await _replace(NEW, OLD)


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
