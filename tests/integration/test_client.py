"""The client against a real API and a real worker."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import httpx
import pytest
import srt
from aiohttp import web

from audio_text.client import AsyncClient, Client, JobStatus, Upload
from audio_text.errors import (
    ChecksumMismatchError,
    InvalidRequestError,
    JobFailedError,
    JobNotFoundError,
    JobStateError,
    UnknownModelError,
    UploadMissingError,
)
from audio_text.settings import Settings
from recordings import path_of, text_of, words_of
from services.api import ApiProcess
from services.database import Database
from services.relay import Relay
from services.whole import NOBODYS, whole_service

SPEECH = path_of("two")
SAID = words_of([text_of("two")])


@pytest.fixture(scope="module")
def api(shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with whole_service(shared_api_settings, tmp_path_factory.mktemp("service")) as api:
        yield api


@pytest.fixture(scope="module")
def client(api: ApiProcess) -> Iterator[Client]:
    with Client(f"http://{api.address}", timeout=60) as client:
        yield client


@pytest.fixture
def upload(client: Client) -> Upload:
    return client.upload(SPEECH)


@pytest.fixture
async def async_client(api: ApiProcess) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(f"http://{api.address}", timeout=60) as client:
        yield client


async def test_a_recording_becomes_segments_one_after_the_other(async_client: AsyncClient) -> None:
    segments = [segment async for segment in async_client.transcribe(SPEECH, word_timestamps=True)]

    assert words_of(segment.text for segment in segments) == SAID
    assert [segment.id for segment in segments] == list(range(len(segments)))
    assert all(segment.words for segment in segments)


def test_the_same_without_await(client: Client) -> None:
    segments = client.transcribe(SPEECH.read_bytes(), filename="talk.flac")

    assert words_of(segment.text for segment in segments) == SAID


def test_a_job_is_read_listed_and_written_in_any_format(client: Client, upload: Upload) -> None:
    submitted = client.jobs.submit(upload, description="first", metadata={"made": "here"}, priority="high")

    job = client.jobs.wait(submitted.id, timeout=60)
    transcript = client.jobs.transcript(job.id)
    cues = list(srt.parse(client.jobs.document(job.id, "srt", max_line_width=20)))
    noted = client.jobs.annotate(job.id, description=None, metadata={"checked": "yes"})

    assert (job.status, job.progress, job.description) == (JobStatus.completed, 100, "first")
    assert words_of([job.result_text or ""]) == words_of([transcript.text]) == SAID
    assert not transcript.is_partial
    assert all(len(line) <= 20 for cue in cues for line in cue.content.splitlines())
    assert (noted.description, noted.metadata) == (None, {"made": "here", "checked": "yes"})
    assert [found.id for found in client.jobs.iterate(metadata={"made": "here"}, q=SAID[0])] == [job.id]
    assert [attempt.end for attempt in client.jobs.attempts(job.id)] == ["completed"]


def test_a_list_is_longer_than_its_pages(client: Client, upload: Upload) -> None:
    ids = [client.jobs.submit(upload, model=NOBODYS, metadata={"list": "long"}).id for _ in range(5)]

    page = client.jobs.list(limit=2, metadata={"list": "long"}, order="asc")
    rest = client.jobs.list(limit=9, cursor=page.cursor, metadata={"list": "long"}, order="asc")

    assert [job.id for job in client.jobs.iterate(limit=2, metadata={"list": "long"})] == ids[::-1]
    assert [job.id for job in (*page.jobs, *rest.jobs)] == ids
    assert rest.cursor is None


def test_a_job_is_cancelled_done_again_and_deleted(client: Client, upload: Upload) -> None:
    job = client.jobs.submit(upload, model=NOBODYS)

    assert client.jobs.cancel(job.id).status is JobStatus.cancelled
    with pytest.raises(JobFailedError, match="cancelled"):
        list(client.jobs.segments(job.id))
    retried = client.jobs.retry(job.id, model="demo", beam_size=1)
    done = client.jobs.wait(job.id, timeout=60)
    with pytest.raises(JobStateError):
        client.jobs.retry(job.id)
    client.jobs.delete(job.id)

    assert (retried.whisper_model, retried.options["beam_size"]) == ("demo", 1)
    assert done.status is JobStatus.completed
    with pytest.raises(JobNotFoundError):
        client.jobs.get(job.id)


async def test_a_job_that_is_deleted_while_it_is_followed_is_gone(async_client: AsyncClient) -> None:
    job = await async_client.jobs.submit(await async_client.upload(SPEECH), model=NOBODYS)

    async with aclosing(async_client.jobs.follow(job.id)) as updates:
        assert (await anext(updates)).status is JobStatus.pending
        await async_client.jobs.delete(job.id)
        with pytest.raises(JobNotFoundError):
            [update async for update in updates]


async def test_a_job_is_followed_through_connections_that_are_cut(api: ApiProcess, async_client: AsyncClient) -> None:
    cuts, ids = 0, list[int]()
    async with Relay(Database(api.settings.api, "")) as relay:  # it needs no more of a server than host and port
        address = f"http://127.0.0.1:{relay.database.settings.port}"
        async with AsyncClient(address) as unlucky:
            job = await unlucky.jobs.submit(await async_client.upload(path_of("memo_100s")))
            async for update in unlucky.jobs.follow(job.id):
                ids += [segment.id for segment in update.segments]
                if not update.status.is_terminal:
                    await relay.cut()
                    cuts += 1

    assert cuts > 0
    assert ids == [segment.id for segment in (await async_client.jobs.transcript(job.id)).segments]


@pytest.mark.parametrize("size", [1_000, 70_000_000], ids=["in one piece", "in parts"])
def test_what_is_uploaded_arrives_as_it_is(size: int, client: Client, api: ApiProcess, tmp_path: Path) -> None:
    path = tmp_path / "noise.wav"
    block = bytes(range(251)) * 1_000
    with path.open("wb") as file:
        file.writelines(block[: size - written] for written in range(0, size, len(block)))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()

    upload = client.upload(path, sha256=digest)

    stored = Path(api.settings.disk.folder) / upload.url.partition("uploads/")[2].partition("?")[0]
    (found,) = Path(api.settings.disk.folder).rglob(stored.name)
    assert hashlib.sha256(found.read_bytes()).hexdigest() == digest


def test_another_file_than_was_declared_is_refused(client: Client) -> None:
    with pytest.raises(ChecksumMismatchError):
        client.upload(b"RIFF" + bytes(1_000), filename="talk.wav", sha256="ab" * 32)


def test_the_service_refuses_in_its_own_words(client: Client, upload: Upload) -> None:
    with pytest.raises(UnknownModelError, match="enormous"):
        client.jobs.submit(upload, model="enormous")
    with pytest.raises(InvalidRequestError, match="beam_size") as caught:
        client.jobs.submit(upload, beam_size=1_000)
    with pytest.raises(UploadMissingError):
        client.jobs.submit(Upload(url=upload.url.replace(".flac", ".wav"), filename="talk.wav"))

    assert caught.value.request_id


@asynccontextmanager
async def forgetful(api: ApiProcess, *, path: str, times: int) -> AsyncIterator[str]:
    """Stand in front of the service, and lose the first answers of one address: what was asked for is done."""
    lost: list[bytes] = []

    async def forward(request: web.Request) -> web.Response:
        async with httpx.AsyncClient(timeout=60) as http:
            url = f"http://{api.address}{request.path_qs}"
            answer = await http.request(request.method, url, headers=request.headers, content=await request.read())
        if request.path == path and len(lost) < times:
            lost.append(answer.content)
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=answer.status_code, body=answer.content, content_type="application/json")

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", forward)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield "http://{}:{}".format(*runner.addresses[0][:2])
    await runner.cleanup()
    assert len(lost) == times


async def test_a_submission_whose_answers_are_lost_is_one_job(api: ApiProcess, client: Client) -> None:
    upload = await asyncio.to_thread(client.upload, SPEECH)
    async with (
        forgetful(api, path="/api/v1/job/transcribe", times=2) as address,
        AsyncClient(address) as unlucky,
    ):
        job = await unlucky.jobs.submit(upload, model=NOBODYS, metadata={"sent": "thrice"})

    assert [found.id for found in client.jobs.iterate(metadata={"sent": "thrice"})] == [job.id]
