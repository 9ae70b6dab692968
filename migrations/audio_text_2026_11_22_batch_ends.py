from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from audio_text.adapters.piccolo_conf import DB

ID = "2026-11-22T20:30:00:000025"
VERSION = "1.38.0"
DESCRIPTION = "Whatever finishes a batch stores what its owner's webhooks are told of it"

# One event: its id is that of the batch, which is finished once.
BATCH_FINISHED = """
CREATE FUNCTION tell_batch_end() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    counts jsonb;
BEGIN
    SELECT jsonb_build_object(
        'completed', count(*) FILTER (WHERE status = 'completed'),
        'failed', count(*) FILTER (WHERE status = 'failed'),
        'cancelled', count(*) FILTER (WHERE status = 'cancelled')
    ) INTO counts FROM transcription_job WHERE batch_id = NEW.id;
    PERFORM enqueue_event(
        NEW.owner, 'batch.completed', ('evt_batch_' || replace(NEW.id, '-', ''))::varchar, NEW.id,
        jsonb_build_object(
            'id', NEW.id, 'size', NEW.size, 'counts', counts, 'description', NEW.description,
            'metadata', NEW.metadata, 'created_at', NEW.created_at, 'finished_at', NEW.finished_at
        )
    );
    RETURN NULL;
END $$
"""

TRIGGER = """
CREATE TRIGGER batch_finished AFTER UPDATE OF finished_at ON batch FOR EACH ROW
WHEN (OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL) EXECUTE FUNCTION tell_batch_end()
"""


async def create() -> None:
    for statement in (BATCH_FINISHED, TRIGGER):
        await DB.run_ddl(statement)


async def drop() -> None:
    await DB.run_ddl("DROP TRIGGER batch_finished ON batch")
    await DB.run_ddl("DROP FUNCTION tell_batch_end()")


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
