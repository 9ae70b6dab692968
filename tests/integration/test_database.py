"""The pool: what it costs, and how it lives through the outages of a server."""

import asyncio
import inspect
import random
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable
from contextlib import suppress

import asyncpg
import msgspec
import pytest
from asyncpg import exceptions
from piccolo.querystring import QueryString

from audio_text.adapters.database import PooledEngine, open_database, vendor_errors
from audio_text.adapters.repository import PiccoloJobRepository
from audio_text.domain.idempotency import IdempotencyKey
from audio_text.domain.job import AttemptEnd, Completed, Failed, Retention
from audio_text.domain.listing import JobQuery
from audio_text.errors import AudioTextError, DatabaseNotMigratedError, DatabaseUnavailableError
from audio_text.ports import Again, Claim, Notes, Released
from factories import make_chunk, make_job, make_segment
from services.database import Database
from services.relay import Relay

TIER = "audio_small"
COMPLETED = Completed(
    result_text="",
    duration=1.0,
    duration_after_vad=0.0,
    processing_time_seconds=0.1,
    language=None,
    language_probability=None,
)
FAILED = Failed(error_code="c", error_message="m", processing_time_seconds=0.1)
HANDED_BACK = Released(end=AttemptEnd.handed_back)
KEY = IdempotencyKey(text="k", fingerprint="f", seconds=60)
RETENTION = Retention(completed_seconds=0.0, retryable_seconds=None)


HOLDER = """
import asyncio, sys
import msgspec
from audio_text.adapters import database
from audio_text.adapters.repository import PiccoloJobRepository
from audio_text.errors import DatabaseUnavailableError
from audio_text.settings import DatabaseSettings

async def main():
    settings, password = msgspec.json.decode(sys.argv[1], type=tuple[DatabaseSettings, str])
    async with database.open_database(settings, password, application_name="holder") as engine:
        try:
            async with PiccoloJobRepository(engine).exclusively("sweep") as is_held:
                print("held" if is_held else "free", flush=True)
                await asyncio.sleep(60)
        except DatabaseUnavailableError as error:
            print(error.code, flush=True)

database.SILENT_SECONDS = 2.0
asyncio.run(main())
"""


@pytest.fixture
async def engine(database: Database) -> AsyncGenerator[PooledEngine]:
    async with open_database(database.settings, database.password, application_name="audio-text test") as opened:
        yield opened


@pytest.fixture
def jobs(engine: PooledEngine) -> PiccoloJobRepository:
    return PiccoloJobRepository(engine)


def limited(database: Database, **keys: object) -> Database:
    return Database(msgspec.structs.replace(database.settings, **keys), database.password)


async def test_connections_are_named_by_their_owner(database: Database, engine: PooledEngine) -> None:
    rows = await engine.run_querystring(QueryString("SELECT current_setting('application_name') AS name"))
    assert [dict(row) for row in rows] == [{"name": "audio-text test"}]


async def test_importing_the_adapters_opens_nothing() -> None:
    program = (
        "import socket, sys\n"
        "def refuse(*_): raise AssertionError('a socket was opened')\n"
        "socket.socket.connect = refuse\n"
        "socket.socket.connect_ex = refuse\n"
        "for name in ('tables', 'piccolo_app', 'piccolo_conf', 'database', 'repository', 'migrations', 'rows'):\n"
        "    __import__(f'audio_text.adapters.{name}')\n"
    )
    process = await asyncio.create_subprocess_exec(sys.executable, "-W", "error", "-c", program)
    assert await process.wait() == 0


async def test_the_pool_opens_while_the_server_is_down_and_recovers_by_itself(database: Database) -> None:
    relay = Relay(database)
    async with open_database(relay.database.settings, relay.database.password, application_name="t") as engine:
        jobs = PiccoloJobRepository(engine)
        with pytest.raises(DatabaseUnavailableError):
            await jobs.check()
        async with relay:
            await jobs.add(make_job(tier=TIER))
        with pytest.raises(DatabaseUnavailableError):
            await jobs.claim(TIER, owner="w", lease_seconds=60)
        async with relay:
            assert await jobs.claim(TIER, owner="w", lease_seconds=60) is not None


async def test_a_connection_that_died_while_idle_costs_nothing(database: Database, jobs: PiccoloJobRepository) -> None:
    job = make_job(tier=TIER)
    await jobs.add(job)
    for use in (
        lambda: jobs.get(job.id),
        lambda: jobs.claim(TIER, owner="w", lease_seconds=60),
        lambda: jobs.record(Claim(job.id, 1), make_chunk(make_segment())),
        lambda: jobs.release(Claim(job.id, 1), delay_seconds=0.0, reason=HANDED_BACK),
    ):
        await terminate_others(database)
        assert await use()


async def test_a_read_whose_connection_breaks_is_repeated_on_another(database: Database) -> None:
    job = make_job(tier=TIER)
    async with (
        Relay(database) as relay,
        open_database(relay.database.settings, relay.database.password, application_name="t") as engine,
    ):
        jobs = PiccoloJobRepository(engine)
        await jobs.add(job)
        relay.is_silent = True  # the statement is sent, and its answer never comes
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(jobs.get(job.id))
            claiming = group.create_task(outcome_of(jobs.claim(TIER, owner="w", lease_seconds=60)))
            await asyncio.sleep(0.1)
            relay.is_silent = False
            await relay.cut()
        assert reading.result() == job
        assert isinstance(claiming.result(), DatabaseUnavailableError)


async def test_a_server_that_says_nothing_is_given_up_after_a_while(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audio_text.adapters.database.CLIENT_GRACE_SECONDS", 0.1)
    async with (
        Relay(limited(database, timeout_seconds=0.2)) as relay,
        open_database(relay.database.settings, relay.database.password, application_name="t") as engine,
    ):
        jobs = PiccoloJobRepository(engine)
        await jobs.check()
        relay.is_silent = True
        with pytest.raises(DatabaseUnavailableError):
            await jobs.check()


async def test_a_slow_statement_is_ended(database: Database) -> None:
    hasty = limited(database, timeout_seconds=0.1)
    async with open_database(hasty.settings, hasty.password, application_name="t") as engine:
        with pytest.raises(DatabaseUnavailableError), vendor_errors():
            await engine.run_querystring(QueryString("SELECT pg_sleep(60)"))
        await PiccoloJobRepository(engine).check()


async def test_the_wait_for_a_free_connection_ends(database: Database) -> None:
    narrow = limited(database, timeout_seconds=0.2, pool_max=1)
    async with open_database(narrow.settings, narrow.password, application_name="t") as engine:
        async with engine.pool.acquire():
            with pytest.raises(DatabaseUnavailableError):
                await PiccoloJobRepository(engine).check()
        await PiccoloJobRepository(engine).check()


async def test_random_cancellations_do_not_exhaust_the_pool(database: Database) -> None:
    narrow = limited(database, pool_max=3)
    chance = random.Random(7)
    async with open_database(narrow.settings, narrow.password, application_name="t") as engine:
        jobs = PiccoloJobRepository(engine)

        async def submit_and_claim() -> None:
            with suppress(TimeoutError):
                async with asyncio.timeout(chance.uniform(0, 0.03)):
                    await jobs.add(make_job(tier=TIER))
                    await jobs.claim(TIER, owner="w", lease_seconds=60)

        for _ in range(30):
            await asyncio.gather(*(submit_and_claim() for _ in range(10)))
        async with asyncio.timeout(10):
            await asyncio.gather(*(jobs.check() for _ in range(9)))
        assert engine.pool.get_size() == engine.pool.get_idle_size() <= 3


async def test_a_task_that_waits_for_a_silent_server_can_be_cancelled(database: Database) -> None:
    async with (
        Relay(database) as relay,
        open_database(relay.database.settings, relay.database.password, application_name="t") as engine,
    ):
        jobs = PiccoloJobRepository(engine)
        await jobs.check()
        relay.is_silent = True
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(outcome_of(jobs.check()))
            await asyncio.sleep(0.1)
            asking.cancel()
        assert asking.cancelled()
        await relay.cut()


async def test_a_closed_pool_is_a_database_that_is_not_there(database: Database) -> None:
    async with open_database(database.settings, database.password, application_name="t") as engine:
        jobs = PiccoloJobRepository(engine)
    for use in (jobs.check(), jobs.get("x"), jobs.add(make_job()), jobs.claim(TIER, owner="w", lease_seconds=1)):
        with pytest.raises(DatabaseUnavailableError):
            await use


async def test_a_database_without_tables_says_what_to_do(empty_database: Database) -> None:
    async with open_database(empty_database.settings, empty_database.password, application_name="t") as engine:
        with pytest.raises(DatabaseUnavailableError, match="audio-text migrate"):
            await PiccoloJobRepository(engine).get("x")


@pytest.mark.parametrize("change", ["DROP TABLE idempotency_key", "ALTER TABLE transcription_job DROP COLUMN words"])
async def test_a_database_that_lacks_a_migration_is_not_ready(
    database: Database, jobs: PiccoloJobRepository, change: str
) -> None:
    await jobs.check()
    connection = await database.connect()
    try:
        await connection.execute(change)
    finally:
        await connection.close()
    with pytest.raises(DatabaseNotMigratedError, match="audio-text migrate"):
        await jobs.check()


async def test_a_value_that_no_column_holds_is_a_defect_and_no_outage(jobs: PiccoloJobRepository) -> None:
    with pytest.raises(AudioTextError) as error:
        await jobs.add(make_job(file_size_bytes=2**80))
    assert not isinstance(error.value, DatabaseUnavailableError)


def test_no_error_of_the_driver_gets_past_the_adapter() -> None:
    of_the_driver = asyncpg.PostgresError | asyncpg.InterfaceError | asyncpg.InternalClientError
    vendors = [
        error for _, error in inspect.getmembers(exceptions, inspect.isclass) if issubclass(error, of_the_driver)
    ]
    assert len(vendors) > 200
    for vendor in vendors:
        with pytest.raises(AudioTextError), vendor_errors():
            raise vendor("something")


def test_piccolos_leaking_transaction_is_out_of_reach() -> None:
    with pytest.raises(NotImplementedError):
        PooledEngine(None, arguments={}, timeout_seconds=1).transaction()  # type: ignore[arg-type]


async def test_every_method_is_one_statement(engine: PooledEngine, jobs: PiccoloJobRepository) -> None:
    job = make_job(tier=TIER)
    claim = Claim(job.id, 1)
    async with engine.pool.acquire() as connection:  # the pool's only one so far, and the next to be lent
        statements: list[str] = []
        raw = connection._con
    raw.add_query_logger(lambda record: statements.append(record.query))
    counts = {}
    for name, use in {
        "add": lambda: jobs.add(job),
        "add under key": lambda: jobs.add(make_job(), key=KEY),
        "submitted": lambda: jobs.submitted(KEY),
        "forget_idempotency_keys": lambda: jobs.forget_idempotency_keys(limit=10),
        "get": lambda: jobs.get(job.id),
        "find": lambda: jobs.find(JobQuery(), limit=10),
        "claim": lambda: jobs.claim(TIER, owner="w", lease_seconds=60),
        "overdue": lambda: jobs.overdue(seconds=5),
        "next_lease_end": jobs.next_lease_end,
        "end_leases": lambda: jobs.end_leases("nobody"),
        "extend_lease": lambda: jobs.extend_lease(claim, lease_seconds=60),
        "record": lambda: jobs.record(claim, make_chunk(make_segment())),
        "segments": lambda: jobs.segments(job.id),
        "last_segment": lambda: jobs.last_segment(job.id),
        "release": lambda: jobs.release(claim, delay_seconds=0.0, reason=HANDED_BACK),
        "complete": lambda: jobs.complete(claim, COMPLETED),
        "fail": lambda: jobs.fail(claim, FAILED),
        "cancel": lambda: jobs.cancel(job.id),
        "retry": lambda: jobs.retry(job.id, again=Again(whisper_model="other")),
        "attempts": lambda: jobs.attempts(job.id),
        "dead_letters": lambda: jobs.dead_letters(limit=10),
        "annotate": lambda: jobs.annotate(job.id, notes=Notes(metadata={"a": "b"})),
        "drop_dead_letter": lambda: jobs.drop_dead_letter(job.id),
        "has_ends": lambda: jobs.has_ends({TIER: 1}, seconds=1.0),
        "end_exhausted": lambda: jobs.end_exhausted({TIER: 1}),
        "end_late": lambda: jobs.end_late(limit=10),
        "unannounced": lambda: jobs.unannounced(seconds=1.0, limit=10),
        "mark_announced": lambda: jobs.mark_announced([job.id]),
        "delete_expired": lambda: jobs.delete_expired(limit=10),
        "needed_objects": lambda: jobs.needed_objects({job.object_key}, retention=RETENTION),
        "delete": lambda: jobs.delete(job.id),
        "check": jobs.check,
    }.items():
        statements.clear()
        await use()
        counts[name] = list(statements)
    assert {name: len(found) for name, found in counts.items() if len(found) != 1} == {}, counts


async def test_what_is_held_exclusively_is_free_again_when_the_connection_of_its_holder_breaks(
    database: Database, jobs: PiccoloJobRepository
) -> None:
    async with (
        Relay(database) as relay,
        open_database(relay.database.settings, relay.database.password, application_name="t") as engine,
        PiccoloJobRepository(engine).exclusively("sweep") as is_held,
    ):
        assert is_held
        async with jobs.exclusively("sweep") as is_free:
            assert not is_free
        await relay.cut()
        async with asyncio.timeout(10):
            while not is_free:
                async with jobs.exclusively("sweep") as is_free:
                    pass


async def test_a_frozen_process_holds_nothing_for_long_and_learns_of_it_when_it_goes_on(
    database: Database, jobs: PiccoloJobRepository
) -> None:
    settings = msgspec.json.encode([database.settings, database.password]).decode()
    holder = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", HOLDER, settings, stdout=asyncio.subprocess.PIPE
    )
    assert holder.stdout is not None
    try:
        async with asyncio.timeout(60):
            assert await holder.stdout.readline() == b"held\n"
            async with jobs.exclusively("sweep") as is_free:
                assert not is_free
            holder.send_signal(signal.SIGSTOP)
            while not is_free:
                async with jobs.exclusively("sweep") as is_free:
                    await asyncio.sleep(0.1)
            holder.send_signal(signal.SIGCONT)
            assert await holder.stdout.readline() == b"database_unavailable\n"
    finally:
        holder.kill()
        await holder.wait()


async def test_long_work_is_held_exclusively_to_its_end(
    database: Database, jobs: PiccoloJobRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audio_text.adapters.database.SILENT_SECONDS", 2.0)
    async with jobs.exclusively("sweep") as is_held:
        assert is_held
        await asyncio.sleep(5.0)  # more than the server takes for a sign of death
        async with jobs.exclusively("sweep") as is_free:
            assert not is_free


async def test_exclusive_work_takes_no_connection_from_the_pool_and_leaves_none_open(database: Database) -> None:
    narrow = limited(database, timeout_seconds=0.5, pool_max=1)
    async with open_database(narrow.settings, narrow.password, application_name="sweeper") as engine:
        jobs = PiccoloJobRepository(engine)
        connections = QueryString("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'sweeper'")
        async with jobs.exclusively("sweep"):
            assert [dict(row) for row in await engine.run_querystring(connections)] == [{"count": 2}]
        async with asyncio.timeout(10):
            while [dict(row) for row in await engine.run_querystring(connections)] != [{"count": 1}]:
                await asyncio.sleep(0.01)


async def test_nothing_is_held_while_the_server_is_down(database: Database) -> None:
    relay = Relay(database)
    async with open_database(relay.database.settings, relay.database.password, application_name="t") as engine:
        with pytest.raises(DatabaseUnavailableError):
            async with PiccoloJobRepository(engine).exclusively("sweep"):
                pytest.fail("nobody can know who else is at work")


async def terminate_others(database: Database) -> None:
    connection = await database.connect()
    try:
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    finally:
        await connection.close()


async def outcome_of(use: Awaitable[object]) -> object:
    try:
        return await use
    except AudioTextError as error:
        return error
