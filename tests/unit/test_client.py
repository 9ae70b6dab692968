"""The client, with and without await, against a stub of the wire contract that misbehaves on request."""

import asyncio
import inspect
import io
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from aiohttp import web

from audio_text.client import (
    AsyncClient,
    Client,
    Jobs,
    JobStatus,
    Upload,
)
from audio_text.client.blocking import run
from audio_text.client.recording import CHUNK_BYTES
from audio_text.client.transport import vendor_errors
from audio_text.errors import (
    AudioTextError,
    DatabaseUnavailableError,
    JobFailedError,
    JobNotFoundError,
    MissingScopeError,
    RemoteDisabledError,
    ServerRefusedError,
    ServerUnreachableError,
    UnauthorizedError,
    UnknownModelError,
    WaitTooLongError,
)
from services.programs import require
from services.stub_service import BROKEN, JOB_ID, PART_BYTES, StubService, stub_service, update

AUDIO = bytes(range(256)) * 4_000
BOUND = {"X-Bound": "yes"}
UPLOAD = Upload(url="http://127.0.0.1/upload", filename="talk.wav")


class Caller:
    """Calls either client: with it, a coroutine is awaited, a generator is exhausted, and a thread blocks."""

    def __init__(self, service: StubService, *, awaits: bool) -> None:
        self._service = service
        self._awaits = awaits

    async def __call__(self, call: Callable[[Any], Any], **options: Any) -> Any:
        if not self._awaits:
            return await asyncio.to_thread(self._block, call, options)
        async with AsyncClient(self._service.url, **options) as client:
            result = call(client)
            return [item async for item in result] if inspect.isasyncgen(result) else await result

    def _block(self, call: Callable[[Any], Any], options: dict[str, Any]) -> Any:
        with Client(self._service.url, **options) as client:
            result = call(client)
            return list(result) if inspect.isgenerator(result) else result


@pytest.fixture
async def service() -> AsyncIterator[StubService]:
    async with stub_service() as stub:
        yield stub


@pytest.fixture(params=[True, False], ids=["awaiting", "blocking"])
def using(request: pytest.FixtureRequest, service: StubService) -> Caller:
    return Caller(service, awaits=request.param)


def problem(status: int, code: str, **headers: str) -> Callable[[], web.Response]:
    body = {"detail": "A sentence.", "code": code, "request_id": "r-1"}
    return lambda: web.json_response(body, status=status, headers=headers)


def busy() -> web.Response:
    return problem(503, "database_unavailable", **{"Retry-After": "0"})()


async def test_segments_come_as_they_are_decoded(using: Caller, service: StubService) -> None:
    service.connections = [([update("processing", 50, 0), update("completed", 100, 1)], 1000)]

    segments = await using(lambda c: c.transcribe(AUDIO, filename="talk.wav", model="demo", beam_size=2))

    assert [segment.text for segment in segments] == [" Sentence 0.", " Sentence 1."]
    assert service.uploaded == [(AUDIO, service.presigned[0]["content_type"])]
    assert service.submitted[0]["model"] == "demo"
    assert service.submitted[0]["beam_size"] == 2


async def test_a_job_that_fails_is_an_error_with_the_services_sentence_and_code(
    using: Caller, service: StubService
) -> None:
    ending = update("failed", 40) | {"error": "It is damaged.", "error_code": "invalid_audio"}
    service.connections = [([ending], 1000)]

    with pytest.raises(JobFailedError, match=r"It is damaged\.") as caught:
        await using(lambda c: c.jobs.segments(JOB_ID))

    assert caught.value.error_code == "invalid_audio"


async def test_a_submission_that_is_repeated_carries_the_same_key(using: Caller, service: StubService) -> None:
    service.troubles = [busy, lambda: web.Response(status=BROKEN)]

    job = await using(lambda c: c.jobs.submit(UPLOAD, model="demo"))

    keys = [request.headers["Idempotency-Key"] for request in service.requests]
    assert (job.id, job.status) == (JOB_ID, JobStatus.pending)
    assert len(keys) == 3
    assert len(set(keys)) == 1
    assert len(service.submitted) == 1


async def test_two_submissions_have_two_keys_and_one_may_choose_its_own(using: Caller, service: StubService) -> None:
    for _ in range(2):
        await using(lambda c: c.jobs.submit(UPLOAD))
    await using(lambda c: c.jobs.submit(UPLOAD, idempotency_key="mine"))

    keys = [request.headers["Idempotency-Key"] for request in service.requests]
    assert len(set(keys)) == 3
    assert keys[2] == "mine"


async def test_tries_are_counted_and_the_last_refusal_is_told(using: Caller, service: StubService) -> None:
    service.troubles = [busy] * 9

    with pytest.raises(DatabaseUnavailableError):
        await using(lambda c: c.jobs.get(JOB_ID), max_retries=2)

    assert len(service.requests) == 3


async def test_whoever_wants_to_be_left_alone_for_long_is_not_asked_again(using: Caller, service: StubService) -> None:
    service.troubles = [problem(503, "store_unavailable", **{"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"})] * 2

    with pytest.raises(AudioTextError):
        await using(lambda c: c.jobs.get(JOB_ID))

    assert len(service.requests) == 1


async def test_what_a_service_has_not_set_up_is_asked_for_once(using: Caller, service: StubService) -> None:
    service.troubles = [problem(403, "remote_disabled")] * 2

    with pytest.raises(RemoteDisabledError):
        await using(lambda c: c.jobs.submit(UPLOAD))

    assert len(service.requests) == 1


@pytest.mark.parametrize("header", ["soon", "Wed, 21 Oct 2015 07:28:00 GMT"])
async def test_a_time_to_wait_that_means_nothing_is_no_time(header: str, using: Caller, service: StubService) -> None:
    service.troubles = [problem(429, "too_many_requests", **{"Retry-After": header})]

    assert (await using(lambda c: c.jobs.get(JOB_ID))).id == JOB_ID


async def test_a_mail_is_not_sent_twice(using: Caller, service: StubService) -> None:
    service.troubles = [lambda: web.Response(status=BROKEN)]

    with pytest.raises(ServerUnreachableError):
        await using(lambda c: c.jobs.mail(JOB_ID, to="ada@example.org"))

    assert len(service.requests) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "unknown_model", UnknownModelError),
        (404, "job_not_found", JobNotFoundError),
        (418, "x", ServerRefusedError),
    ],
)
async def test_a_refusal_is_the_error_of_its_code_and_is_not_tried_again(
    status: int, code: str, kind: type[AudioTextError], using: Caller, service: StubService
) -> None:
    service.troubles = [problem(status, code)] * 2

    with pytest.raises(kind, match=r"A sentence\.") as caught:
        await using(lambda c: c.jobs.get(JOB_ID))

    assert type(caught.value) is kind
    assert caught.value.request_id == "r-1"
    assert getattr(caught.value, "status", None) == (418 if kind is ServerRefusedError else None)
    assert len(service.requests) == 1


class Pipe(io.RawIOBase):
    """A stream that cannot go back, and notes how much is asked of it at once."""

    name = "/dev/pipe/talk.wav"

    def __init__(self, data: bytes) -> None:
        self._rest = data
        self.largest = 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        self.largest = max(self.largest, size)
        chunk, self._rest = self._rest[:size], self._rest[size:]
        return chunk


@pytest.mark.parametrize("kind", ["path", "bytes", "file", "pipe"])
async def test_anything_can_be_uploaded(kind: str, using: Caller, service: StubService, tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(AUDIO)
    told: list[int] = []
    with path.open("rb") as file:
        file.seek(1_000)
        source = {"path": str(path), "bytes": AUDIO, "file": file, "pipe": Pipe(AUDIO)}[kind]
        options = {"bytes": {"filename": "talk.wav"}, "pipe": {"size": len(AUDIO)}}.get(kind, {})

        upload = await using(lambda c: c.upload(source, on_progress=told.append, **options))

    sent = AUDIO[1_000:] if kind == "file" else AUDIO
    assert (upload.filename, upload.url) == ("talk.wav", f"{service.url}/upload?signature=1")
    assert service.uploaded[0][0] == sent
    assert service.presigned[0]["file_size"] == len(sent)
    assert told == [*range(CHUNK_BYTES, len(sent), CHUNK_BYTES), len(sent)]
    if isinstance(source, Pipe):
        assert source.largest <= CHUNK_BYTES


async def test_an_upload_that_breaks_is_sent_again_from_its_beginning(using: Caller, service: StubService) -> None:
    ready = service.troubles.append
    await using(lambda c: c.upload(AUDIO, filename="talk.wav", on_progress=lambda sent: None))
    first = service.requests[-1].path
    ready(lambda: web.json_response({"url": f"{service.url}/upload", "headers": BOUND}))
    ready(lambda: web.Response(status=503))

    await using(lambda c: c.upload(AUDIO, filename="talk.wav"))

    assert [request.path for request in service.requests][-2:] == [first, first]
    assert service.bodies[-1] == AUDIO
    assert service.uploaded[-1][0] == AUDIO


async def test_a_large_file_is_sent_in_parts_each_of_which_may_be_sent_again(
    using: Caller, service: StubService, tmp_path: Path
) -> None:
    path = tmp_path / "long.wav"
    sizes = [PART_BYTES] * 4 + [1_000]
    with path.open("wb") as file:
        for number, size in enumerate(sizes):
            file.write(bytes([number]) * size)
    told: list[int] = []

    def broken() -> web.Response:
        return web.Response(status=503)

    def link() -> web.Response:
        return web.json_response(
            {"parts": [{"url": f"{service.url}/parts/{n}", "headers": BOUND} for n in range(1, 6)]}
        )

    begun = {"id": "u", "url": f"{service.url}/whole", "part_size": PART_BYTES, "part_count": len(sizes)}
    service.troubles = [lambda: web.json_response(begun, status=201), link, broken]
    upload = await using(lambda c: c.upload(path, on_progress=told.append, sha256="ab" * 32))

    assert service.parts == {n: bytes([n - 1]) * size for n, size in enumerate(sizes, start=1)}
    assert service.bodies[-1] == service.parts[1]  # what was sent before the store was well
    assert msgspec.json.decode(service.bodies[0])["sha256"] == "ab" * 32
    assert service.completed == ["u"]
    assert upload == Upload(url=f"{service.url}/whole", filename="long.wav")
    assert told[-1] == sum(sizes)


async def test_a_stream_that_cannot_go_back_is_sent_once(using: Caller, service: StubService) -> None:
    service.troubles = [
        lambda: web.json_response({"url": f"{service.url}/upload", "headers": BOUND}),
        lambda: web.Response(status=503),
    ]

    with pytest.raises(ServerRefusedError, match="503"):
        await using(lambda c: c.upload(Pipe(AUDIO), size=len(AUDIO)))

    assert service.uploaded == []


@pytest.mark.parametrize("source", [b"RIFF", io.BytesIO(b"RIFF"), Pipe(b"RIFF")])
async def test_what_cannot_be_found_out_has_to_be_passed(source: Any, using: Caller) -> None:
    with pytest.raises(TypeError, match="pass `"):
        await using(lambda c: c.upload(source))


async def test_the_key_goes_to_the_service_and_not_to_the_store(using: Caller, service: StubService) -> None:
    await using(lambda c: c.transcribe(AUDIO, filename="talk.wav"), api_key="atk_secret")

    sent = {request.path: request.headers.get("Authorization") for request in service.requests}
    assert sent.pop("/upload") is None
    assert set(sent.values()) == {"Bearer atk_secret"}
    assert any("/ws/" in path for path in sent)


@pytest.mark.parametrize(("code", "error"), [(4401, UnauthorizedError), (4403, MissingScopeError)])
async def test_a_socket_that_is_closed_for_its_key_is_not_opened_again(
    using: Caller, service: StubService, code: int, error: type[AudioTextError]
) -> None:
    service.connections = [([], code), ([update("completed", 100, 0)], 1000)]
    with pytest.raises(error):
        await using(lambda c: c.jobs.follow(JOB_ID))
    assert len(service.cursors) == 1


async def test_the_callers_headers_go_to_the_service_and_not_to_the_store(using: Caller, service: StubService) -> None:
    await using(lambda c: c.transcribe(AUDIO, filename="talk.wav"), headers={"Authorization": "Bearer secret"})

    sent = {request.path: request.headers.get("Authorization") for request in service.requests}
    assert sent.pop("/upload") is None
    assert len(sent) == 3  # the link, the job, the socket
    assert set(sent.values()) == {"Bearer secret"}


async def test_a_list_is_read_page_by_page_with_its_filters(using: Caller, service: StubService) -> None:
    service.jobs = [f"job-{number}" for number in range(5)]

    jobs = await using(lambda c: c.jobs.iterate(limit=2, status="completed"))
    page = await using(lambda c: c.jobs.list(limit=3))

    assert [job.id for job in jobs] == service.jobs
    assert [request.query.get("status") for request in service.requests[:3]] == ["completed"] * 3
    assert ([job.id for job in page.jobs], page.cursor) == (service.jobs[:3], "3")


async def test_filters_are_spelled_as_the_service_reads_them(using: Caller, service: StubService) -> None:
    since = datetime(2030, 1, 1, tzinfo=UTC)
    await using(
        lambda c: c.jobs.list(
            status=["failed", "cancelled"], created_after=since, metadata={"a": "b=c", "d": "e"}, q="x y"
        )
    )

    assert list(service.requests[0].query.items()) == [
        ("status", "failed"),
        ("status", "cancelled"),
        ("created_after", "2030-01-01T00:00:00+00:00"),
        ("metadata", "a=b=c"),
        ("metadata", "d=e"),
        ("q", "x y"),
    ]


async def test_what_is_noted_on_a_job_is_changed_and_the_rest_left(using: Caller, service: StubService) -> None:
    await using(lambda c: c.jobs.annotate(JOB_ID, metadata={"project": None, "year": "2030"}))
    await using(lambda c: c.jobs.annotate(JOB_ID, description=None))

    assert service.noted == [{"metadata": {"project": None, "year": "2030"}}, {"description": None}]


async def test_a_job_is_followed_through_lost_connections(using: Caller, service: StubService) -> None:
    service.connections = [
        ([update("processing", 30, 0, 1, event_id="7-0")], 1011),
        ([], 503),
        ([update("processing", 60, 1, 2, event_id="9-0"), update("completed", 100, 3)], 1000),
    ]

    updates = await using(lambda c: c.jobs.follow(JOB_ID))

    assert service.cursors == [None, "7-0", "7-0"]
    assert [segment.id for told in updates for segment in told.segments] == [0, 1, 2, 3]


async def test_a_ping_is_answered_with_its_time_stamp(using: Caller, service: StubService) -> None:
    ping = {"type": "ping", "timestamp": "2026-01-01T00:00:00Z"}
    service.connections = [([{"type": "connected"}, ping, {"type": "news"}, update("completed", 100)], 1000)]

    await using(lambda c: c.jobs.follow(JOB_ID))

    assert service.pongs == [{"type": "pong", "timestamp": "2026-01-01T00:00:00Z"}]


async def test_a_service_that_is_not_there_is_named(using: Caller, service: StubService, unused_tcp_port: int) -> None:
    place = f"//127.0.0.1:{unused_tcp_port}"
    service.url = f"http:{place}"

    for call in (lambda c: c.jobs.get(JOB_ID), lambda c: c.jobs.follow(JOB_ID)):
        with pytest.raises(ServerUnreachableError, match=f"{place} cannot be reached"):
            await using(call, max_retries=0, max_reconnects=0)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    require("openssl")
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    options = ["-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", *options, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


async def test_a_certificate_of_ones_own_is_trusted_by_request_and_socket(certificate: tuple[Path, Path]) -> None:
    own = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    own.load_cert_chain(*certificate)
    trusting = ssl.create_default_context(cafile=str(certificate[0]))

    async with stub_service(own) as service:
        for awaits in (True, False):
            service.connections = [([update("completed", 100, 0)], 1000)]
            using = Caller(service, awaits=awaits)
            segments = await using(lambda c: c.transcribe(AUDIO, filename="talk.wav"), ssl_context=trusting)
            assert [segment.id for segment in segments] == [0]
            with pytest.raises(ServerUnreachableError, match=r"(?i)certificate"):
                await using(lambda c: c.jobs.get(JOB_ID), max_retries=0)
            with pytest.raises(ServerUnreachableError, match=r"(?i)certificate"):
                await using(lambda c: c.jobs.follow(JOB_ID), max_reconnects=0)


async def test_waiting_ends_with_the_job_as_it_is(using: Caller, service: StubService) -> None:
    service.connections = [([update("processing", 30), update("failed", 30)], 1000)]
    service.outcomes = [{"status": "failed", "error_code": "no_sound_track"}]

    job = await using(lambda c: c.jobs.wait(JOB_ID))

    assert (job.status, job.error_code) == (JobStatus.failed, "no_sound_track")


async def test_nobody_waits_for_longer_than_they_want(using: Caller, service: StubService) -> None:
    service.connections = [([update("processing", 10), {"type": "hang"}], 1000)] * 2

    with pytest.raises(WaitTooLongError):
        await using(lambda c: c.jobs.wait(JOB_ID, timeout=0.2))


async def test_a_socket_that_never_opens_is_given_up(using: Caller, service: StubService) -> None:
    service.connections = [([], 503) for _ in range(5)]

    with pytest.raises(ServerUnreachableError):
        await using(lambda c: c.jobs.follow(JOB_ID), max_reconnects=2)

    assert len(service.cursors) == 3


async def test_a_job_that_is_gone_is_not_followed_for_ever(using: Caller, service: StubService) -> None:
    service.connections = [([], 4404)]

    with pytest.raises(JobNotFoundError):
        await using(lambda c: c.jobs.follow(JOB_ID))

    assert len(service.cursors) == 1


async def test_leaving_early_closes_the_connection(service: StubService) -> None:
    service.connections = [([update("processing", 10, 0), {"type": "hang"}], 1000)]

    def first(client: Client) -> int:
        segments = client.jobs.segments(JOB_ID)
        number = next(segments).id
        segments.close()
        return number

    with Client(service.url) as client:
        before = threading.active_count()
        assert await asyncio.to_thread(first, client) == 0
        assert threading.active_count() <= before + 1  # the pool's own, not the socket's


async def test_threads_may_share_a_client(service: StubService) -> None:
    with Client(service.url) as client:
        jobs = await asyncio.gather(*(asyncio.to_thread(client.jobs.get, JOB_ID) for _ in range(20)))

    assert {job.id for job in jobs} == {JOB_ID}


def errors_of(root: type[Exception]) -> list[type[Exception]]:
    return [root, *(found for child in root.__subclasses__() for found in errors_of(child))]


@pytest.mark.parametrize(
    "kind", [*errors_of(httpx.RequestError), httpx.InvalidURL, TimeoutError], ids=lambda kind: kind.__name__
)
def test_no_error_of_the_network_library_reaches_a_program(kind: type[Exception]) -> None:
    with pytest.raises(ServerUnreachableError, match="a reason"), vendor_errors("http://service.test/path"):
        raise kind("a reason")


def test_a_coroutine_that_waits_for_an_event_loop_is_told_apart() -> None:
    with pytest.raises(RuntimeError, match="nothing to wait for"):
        run(asyncio.sleep(0))


def test_the_blocking_client_has_every_method_of_the_other() -> None:
    def methods(kind: type) -> set[str]:
        return {name for name, _ in inspect.getmembers(kind, callable) if not name.startswith("_")}

    assert methods(Client) == methods(AsyncClient)
    assert methods(Jobs) == methods(type(AsyncClient("http://127.0.0.1").jobs))
