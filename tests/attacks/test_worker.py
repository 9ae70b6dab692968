"""Hostile recordings and a real worker: it transcribes on, whatever somebody put in the place of what was probed."""

import asyncio
from collections import Counter
from pathlib import Path

import msgspec
import psutil

from attacks.corpus import corpus
from attacks.stage import JOB_SECONDS, exchanged, sample
from attacks.sweep import CODES
from attacks.watch import lures
from audio_text.domain.job import JobStatus
from recordings import DATA
from services.api import Api
from services.worker import worker_process

FILES = 40


async def test_a_worker_outlives_what_was_put_in_the_place_of_recordings(api: Api, tmp_path: Path) -> None:
    speech = await asyncio.to_thread((DATA / "one_a.flac").read_bytes)
    with lures(tmp_path) as watched:
        files = sample(corpus(tmp_path, url=watched.url, canary=watched.canary), FILES)
        jobs = [await exchanged(api, file) for file in files]
        last = await api.submit("speech.flac", speech, mode="demo")
        engine = msgspec.structs.replace(api.settings.engine, preload=["demo"])
        settings = msgspec.structs.replace(api.settings, engine=engine)
        with worker_process(settings, tmp_path, "audio_small") as worker:
            rows = [await api.ended(job, seconds=JOB_SECONDS) for job in jobs]
            after = await api.ended(last["id"], seconds=JOB_SECONDS)
            assert worker.process.poll() is None
            process = psutil.Process(worker.process.pid)
            assert len(process.children(recursive=True)) <= 1, "one waits for the next recording"
            assert [file for file in process.open_files() if str(tmp_path) in file.path] == [
                file for file in process.open_files() if file.path == str(worker.log)
            ]
            assert worker.logged("job_crashed") == worker.logged("job_will_be_retried") == []
        assert (watched.calls, watched.openings) == (0, 0)

    verdicts = {file.name: row.error_code or "heard" for file, row in zip(files, rows, strict=True)}
    assert set(verdicts.values()) <= CODES, verdicts
    assert len(Counter(verdicts.values())) > 1
    assert {row.attempt for row in rows} == {1}
    assert (after.status, after.attempt) == (JobStatus.completed, 1)
    assert after.result_text
