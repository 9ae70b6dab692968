"""`audio-text dead-letters` as an operator runs it, against real servers."""

import asyncio
import subprocess
from pathlib import Path

from audio_text.adapters.database import open_database
from audio_text.adapters.repository import PiccoloJobRepository
from audio_text.domain.job import Failed, JobStatus
from audio_text.domain.object_keys import new_key
from audio_text.ports import Claim
from factories import make_chunk, make_job, make_segment
from services.commands import COMMAND, environ
from services.database import Database
from services.redis import RedisServer


class Operator:
    """Somebody at a terminal with the service's environment."""

    def __init__(self, database: Database, redis_server: RedisServer, folder: Path) -> None:
        self.environ = environ(database, redis_server, folder)

    async def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, "dead-letters", *arguments]
        return await asyncio.to_thread(
            subprocess.run, command, env=self.environ, capture_output=True, text=True, check=False, timeout=60
        )


async def test_an_operator_sees_a_dead_letter_requeues_it_and_drops_another(
    database: Database, redis_server: RedisServer, tmp_path: Path
) -> None:
    operator = Operator(database, redis_server, tmp_path)
    async with open_database(database.settings, database.password, application_name="test") as pool:
        jobs = PiccoloJobRepository(pool)
        requeued, dropped = [await _die(jobs, tmp_path) for _ in range(2)]

        listed = await operator.run("list")
        assert (listed.returncode, len(listed.stdout.splitlines())) == (0, 2), listed.stderr
        shown = await operator.run("show", requeued)
        assert shown.returncode == 0
        assert "out_of_memory: Full." in shown.stdout
        assert "a worker from 0.0 s, failed" in shown.stdout

        assert (await operator.run("requeue", requeued)).stdout == f"{requeued} is pending on audio_small.\n"
        assert (await operator.run("drop", dropped)).returncode == 0
        assert (await jobs.get(requeued)).status is JobStatus.pending
        assert (await jobs.get(dropped)).status is JobStatus.failed

        empty = await operator.run("list")
        assert (empty.returncode, empty.stdout) == (0, "")
        again = await operator.run("drop", dropped)
        assert again.returncode == 1
        assert again.stderr.endswith("error: This job is failed, and no dead letter.\n")


async def test_an_unknown_id_is_a_sentence_and_exit_code_1(
    database: Database, redis_server: RedisServer, tmp_path: Path
) -> None:
    operator = Operator(database, redis_server, tmp_path)
    for act in ("show", "requeue", "drop"):
        told = await operator.run(act, "nobody")
        assert (told.returncode, told.stdout) == (1, "")
        assert told.stderr.endswith("error: There is no job with this id.\n")


async def _die(jobs: PiccoloJobRepository, folder: Path) -> str:
    """A job whose recording is stored, and whose last attempt failed in its second segment."""
    job = make_job(object_key=new_key("wav"))
    recording = folder / job.object_key
    recording.parent.mkdir(parents=True, exist_ok=True)
    recording.write_bytes(b"audio")
    await jobs.add(job)
    claimed = await jobs.claim(job.tier, owner="a worker", lease_seconds=60)
    assert claimed is not None
    claim = Claim(claimed.id, claimed.claims)
    assert await jobs.record(claim, make_chunk(make_segment(0)))
    failure = Failed(
        error_code="out_of_memory", error_message="Full.", processing_time_seconds=1.0, is_dead_letter=True
    )
    assert await jobs.fail(claim, failure)
    return claimed.id
