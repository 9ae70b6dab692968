"""The worker as a process: it never lives on half dead, says why it does not start, and is replaced in time."""

import asyncio
import sys
from pathlib import Path

import msgspec

from audio_text.settings import Settings
from recordings import DATA
from services.api import Api
from services.database import Database
from services.relay import Relay
from services.up import clean_environment
from services.waiting import until
from services.worker import worker_process


async def test_a_second_sigterm_ends_a_worker_that_cannot_end_in_good_order(
    database: Database, api_settings: Settings, tmp_path: Path
) -> None:
    async with Relay(database) as relay:
        settings = msgspec.structs.replace(api_settings, database=relay.database.settings)
        starting = worker_process(settings, tmp_path, "audio_small")
        worker = await asyncio.to_thread(starting.__enter__)
        try:
            relay.is_silent = True  # saying good-bye to the database takes until its patience ends
            worker.process.terminate()
            await until(lambda: worker.logged("worker_stopping"))
            assert worker.process.poll() is None
            worker.process.terminate()
            assert await asyncio.to_thread(worker.process.wait, 5) == 1
            assert worker.logged("worker_killed_by_second_signal")
        finally:
            await asyncio.to_thread(starting.__exit__, None, None, None)


async def test_a_worker_that_cannot_have_its_model_ends_and_says_so(tmp_path: Path) -> None:
    environment = clean_environment(
        AUDIO_TEXT_ENGINE_PRELOAD="tiny",
        AUDIO_TEXT_ENGINE_OFFLINE="true",
        AUDIO_TEXT_ENGINE_CACHE_FOLDER=str(tmp_path / "models"),
        AUDIO_TEXT_STORE_KIND="disk",
        AUDIO_TEXT_DISK_FOLDER=str(tmp_path / "audio"),
        AUDIO_TEXT_DISK_SIGNING_KEY="a signing key that only tests know!",
        AUDIO_TEXT_DATABASE_PORT="1",
        AUDIO_TEXT_DATABASE_PASSWORD="unused",
        AUDIO_TEXT_REDIS_PORT="1",
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "audio_text", "worker", "audio_small"),
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    _, output = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1, output.decode()
    assert "tiny" in output.decode().splitlines()[-1]
    assert output.decode().splitlines()[-1].startswith("error: ")


async def test_a_worker_that_has_run_its_jobs_ends_in_good_order(api: Api, tmp_path: Path) -> None:
    limits = msgspec.structs.replace(api.settings.worker, recycle_after_jobs=2)
    recording = await asyncio.to_thread((DATA / "one_a.flac").read_bytes)
    jobs = [await api.submit("talk.flac", recording, mode="demo") for _ in range(2)]
    with worker_process(msgspec.structs.replace(api.settings, worker=limits), tmp_path, "audio_small") as worker:
        await until(lambda: worker.process.poll() is not None)
        assert worker.process.returncode == 0
        assert [line["jobs"] for line in worker.logged("worker_recycling")] == [2]
    for job in jobs:
        assert (await api.client.get(f"/api/v1/job/status/{job['id']}")).json()["status"] == "completed"
