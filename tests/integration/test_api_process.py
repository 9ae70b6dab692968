"""The API as a process: how it starts, how it stops, and what it survives."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psutil
import pytest

import media
from audio_text.api import serve
from audio_text.bootstrap import open_resources
from audio_text.errors import ConfigurationError
from audio_text.settings import Settings
from services.api import api_process, in_one_task
from services.live import BROKEN, Worker, following, receive, to_the_end
from services.waiting import until


def changed(settings: Settings, **fields: Any) -> Settings:
    return msgspec.structs.replace(settings, api=msgspec.structs.replace(settings.api, **fields))


async def in_vain(request: Awaitable[httpx.Response]) -> None:
    with suppress(httpx.HTTPError):
        await request


def is_running(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


async def test_a_running_upload_is_finished_after_sigterm(shared_api_settings: Settings, tmp_path: Path) -> None:
    data = media.wav(20.0)
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield data[:100_000]
        reached.set()
        await go_on.wait()
        yield data[100_000:]

    with api_process(shared_api_settings, tmp_path) as api:
        async with httpx.AsyncClient(base_url=f"http://{api.address}", timeout=30) as client:
            answer = await client.post(
                "/api/v1/audio/presigned-url", json={"filename": "talk.wav", "file_size": len(data)}
            )
            async with asyncio.TaskGroup() as group:
                put = group.create_task(client.put(answer.json()["url"], content=body()))
                await reached.wait()
                await asyncio.sleep(0.2)
                ending = group.create_task(asyncio.to_thread(api.terminate))
                await asyncio.sleep(0.5)
                assert not ending.done()
                go_on.set()
        assert put.result().status_code == 200
        assert ending.result() == 0


async def test_a_request_that_does_not_end_is_cut_off_when_the_drain_is_over(
    shared_api_settings: Settings, tmp_path: Path
) -> None:
    reached = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield b"RIFF"
        reached.set()
        await asyncio.sleep(60)

    with api_process(changed(shared_api_settings, drain_seconds=1), tmp_path) as api:
        async with httpx.AsyncClient(base_url=f"http://{api.address}", timeout=30) as client:
            answer = await client.post("/api/v1/audio/presigned-url", json={"filename": "talk.wav", "file_size": 100})
            async with asyncio.TaskGroup() as group:
                put = group.create_task(in_vain(client.put(answer.json()["url"], content=endless())))
                await reached.wait()
                assert await asyncio.to_thread(api.terminate) == 0
                put.cancel()


async def test_followers_are_sent_elsewhere_on_sigterm(shared_api_settings: Settings, tmp_path: Path) -> None:
    async with in_one_task(open_resources(shared_api_settings, name="test", live=False)) as resources:
        job = await Worker(resources).submitted()
    with api_process(shared_api_settings, tmp_path) as api:
        async with following(api, job.id) as socket:
            await receive(socket)
            await receive(socket)
            status = await asyncio.to_thread(api.terminate)
            _, code = await to_the_end(socket)
    assert status == 0
    assert code == BROKEN


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.1, 0.3, 0.6])
async def test_a_sigterm_that_meets_starting_workers_ends_everything(
    shared_api_settings: Settings, tmp_path: Path, delay: float
) -> None:
    with api_process(changed(shared_api_settings, processes=2), tmp_path, wait=False) as api:
        await until(lambda: b"Spawning worker-2" in api.log.read_bytes())
        await asyncio.sleep(delay)
        workers = api.workers()
        assert await asyncio.to_thread(api.terminate) == 0
        await until(lambda: not any(is_running(worker) for worker in workers))
    assert b"refused to gracefully stop" not in api.log.read_bytes()


async def test_a_sigterm_that_is_repeated_all_the_time_ends_everything(
    shared_api_settings: Settings, tmp_path: Path
) -> None:
    with api_process(changed(shared_api_settings, processes=2), tmp_path, wait=False) as api:
        await until(lambda: b"Starting granian" in api.log.read_bytes())

        def has_ended() -> bool:
            for process in (*api.workers(), psutil.Process(api.process.pid)):
                with suppress(psutil.NoSuchProcess):
                    process.terminate()
            return api.process.poll() is not None

        await until(has_ended)
    assert b"refused to gracefully stop" not in api.log.read_bytes()


async def test_a_worker_that_was_killed_is_replaced(shared_api_settings: Settings, tmp_path: Path) -> None:
    with api_process(changed(shared_api_settings, processes=1), tmp_path) as api:
        (worker,) = api.workers()
        worker.kill()

        def answers() -> bool:
            try:
                return httpx.get(f"http://{api.address}/health/live").is_success
            except httpx.HTTPError:
                return False

        await until(lambda: not is_running(worker))
        await until(answers)
        assert await asyncio.to_thread(api.terminate) == 0


async def test_no_worker_outlives_the_main_process(shared_api_settings: Settings, tmp_path: Path) -> None:
    with api_process(changed(shared_api_settings, processes=2), tmp_path) as api:
        workers = api.workers()
        assert len(workers) == 2
        api.process.kill()
        await until(lambda: not any(is_running(worker) for worker in workers))


async def test_a_second_service_on_the_same_port_does_not_start(shared_api_settings: Settings, tmp_path: Path) -> None:
    with api_process(shared_api_settings, tmp_path) as api, pytest.raises(ConfigurationError, match=r"api\.port"):
        serve.main(api.settings)
