"""What holds for every request: its id, its line in the log, its errors, and the health that others look at."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from msgspec.structs import replace
from structlog.testing import capture_logs

import media
from audio_text.api.request_log import RequestLog
from audio_text.bootstrap import ApiServices, open_api_services
from audio_text.errors import AudioTextError, StoreUnavailableError
from audio_text.settings import Settings
from services.api import Api, running
from services.database import Database


async def test_every_answer_names_its_request(shared_api: Api) -> None:
    ids = {(await shared_api.client.get(path)).headers["X-Request-ID"] for path in ("/", "/nothing", "/api/v1")}
    assert len(ids) == 3


async def test_a_client_may_choose_the_request_id_and_finds_it_on_its_job(shared_api: Api) -> None:
    url = await shared_api.upload("talk.wav", media.wav())
    answer = await shared_api.client.post(
        "/api/v1/job/transcribe", json={"filename": "talk.wav", "url": url}, headers={"X-Request-ID": "trace-1.2:3/4"}
    )
    assert answer.headers["X-Request-ID"] == answer.json()["request_id"] == "trace-1.2:3/4"


@pytest.mark.parametrize("chosen", ["", "a" * 129, "a b", 'a"b', "ä", "<script>"])
async def test_a_request_id_that_is_no_plain_word_is_replaced(shared_api: Api, chosen: str) -> None:
    answer = await shared_api.client.get("/", headers={"X-Request-ID": chosen.encode()})
    assert answer.headers["X-Request-ID"].isalnum()


async def test_requests_are_logged_with_status_and_duration_and_probes_only_for_debugging(shared_api: Api) -> None:
    with capture_logs([structlog.contextvars.merge_contextvars]) as logs:
        await shared_api.client.get("/api/v1/job/status/none", headers={"X-Request-ID": "mine"})
        await shared_api.client.get("/health/live")
    told, probed = [line for line in logs if line["event"] == "request"]
    assert (told["method"], told["path"], told["status"]) == ("GET", "/api/v1/job/status/none", 404)
    assert (told["request_id"], told["log_level"]) == ("mine", "info")
    assert told["duration_ms"] > 0
    assert probed["log_level"] == "debug"


async def test_requests_that_run_at_once_keep_their_ids_apart(shared_api: Api) -> None:
    async def ask(number: int) -> None:
        answer = await shared_api.client.get("/api/v1/job/status/none", headers={"X-Request-ID": f"id-{number}"})
        assert answer.json()["request_id"] == f"id-{number}"

    async with asyncio.TaskGroup() as group:
        for number in range(20):
            group.create_task(ask(number))


class Broken:
    """Stands where a service should be, and raises."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        async def fail(*_: object, **__: object) -> None:
            raise self._error

        return fail


def opening(**broken: object) -> Any:
    @asynccontextmanager
    async def open_services(settings: Settings) -> AsyncIterator[ApiServices]:
        async with open_api_services(settings) as services:
            resources = {name: part for name, part in broken.items() if hasattr(services.resources, name)}
            others = {name: part for name, part in broken.items() if name not in resources}
            yield replace(services, resources=replace(services.resources, **resources), **others)

    return open_services


def app_with(settings: Settings, **broken: object) -> AbstractAsyncContextManager[Api]:
    return running(settings, open_services=opening(**broken))


@pytest.mark.parametrize("error", [ZeroDivisionError("secret"), AudioTextError("secret"), RuntimeError("secret")])
async def test_what_nobody_foresaw_is_logged_in_full_and_answered_without_internals(
    shared_api_settings: Settings, error: Exception
) -> None:
    async with app_with(shared_api_settings, lifecycle=Broken(error)) as api:
        with capture_logs([structlog.contextvars.merge_contextvars]) as logs:
            answer = await api.client.get("/api/v1/job/status/some", headers={"X-Request-ID": "mine"})
    assert answer.status_code == 500
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert answer.json()["code"] == "internal_error"
    (line,) = [line for line in logs if line["event"] == "request_failed"]
    assert (line["exc_info"], line["request_id"]) == (error, "mine")


@pytest.mark.parametrize("path", ["/api/v1/job/status/some", "/api/v1/job/read"])
async def test_a_database_that_is_away_means_try_again_soon(shared_api_settings: Settings, path: str) -> None:
    settings = replace(shared_api_settings, database=replace(shared_api_settings.database, port=1))
    async with running(settings) as api:
        answer = await api.client.get(path)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json()["code"] == "database_unavailable"


async def test_a_job_is_accepted_while_the_queue_is_away(shared_api_settings: Settings) -> None:
    settings = replace(shared_api_settings, redis=replace(shared_api_settings.redis, port=1))
    async with running(settings) as api:
        job = await api.submit("talk.wav", media.wav())
        read = (await api.client.get(f"/api/v1/job/status/{job['id']}")).json()
    assert read | {"queue_position": None} == job


async def test_readiness_names_every_dependency(shared_api: Api) -> None:
    answer = await shared_api.client.get("/health/ready")
    assert answer.status_code == 200
    up = {"status": "up", "detail": None}
    assert answer.json() == {
        "status": "ready",
        "detail": "Everything is up.",
        "dependencies": {"database": up, "queue": up, "events": up, "store": up},
    }


@pytest.mark.parametrize(
    ("key", "down"), [("database", {"database"}), ("redis", {"queue", "events"}), ("disk", {"store"})]
)
async def test_readiness_names_what_is_down_and_liveness_does_not_care(
    shared_api_settings: Settings, key: str, down: set[str]
) -> None:
    away = {"folder": "/proc/nowhere"} if key == "disk" else {"port": 1}
    settings = replace(shared_api_settings, **{key: replace(getattr(shared_api_settings, key), **away)})
    async with running(settings) as api:
        answer = await api.client.get("/health/ready")
        alive = await api.client.get("/health/live")
    assert alive.status_code == 200
    assert answer.status_code == 503
    assert answer.headers["Retry-After"]
    body = answer.json()
    assert {name for name, state in body["dependencies"].items() if state["status"] == "down"} == down
    assert all(body["dependencies"][name]["detail"] for name in down)
    assert all(name in body["detail"] for name in down)


async def test_readiness_asks_for_the_migrations_that_the_database_lacks(
    shared_api_settings: Settings, empty_database: Database
) -> None:
    secrets = replace(shared_api_settings.secrets, database_password=empty_database.password)
    settings = replace(shared_api_settings, database=empty_database.settings, secrets=secrets)
    async with running(settings) as api:
        answer = await api.client.get("/health/ready")
    assert answer.status_code == 503
    assert "audio-text migrate" in answer.json()["dependencies"]["database"]["detail"]


class Stuck:
    async def check(self) -> None:
        await asyncio.sleep(3_600)


async def test_a_dependency_that_hangs_does_not_hang_the_probe(
    shared_api_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audio_text.api.health.CHECK_SECONDS", 0.1)
    async with app_with(shared_api_settings, queue=Stuck(), events=Stuck()) as api:
        answer = await api.client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json()["detail"] == "queue, events are down."


class LateStore:
    """A store that answers only the third time."""

    def __init__(self) -> None:
        self.attempts = 0
        self.is_prepared = asyncio.Event()

    async def prepare(self) -> None:
        self.attempts += 1
        if self.attempts < 3:
            raise StoreUnavailableError
        self.is_prepared.set()

    async def check(self) -> None:
        assert self.is_prepared.is_set()


async def test_the_api_starts_without_its_store_and_prepares_it_when_it_comes(
    shared_api_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("audio_text.services.dependencies.FIRST_PAUSE_SECONDS", 0.01)
    store = LateStore()
    async with app_with(shared_api_settings, store=store) as api:
        assert (await api.client.get("/")).status_code == 200
        await asyncio.wait_for(store.is_prepared.wait(), 10)
    assert store.attempts == 3


async def test_the_api_stops_while_its_store_is_still_away(shared_api_settings: Settings) -> None:
    async with app_with(shared_api_settings, store=Broken(StoreUnavailableError())) as api:
        assert (await api.client.get("/")).status_code == 200


def asked(
    api: Api, method: str, path: str, *, query: bytes = b"", headers: tuple[tuple[bytes, bytes], ...] = ()
) -> Any:
    """The scope of a request, as a server hands it over."""
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": headers,
        "state": {},
        "litestar_app": api.app,
        "app": api.app,
    }


@pytest.mark.parametrize("ending", ["silence", "disconnect", "drops"])
async def test_a_body_that_stops_arriving_is_given_up(shared_api: Api, ending: str) -> None:
    stalled = RequestLog(shared_api.app.asgi_handler._app, body_stall_seconds=0.05)
    messages: list[Any] = [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        if len(messages) == 1 and ending == "silence":
            await asyncio.sleep(3_600)
        if ending == "drops":
            await asyncio.sleep(0.02)
            return {"type": "http.request", "body": b" ", "more_body": True}
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await stalled(asked(shared_api, "POST", "/api/v1/job/transcribe"), receive, send)
    assert sent[0]["status"] == 408
    assert b"stopped arriving" in sent[1]["body"]


async def test_an_upload_that_drips_is_given_up_and_leaves_nothing_behind(shared_api: Api) -> None:
    wanted = {"filename": "talk.wav", "content_type": "audio/wav", "file_size": 1_000_000}
    target = (await shared_api.client.post("/api/v1/audio/presigned-url", json=wanted)).raise_for_status().json()
    address = httpx.URL(target["url"])
    folder = Path(shared_api.settings.disk.folder)
    sent: list[Any] = []

    async def receive() -> Any:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"\0", "more_body": True}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = ((b"content-type", b"audio/wav"), (b"content-length", b"1000000"))
    upload = asked(shared_api, "PUT", address.path, query=address.query, headers=headers)
    before = {path for path in folder.rglob("*") if path.is_file()}
    impatient = RequestLog(shared_api.app.asgi_handler._app, body_stall_seconds=0.05)
    await impatient(upload, receive, send)
    assert sent[0]["status"] == 408
    assert {path for path in folder.rglob("*") if path.is_file()} == before
