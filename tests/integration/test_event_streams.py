"""Live status as server-sent events, over a real network."""

import asyncio
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from audio_text.bootstrap import ApiServices, open_api_services
from audio_text.domain.events import JobUpdate
from audio_text.domain.job import JobStatus
from audio_text.domain.key_secrets import new_secret
from audio_text.services.live import LiveService, LiveUpdate
from audio_text.settings import Settings
from factories import make_segment
from services.api import ApiProcess, api_process, running
from services.live import OUTCOME, Worker, segment_ids, streaming
from services.programs import require
from services.tenants import without_open_mode
from services.waiting import until

MEGABYTE = 1024 * 1024
PAGE = """
<!doctype html><body><script>
const source = new EventSource("%s");
const tell = (text) => document.body.append(`${text} `);
source.onmessage = ({ data }) => tell(JSON.parse(data).status);
source.onerror = () => tell(["comes-back", "open", "stays-away"][source.readyState]);
</script>
"""
UNKNOWN = "6d8b1f6e-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def server(shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    """One that pings after a fifth of a second, waits half a second for a slow client, and keeps little for it."""
    events = replace(
        shared_api_settings.events,
        ping_seconds=0.2,
        send_timeout_seconds=0.5,
        follower_buffer=16,
        jobs_per_connection=3,
    )
    settings = replace(shared_api_settings, events=events)
    with api_process(settings, tmp_path_factory.mktemp("server")) as process:
        yield process


async def test_a_stream_tells_the_state_every_segment_and_the_result_and_ends(
    server: ApiProcess, worker: Worker
) -> None:
    job = await worker.submitted()
    async with streaming(server, job.id) as source:
        first = await source.next()
        claim = await worker.claim(job)
        for number in range(3):
            await worker.decode(claim, number)
        await worker.complete(claim)
        rest = await source.rest()
    assert (first["type"], first["status"], first["job_id"]) == ("job_update", "pending", job.id)
    assert segment_ids(rest) == [0, 1, 2]
    assert [update["status"] for update in rest] == ["processing"] * 4 + ["completed"]
    assert rest[-1]["result"] == "good morning"


async def test_a_stream_is_one_that_no_cache_or_proxy_keeps_and_that_says_when_to_come_back(
    server: ApiProcess, worker: Worker
) -> None:
    job = await worker.submitted()
    async with streaming(server, job.id) as source:
        await source.next()
        headers = source.response.headers
    assert source.response.status_code == 200
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-store", "no")
    assert headers["X-Request-ID"]
    assert source.retry == 2_000


@pytest.mark.parametrize("way", ["header", "query"])
async def test_a_client_that_comes_back_gets_only_what_it_missed(server: ApiProcess, worker: Worker, way: str) -> None:
    job = await worker.submitted()
    claim = await worker.claim(job)
    async with streaming(server, job.id) as source:
        await source.next()
        await worker.decode(claim, 0)
        seen = await source.next()
        assert source.event_id == seen["event_id"]
    await worker.decode(claim, 1)
    back = {"last_event_id": source.event_id} if way == "header" else {"query": source.event_id}
    async with streaming(server, job.id, **back) as source:
        await worker.decode(claim, 2)
        await worker.complete(claim)
        events = await source.rest()
    assert segment_ids(events) == [1, 2]
    progress = [event["progress"] for event in events]
    assert progress == sorted(progress)


async def test_a_client_that_has_seen_the_end_is_told_to_stay_away(server: ApiProcess, worker: Worker) -> None:
    job = await worker.submitted()
    claim = await worker.claim(job)
    await worker.decode(claim, 0)
    await worker.complete(claim)
    async with streaming(server, job.id) as source:
        assert [event["status"] for event in await source.rest()] == ["completed"]
    async with streaming(server, job.id, last_event_id=source.event_id) as again:
        assert again.response.status_code == 204
        assert not await again.rest()


async def test_an_end_that_was_never_published_is_told_to_a_client_that_comes_back(
    server: ApiProcess, worker: Worker
) -> None:
    job = await worker.submitted()
    claim = await worker.claim(job)
    async with streaming(server, job.id) as source:
        await source.next()
    assert await worker.jobs.complete(claim, OUTCOME)
    async with streaming(server, job.id, last_event_id=source.event_id) as again:
        assert [event["status"] for event in await again.rest()] == ["completed"]
    async with streaming(server, job.id, last_event_id=again.event_id) as last:
        assert last.response.status_code == 204


async def test_a_client_that_has_seen_the_end_is_told_of_a_retry(server: ApiProcess, worker: Worker) -> None:
    job = await worker.submitted()
    await worker.fail(await worker.claim(job))
    async with streaming(server, job.id) as source:
        await source.rest()
    async with httpx.AsyncClient(base_url=f"http://{server.address}") as client:
        await worker.retry(job)
        assert (await client.get(f"/api/v1/job/status/{job.id}")).json()["status"] == "pending"
    async with streaming(server, job.id, last_event_id=source.event_id) as again:
        assert (await again.next())["status"] == "pending"


@pytest.mark.parametrize("job_id", [UNKNOWN, "nonsense", "%00", "%ff", "a" * 300])
async def test_an_unknown_job_is_not_found_before_anything_is_streamed(server: ApiProcess, job_id: str) -> None:
    for last_event_id in (None, "1-1"):
        async with streaming(server, job_id, last_event_id=last_event_id) as source:
            assert source.response.status_code == 404
            assert source.response.headers["Content-Type"] == "application/problem+json"
            await source.response.aread()
            assert source.response.json()["code"] == "job_not_found"


@pytest.mark.parametrize("nonsense", ["nonsense", "1-1-1", "-", "9" * 30 + "-1", "0-0", "", "~~"])
async def test_a_cursor_that_is_not_ours_is_the_beginning(server: ApiProcess, worker: Worker, nonsense: str) -> None:
    job = await worker.submitted()
    claim = await worker.claim(job)
    await worker.decode(claim, 0)
    await worker.complete(claim)
    async with streaming(server, job.id, last_event_id=nonsense) as source:
        assert segment_ids(await source.rest()) == [0]


async def test_comments_come_while_nothing_happens(server: ApiProcess, worker: Worker) -> None:
    job = await worker.submitted()
    claim = await worker.claim(job)
    async with streaming(server, job.id) as source:
        await source.next()
        async with asyncio.TaskGroup() as group:
            rest = group.create_task(source.rest())
            while not source.comments:
                await asyncio.sleep(0.02)
            await worker.complete(claim)
    assert [event["status"] for event in rest.result()] == ["completed"]


async def test_a_job_that_is_deleted_ends_its_stream_with_an_error(server: ApiProcess, worker: Worker) -> None:
    job = await worker.submitted()
    async with streaming(server, job.id) as source:
        await source.next()
        async with httpx.AsyncClient(base_url=f"http://{server.address}") as client:
            (await client.delete(f"/api/v1/job/{job.id}")).raise_for_status()
        assert [(event["type"], event["error"]) for event in await source.rest()] == [("error", "job_not_found")]


async def test_several_jobs_are_told_in_one_stream_that_ends_with_the_last(server: ApiProcess, worker: Worker) -> None:
    jobs = [await worker.submitted() for _ in range(3)]
    async with streaming(server, *(job.id for job in jobs)) as source:
        assert {(await source.next())["job_id"] for _ in jobs} == {job.id for job in jobs}
        for job in jobs:
            claim = await worker.claim(job)
            await worker.decode(claim, 0)
            await worker.decode(claim, 1)
            await worker.complete(claim)
        rest = await source.rest()
    for job in jobs:
        told = [event for event in rest if event["job_id"] == job.id]
        assert segment_ids(told) == [0, 1]
        assert told[-1]["status"] == "completed"


async def test_one_cursor_holds_how_far_each_of_several_jobs_was_told(server: ApiProcess, worker: Worker) -> None:
    over, running, waiting = [await worker.submitted() for _ in range(3)]
    ids = (over.id, running.id, waiting.id)
    await worker.complete(await worker.claim(over))
    claim = await worker.claim(running)
    await worker.decode(claim, 0)
    async with streaming(server, *ids) as source:
        for _ in ids:
            await source.next()
    await worker.decode(claim, 1)
    async with streaming(server, *ids, last_event_id=source.event_id) as again:
        seen = [await again.next() for _ in range(3)]
        assert segment_ids(seen) == [1]
        assert over.id not in {event["job_id"] for event in seen}
        await worker.complete(claim)
        await worker.complete(await worker.claim(waiting))
        ended = [event["job_id"] for event in await again.rest() if event["status"] == "completed"]
        assert set(ended) == {running.id, waiting.id}
    async with streaming(server, *ids, last_event_id=again.event_id) as last:
        assert last.response.status_code == 204


async def test_a_cursor_of_other_jobs_is_none(server: ApiProcess, worker: Worker) -> None:
    jobs = [(await worker.submitted()).id for _ in range(2)]
    async with streaming(server, *jobs) as source:
        for _ in jobs:
            await source.next()
    async with streaming(server, *reversed(jobs), last_event_id=source.event_id) as again:
        assert {(await again.next())["job_id"] for _ in jobs} == set(jobs)


async def test_an_unknown_one_of_several_jobs_is_told_once_and_the_others_go_on(
    server: ApiProcess, worker: Worker
) -> None:
    job = await worker.submitted()
    await worker.complete(await worker.claim(job))
    async with streaming(server, UNKNOWN, job.id, UNKNOWN) as source:
        events = await source.rest()
    assert {(event["type"], event["job_id"]) for event in events} == {("error", UNKNOWN), ("job_update", job.id)}
    assert len(events) == 2
    async with streaming(server, UNKNOWN, job.id, last_event_id=source.event_id) as again:
        assert again.response.status_code == 204


async def test_more_jobs_than_a_connection_may_follow_are_refused(server: ApiProcess) -> None:
    async with httpx.AsyncClient(base_url=f"http://{server.address}") as client:
        answer = await client.get("/api/v1/job/events", params={"job": ["a", "b", "c", "d"]})
        assert (answer.status_code, answer.json()["code"]) == (400, "too_many_jobs")
        answer = await client.get("/api/v1/job/events", params={"job": [UNKNOWN, "no id of a job"]})
        assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")
        answer = await client.get("/api/v1/job/events")
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


async def test_a_reader_that_takes_nothing_is_dropped_and_costs_little_memory(
    server: ApiProcess, worker: Worker
) -> None:
    job = await worker.submitted()
    (process,) = server.workers()
    before = process.memory_info().rss
    long = make_segment(0, text="a" * 500_000)
    reader, writer = await asyncio.open_connection(*server.address.split(":"), limit=1_024)
    writer.write(f"GET /api/v1/job/{job.id}/events HTTP/1.1\r\nHost: here\r\n\r\n".encode())
    await reader.readuntil(b"job_update")
    for number in range(200):
        segments = (replace(long, id=number),)
        await worker.events.publish(
            JobUpdate(job_id=job.id, status=JobStatus.processing, progress=0.0, segments=segments)
        )
    await until(lambda: dropped(server, job.id))
    growth = process.memory_info().rss - before
    writer.transport.abort()
    assert dropped(server, job.id) == ["TimeoutError"]
    assert growth < 60 * MEGABYTE


def dropped(server: ApiProcess, job_id: str) -> list[str]:
    return [line["reason"] for line in server.logged("stream_dropped") if job_id in line["path"]]


async def test_nothing_is_left_of_streams_whose_clients_went(server: ApiProcess, worker: Worker) -> None:
    (process,) = server.workers()

    async def come_and_go() -> int:
        jobs = [await worker.submitted() for _ in range(2)]
        async with AsyncExitStack() as stack:
            for number in range(40):
                source = await stack.enter_async_context(streaming(server, *(job.id for job in jobs[: 1 + number % 2])))
                await source.next()
        await until(lambda: len(dropped(server, jobs[0].id)) == 20)
        return process.num_fds()

    open_files = await come_and_go()
    assert await come_and_go() < open_files + 25, "besides those of the pools"


async def test_streams_end_on_sigterm_and_their_clients_go_on_elsewhere(
    shared_api_settings: Settings, tmp_path: Path, server: ApiProcess, worker: Worker
) -> None:
    jobs = [await worker.submitted() for _ in range(2)]
    with api_process(shared_api_settings, tmp_path) as stopping:
        async with streaming(stopping, jobs[0].id) as one, streaming(stopping, *(job.id for job in jobs)) as many:
            await one.next()
            for _ in jobs:
                await many.next()
            async with asyncio.TaskGroup() as group:
                ending = group.create_task(asyncio.to_thread(stopping.terminate))
                assert not await one.rest()
                assert not await many.rest()
            assert ending.result() == 0
    assert one.retry == many.retry == 5_000
    await worker.complete(await worker.claim(jobs[0]))
    async with streaming(server, jobs[0].id, last_event_id=one.event_id) as source:
        assert (await source.rest())[-1]["status"] == "completed"


@pytest.mark.parametrize(("key", "code"), [("database", "database_unavailable"), ("redis", "events_unavailable")])
async def test_while_a_part_is_away_a_new_client_gets_an_error_and_one_that_is_back_a_stream_that_says_when_to_try(
    shared_api_settings: Settings, tmp_path: Path, worker: Worker, key: str, code: str
) -> None:
    job = await worker.submitted()
    away = replace(getattr(shared_api_settings, key), port=1)
    settings = replace(shared_api_settings, **{key: away})
    with api_process(settings, tmp_path) as server:
        async with streaming(server, job.id) as source:
            await source.response.aread()
            assert (source.response.status_code, source.response.json()["code"]) == (503, code)
        async with streaming(server, job.id, last_event_id="1-1") as source:
            assert source.response.status_code == 200
            assert not await source.rest()
            assert source.retry == 5_000


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("headers", [{"Last-Event-ID": "1-1"}, {"Accept": "text/event-stream"}])
async def test_a_browser_comes_back_also_when_nobody_can_tell_just_now_who_it_is(
    shared_api_settings: Settings, count: int, headers: dict[str, str]
) -> None:
    settings = without_open_mode(shared_api_settings)
    settings = replace(settings, database=replace(settings.database, port=1))
    path = f"/api/v1/job/{UNKNOWN}/events" if count == 1 else f"/api/v1/job/events?job={UNKNOWN}&job=x"
    async with running(settings) as api:
        api.client.headers["Authorization"] = f"Bearer {new_secret()}"
        back = await api.client.get(path, headers=headers)
        other = await api.client.get(path)
        elsewhere = await api.client.get("/api/v1/job/read", headers=headers)
    assert (back.status_code, back.headers["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    assert back.text == ": database_unavailable\nretry: 5000\n\n"
    assert back.headers["Cache-Control"] == "no-store"
    for refused in (other, elsewhere):
        assert (refused.status_code, refused.json()["code"]) == (503, "database_unavailable")


async def test_a_browser_stays_away_from_what_will_not_pass(shared_api_settings: Settings) -> None:
    async with running(without_open_mode(shared_api_settings)) as api:
        api.client.headers["Authorization"] = f"Bearer {new_secret()}"
        answer = await api.client.get(f"/api/v1/job/{UNKNOWN}/events", headers={"Last-Event-ID": "1-1"})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


async def test_a_browser_comes_back_once_and_stays_away_when_it_has_seen_the_end(
    server: ApiProcess, worker: Worker, tmp_path: Path
) -> None:
    require("chromium")
    job = await worker.submitted()
    await worker.complete(await worker.claim(job))
    page = tmp_path / "page.html"
    page.write_text(PAGE % f"http://{server.address}/api/v1/job/{job.id}/events")
    browser = await asyncio.to_thread(
        subprocess.run,
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={tmp_path / 'browser'}",
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
            "--virtual-time-budget=20000",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        check=True,
    )
    assert "completed comes-back stays-away" in browser.stdout


@pytest.mark.parametrize("told", [0, 1])
async def test_what_nobody_foresaw_is_logged_and_an_error_before_the_stream_and_its_break_later(
    shared_api_settings: Settings, told: int
) -> None:
    class Live(LiveService):
        async def follow(self, *_: object, **__: object) -> AsyncGenerator[LiveUpdate | None, None]:
            for _number in range(told):
                yield None
            raise ZeroDivisionError

    @asynccontextmanager
    async def open_services(settings: Settings) -> AsyncIterator[ApiServices]:
        async with open_api_services(settings) as services:
            resources = services.resources
            yield replace(services, live=Live(jobs=resources.jobs, events=resources.events))

    sent: list[Any] = []
    asked = [{"type": "http.request", "body": b"", "more_body": False}]
    scope: Any = {"type": "http", "method": "GET", "path": "/api/v1/job/x/events", "query_string": b"", "headers": []}

    async def receive() -> Any:
        if asked:
            return asked.pop()
        return await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    async with running(shared_api_settings, open_services=open_services) as api:
        with capture_logs() as logs:
            await api.app({**scope, "state": {}}, receive, send)
    assert sent[0]["status"] == (200 if told else 500)
    assert [line["event"] for line in logs if line["log_level"] == "error"] == [
        "stream_failed" if told else "request_failed"
    ]
    assert told == sent[-1].get("more_body", False)
