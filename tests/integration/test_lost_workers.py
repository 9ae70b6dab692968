"""Jobs whose worker died: whoever comes after it goes on at once, and each end is told once."""

import asyncio
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path

from audio_text.adapters.database import open_database
from audio_text.adapters.repository import PiccoloJobRepository
from audio_text.domain.job import AttemptEnd
from audio_text.ports import Resources
from audio_text.services.reconciliation import ReconciliationService
from factories import make_job, make_settings
from fakes.batches import FakeBatchRepository
from fakes.events import FakeEventServer, FakeEventStream
from fakes.queue import FakeJobQueue
from fakes.repository import FakeJobRepository
from fakes.store import FakeAudioStore
from services.commands import COMMAND, environ
from services.database import Database
from services.redis import RedisServer


async def test_the_end_of_a_job_that_lost_its_last_worker_is_told_once(database: Database) -> None:
    server = FakeEventServer()
    settings = make_settings({"tiers.audio_small.retry.retries": 0})
    async with AsyncExitStack() as stack:
        repositories = [
            PiccoloJobRepository(
                await stack.enter_async_context(
                    open_database(database.settings, database.password, application_name=f"worker-{number}")
                )
            )
            for number in range(3)
        ]
        first = repositories[0]
        job = make_job()
        await first.add(job)
        assert await first.claim("audio_small", owner="a worker that died", lease_seconds=-1)
        services = [
            ReconciliationService(
                Resources(
                    jobs=jobs,
                    batches=FakeBatchRepository(FakeJobRepository()),
                    store=FakeAudioStore(),
                    queue=FakeJobQueue(),
                    events=FakeEventStream(server),
                ),
                settings=settings,
            )
            for jobs in repositories
        ]

        await asyncio.gather(*(service.tell_ends() for service in services))

        ended = await first.get(job.id)
        assert (ended.status.value, ended.error_code, ended.is_dead_letter) == ("failed", "worker_lost", True)
        assert [(update.job_id, update.status) for update in server.updates] == [(job.id, ended.status)]
        assert await first.unannounced(seconds=-1, limit=10) == []


async def test_the_process_that_a_supervisor_starts_for_a_dead_one_does_not_wait_for_its_leases(
    database: Database, redis_server: RedisServer, tmp_path: Path
) -> None:
    async with open_database(database.settings, database.password, application_name="test") as engine:
        jobs = PiccoloJobRepository(engine)
        job = make_job()
        await jobs.add(job)
        assert await jobs.claim("audio_small", owner="pod-7/audio_small", lease_seconds=3_600)

        command = [*COMMAND, "worker", "--name", "pod-7", "audio_small", "audio_large"]
        environment = environ(database, redis_server, tmp_path)
        with await asyncio.to_thread(subprocess.Popen, command, env=environment) as supervisor:
            try:
                async with asyncio.timeout(60):
                    while not (ended := await jobs.get(job.id)).status.is_terminal:
                        await asyncio.sleep(0.05)
            finally:
                supervisor.terminate()

        assert ended.error_code == "upload_missing"  # nothing was ever uploaded: somebody looked for it
        assert [(attempt.owner, attempt.end) for attempt in await jobs.attempts(job.id)] == [
            ("pod-7/audio_small", AttemptEnd.lost),
            ("pod-7/audio_small", AttemptEnd.failed),
        ]
