"""What a live connection may cost, and what becomes of it when a part of the service is away."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

import media
from audio_text.api.websocket import Close
from audio_text.bootstrap import ApiServices, open_api_services
from audio_text.domain.events import JobUpdate
from audio_text.domain.job import JobStatus
from audio_text.errors import AudioTextError
from audio_text.settings import Settings
from factories import make_segment
from services.api import Api, ApiProcess, api_process, running
from services.live import Worker, following, receive, to_the_end
from services.waiting import until

MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def server(shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    """One that waits half a second for a slow client, and keeps little for it."""
    events = replace(shared_api_settings.events, send_timeout_seconds=0.5, follower_buffer=16)
    settings = replace(shared_api_settings, events=events)
    with api_process(settings, tmp_path_factory.mktemp("server")) as process:
        yield process


class Socket:
    """A client of the application without a network in between."""

    def __init__(self, job_id: str) -> None:
        path = f"/api/v1/job/ws/{job_id}"
        self.scope: Any = {"type": "websocket", "path": path, "query_string": b"", "headers": [], "state": {}}
        self.greeted = asyncio.Event()
        self.has_left = False
        self.is_deaf = False
        self.sent: list[Any] = []
        self._said: asyncio.Queue[Any] = asyncio.Queue()
        self._said.put_nowait({"type": "websocket.connect"})

    def leave(self) -> None:
        self.has_left = True
        self._said.put_nowait({"type": "websocket.disconnect", "code": 1006})

    def say(self, text: str) -> None:
        self._said.put_nowait({"type": "websocket.receive", "text": text})

    async def receive(self) -> Any:
        return await self._said.get()

    async def send(self, message: Any) -> None:
        if self.is_deaf and message["type"] == "websocket.send":
            await asyncio.sleep(3_600)
        self.sent.append(message)
        if '"job_update"' in str(message.get("text")):
            self.greeted.set()


def broken_live(error: Exception) -> Any:
    class Live:
        async def follow(self, *_: object, **__: object) -> AsyncIterator[None]:
            raise error
            yield

    @asynccontextmanager
    async def open_services(settings: Settings) -> AsyncIterator[ApiServices]:
        async with open_api_services(settings) as services:
            yield replace(services, live=Live())  # type: ignore[arg-type]

    return open_services


def closed(server: ApiProcess, job_id: str) -> list[str]:
    """Why the connections to this job were closed."""
    return [line["reason"] for line in server.logged("socket_closed") if line["job_id"] == job_id]


async def test_a_client_that_takes_nothing_is_dropped_and_costs_little_memory(
    server: ApiProcess, worker: Worker
) -> None:
    job = await worker.submitted()
    (process,) = server.workers()
    before = process.memory_info().rss
    long = make_segment(0, text="a" * 500_000)
    async with following(server, job.id, max_queue=1) as socket:
        await receive(socket)
        await receive(socket)
        socket.transport.pause_reading()
        for number in range(200):
            segments = (replace(long, id=number),)
            await worker.events.publish(
                JobUpdate(job_id=job.id, status=JobStatus.processing, progress=0.0, segments=segments)
            )
        await until(lambda: closed(server, job.id))
        growth = process.memory_info().rss - before
        socket.transport.abort()
    assert closed(server, job.id) == ["slow"]
    assert growth < 60 * MEGABYTE


async def test_nothing_is_left_of_connections_that_were_aborted(server: ApiProcess, worker: Worker) -> None:
    (process,) = server.workers()

    async def come_and_go() -> int:
        job = await worker.submitted()
        async with AsyncExitStack() as stack:
            sockets = [await stack.enter_async_context(following(server, job.id)) for _ in range(50)]
            for number, socket in enumerate(sockets):
                await receive(socket)
                if number % 2:
                    socket.transport.abort()
                else:
                    await socket.close()
            await until(lambda: len(closed(server, job.id)) == 50)
        assert set(closed(server, job.id)) == {"gone"}
        return process.num_fds()

    open_files = await come_and_go()
    assert await come_and_go() < open_files + 25, "besides those of the pools"


async def test_clients_that_leave_while_they_are_told_something_are_no_failures(
    server: ApiProcess, worker: Worker
) -> None:
    job = await worker.submitted()
    claim = await worker.claim(job)
    async with AsyncExitStack() as stack:
        sockets = [await stack.enter_async_context(following(server, job.id)) for _ in range(40)]
        for number, socket in enumerate(sockets):
            await worker.decode(claim, number)
            socket.transport.abort()
        await until(lambda: len(closed(server, job.id)) == 40)
    assert set(closed(server, job.id)) == {"gone"}
    assert not server.logged("socket_failed")


@pytest.mark.parametrize("error", [ZeroDivisionError("secret"), AudioTextError("secret")])
async def test_what_nobody_foresaw_closes_the_connection_with_1011_and_is_logged(
    shared_api_settings: Settings, error: Exception
) -> None:
    async with running(shared_api_settings, open_services=broken_live(error)) as api:
        socket = Socket("some")
        with capture_logs() as logs:
            await api.app(socket.scope, socket.receive, socket.send)
    assert socket.sent[-1] == {"type": "websocket.close", "code": 1011, "reason": Close.broken.value[1]}
    assert "secret" not in str(socket.sent)
    assert [line["log_level"] for line in logs if line["event"] == "socket_failed"] == ["error"]


async def test_a_client_that_pings_and_takes_no_pong_is_dropped(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await api.submit("talk.wav", media.wav())
    api.app.state.settings = replace(
        api.settings, events=replace(api.settings.events, send_timeout_seconds=0.05, ping_seconds=60.0)
    )
    socket = Socket(job["id"])
    async with asyncio.TaskGroup() as group:
        connection = group.create_task(api.app(socket.scope, socket.receive, socket.send))
        await socket.greeted.wait()
        socket.is_deaf = True
        socket.say("ping")
        await connection
    assert socket.sent[-1]["code"] == 4408


async def test_every_task_and_subscription_of_a_connection_ends_with_it(api: Api) -> None:
    job = await api.submit("talk.wav", media.wav())
    tasks = len(asyncio.all_tasks())
    sockets = [Socket(job["id"]) for _ in range(50)]
    async with asyncio.TaskGroup() as group:
        for number, socket in enumerate(sockets):
            group.create_task(api.app(socket.scope, socket.receive, socket.send))
            if number % 3 == 0:
                socket.leave()  # before it was even greeted
        for socket in sockets:
            if not socket.has_left:
                await socket.greeted.wait()
        assert len(asyncio.all_tasks()) > tasks
        for socket in sockets:
            socket.leave()
    assert len(asyncio.all_tasks()) == tasks
    reader = api.services.resources.events._reader
    assert reader.follower_count == 0


async def test_every_one_of_120_clients_learns_the_end_of_a_job_that_fails_at_once(
    server: ApiProcess, worker: Worker
) -> None:
    random = Random(7)

    async def submit_and_follow() -> tuple[str, int]:
        job = await worker.submitted()
        claim = await worker.claim(job)

        async def fail_soon() -> None:
            await asyncio.sleep(random.uniform(0, 0.15))
            await worker.fail(claim)

        async with asyncio.TaskGroup() as group:
            group.create_task(fail_soon())
            await asyncio.sleep(random.uniform(0, 0.15))
            async with following(server, job.id) as socket:
                messages, code = await to_the_end(socket)
        return messages[-1]["status"], code

    async with asyncio.TaskGroup() as group:
        clients = [group.create_task(submit_and_follow()) for _ in range(120)]
    assert [client.result() for client in clients] == [("failed", 1000)] * 120


@pytest.mark.parametrize(("key", "code"), [("database", "database_unavailable"), ("redis", "events_unavailable")])
async def test_a_client_is_asked_to_come_back_while_a_part_is_away(
    shared_api_settings: Settings, tmp_path: Path, worker: Worker, key: str, code: str
) -> None:
    job = await worker.submitted()
    away = replace(getattr(shared_api_settings, key), port=1)
    settings = replace(shared_api_settings, **{key: away})
    with api_process(settings, tmp_path) as server:
        async with following(server, job.id) as socket:
            messages, closed_with = await to_the_end(socket)
    assert closed_with == 1013
    assert (messages[-1]["type"], messages[-1]["error"]) == ("error", code)
