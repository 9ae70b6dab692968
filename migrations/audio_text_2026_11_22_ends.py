from piccolo.apps.migrations.auto.migration_manager import MigrationManager

from audio_text.adapters.piccolo_conf import DB

# Directly behind the tables: Piccolo runs such statements before it creates a migration's own.
ID = "2026-11-22T20:30:00:0000221"
VERSION = "1.38.0"
DESCRIPTION = "Whatever ends a job stores what its owner's webhooks are told of it, and indexes for that"

INDEXES = {
    # Which lanes have anything to do, and what is next in each.
    "delivery_due": "delivery (lane, due_at, id) WHERE status = 'pending'",
    # What is about the same job goes out in order.
    "delivery_order": "delivery (lane, subject, created_at) WHERE status = 'pending'",
    "delivery_log": "delivery (endpoint_id, created_at, id)",
    "delivery_age": "delivery (created_at, id)",
    "webhook_endpoint_owner": "webhook_endpoint (owner)",
}

# One delivery per endpoint that asked for it, in the transaction of whoever calls this: an event and what it says exist
# together or not at all, and once per `event_id`. The lock makes an endpoint that is just being deleted no endpoint.
# clock_timestamp: a transaction that waited for a lock began before the one it waited for.
ENQUEUE = """
CREATE FUNCTION enqueue_event(of_owner varchar, kind varchar, id varchar, about varchar, facts jsonb)
RETURNS void LANGUAGE sql AS $$
    INSERT INTO delivery (id, kind, lane, owner, endpoint_id, event_type, event_id, subject, payload, created_at, due_at)
    SELECT gen_random_uuid()::text, 'webhook', endpoint.id, endpoint.owner, endpoint.id, $2, $3, $4,
           jsonb_build_object('type', $2, 'timestamp', now(), 'data', $5), clock_timestamp(), now()
    FROM webhook_endpoint AS endpoint
    WHERE (endpoint.owner = $1 OR endpoint.owner IS NULL AND $1 IS NULL) AND endpoint.events ? $2
    FOR KEY SHARE
    ON CONFLICT (endpoint_id, event_id) DO NOTHING
$$
"""

# Not what was said: a transcript may be of any length, and is its reader's to fetch, with a key.
JOB_ENDED = """
CREATE FUNCTION tell_job_end() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM enqueue_event(
        NEW.owner, ('job.' || NEW.status)::varchar, ('evt_' || replace(gen_random_uuid()::text, '-', ''))::varchar, NEW.id,
        jsonb_build_object(
            'id', NEW.id, 'status', NEW.status, 'filename', NEW.filename, 'description', NEW.description,
            'metadata', NEW.metadata, 'batch_id', NEW.batch_id, 'whisper_model', NEW.whisper_model,
            'language', NEW.language, 'language_probability', NEW.language_probability, 'duration', NEW.duration,
            'processing_time_seconds', NEW.processing_time_seconds, 'error_code', NEW.error_code,
            'error_message', NEW.error_message, 'creation_date', NEW.creation_date, 'finished_at', NEW.finished_at
        )
    );
    RETURN NULL;
END $$
"""

# Whatever statement ends a job, of whatever version of the code: its row changes its status once.
TRIGGER = """
CREATE TRIGGER transcription_job_ended AFTER UPDATE OF status ON transcription_job FOR EACH ROW
WHEN (OLD.status IS DISTINCT FROM NEW.status AND NEW.status IN ('completed', 'failed', 'cancelled'))
EXECUTE FUNCTION tell_job_end()
"""


async def create() -> None:
    for name, columns in INDEXES.items():
        await DB.run_ddl(f"CREATE INDEX {name} ON {columns}")
    for statement in (ENQUEUE, JOB_ENDED, TRIGGER):
        await DB.run_ddl(statement)


async def drop() -> None:
    for name in INDEXES:
        await DB.run_ddl(f"DROP INDEX {name}")
    await DB.run_ddl("DROP TRIGGER transcription_job_ended ON transcription_job")
    await DB.run_ddl("DROP FUNCTION tell_job_end()")
    await DB.run_ddl("DROP FUNCTION enqueue_event(varchar, varchar, varchar, varchar, jsonb)")


async def forwards() -> MigrationManager:
    manager = MigrationManager(migration_id=ID, app_name="audio_text", description=DESCRIPTION)
    manager.add_raw(create)
    manager.add_raw_backwards(drop)
    return manager
