"""Jobs whose last worker died, in the real table: several processes look, and each end is told once."""

import asyncio
from contextlib import AsyncExitStack

from audio_text.adapters.database import open_database
from audio_text.adapters.repository import PiccoloJobRepository
from audio_text.ports import Resources
from audio_text.services.reconciliation import ReconciliationService
from factories import make_job, make_settings
from fakes.events import FakeEventServer, FakeEventStream
from fakes.queue import FakeJobQueue
from fakes.store import FakeAudioStore
from services.database import Database


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
                Resources(jobs=jobs, store=FakeAudioStore(), queue=FakeJobQueue(), events=FakeEventStream(server)),
                settings=settings,
            )
            for jobs in repositories
        ]

        await asyncio.gather(*(service.tell_ends() for service in services))

        ended = await first.get(job.id)
        assert (ended.status.value, ended.error_code, ended.is_dead_letter) == ("failed", "worker_lost", True)
        assert [(update.job_id, update.status) for update in server.updates] == [(job.id, ended.status)]
        assert await first.unannounced(seconds=-1, limit=10) == []
