"""Recordings that lie elsewhere: brought by the attempt that needs them, once, or refused with a reason."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aioboto3
import pytest
from structlog.testing import capture_logs

import media
from audio_text.adapters.guarded_http import open_guarded_http
from audio_text.adapters.remote_buckets import open_remote_buckets
from audio_text.adapters.s3_client import CONFIG
from audio_text.domain.events import JobUpdate
from audio_text.domain.job import Job, JobStatus
from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.usage import Quota
from audio_text.errors import (
    AudioTextError,
    EmptyAudioError,
    InvalidAudioError,
    LeaseLostError,
    PrivateAddressError,
    RemoteAnswerError,
    RemoteDisabledError,
    RemoteRefusedError,
    RemoteUnavailableError,
    RemoteUrlError,
    TooManyChannelsError,
    UnsupportedMediaError,
    UploadTooLargeError,
)
from audio_text.ports import Again, Resources
from audio_text.services.ingest import IngestService
from audio_text.services.transcription import TranscriptionService
from audio_text.settings import S3Settings
from factories import make_job, make_settings
from fakes.batches import FakeBatchRepository
from fakes.engine import FakeEngine
from fakes.events import FakeEventStream
from fakes.probe import FakeProbe
from fakes.queue import FakeJobQueue
from fakes.repository import FakeJobRepository
from fakes.store import FakeAudioStore
from fakes.watchdog import FakeWatchdog
from services.outside import Outside, Script, answer, head, raw, serve_outside
from services.s3 import S3Server

NAME = "recordings.test"
TIER = "audio_small"
WAV = media.wav()


class World:
    """A worker's surroundings, and a server elsewhere."""

    def __init__(self, outside: Outside, **overrides: Any) -> None:
        self.outside = outside
        self.jobs = FakeJobRepository()
        self.store = FakeAudioStore()
        self.queue = FakeJobQueue()
        self.events = FakeEventStream()
        self.settings = make_settings(
            {
                "remote.enabled": True,
                "remote.allow_http": True,
                "remote.ports": [outside.port],
                "remote.allowed_networks": ["127.0.0.1/32"],
                "remote.read_seconds": 1.0,
                **overrides,
            }
        )
        self.resources = Resources(
            jobs=self.jobs,
            batches=FakeBatchRepository(self.jobs),
            store=self.store,
            queue=self.queue,
            events=self.events,
        )

    async def resolve(self, host: str, port: int) -> list[str]:
        return [host] if host[0].isdecimal() else ["127.0.0.1"]

    @asynccontextmanager
    async def ingest(self, *, probe: FakeProbe | None = None) -> AsyncIterator[IngestService]:
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(open_guarded_http(self.settings.remote, resolve=self.resolve))
            buckets = await stack.enter_async_context(
                open_remote_buckets(self.settings.s3, access_key="testkey", secret_key="testsecret0123456789")
            )
            yield IngestService(
                self.resources, http=http, buckets=buckets, probe=probe or FakeProbe(), settings=self.settings
            )

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[TranscriptionService]:
        async with self.ingest() as ingest:
            yield TranscriptionService(
                self.resources,
                engine=FakeEngine(),
                ingest=ingest,
                watchdog=FakeWatchdog(),
                settings=self.settings,
                owner="test",
                chance=lambda: 0.0,
            )

    async def submitted(self, path: str = "/a.wav", quota: Quota | None = None, **fields: Any) -> Job:
        url = path if "://" in path else f"http://{NAME}:{self.outside.port}{path}"
        job = make_job(**({"source_url": url, "url": url, "file_size_bytes": 0, "content_type": None} | fields))
        await self.jobs.add(job, quota=quota)
        return job

    async def claimed(self, path: str = "/a.wav", **fields: Any) -> Job:
        job = await self.submitted(path, **fields)
        return await self.claim(job)

    async def claim(self, job: Job) -> Job:
        return self.jobs.take(await self.jobs.get(job.id), owner="test", lease_seconds=60)


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    async with serve_outside() as server:
        server.pages["/a.wav"] = answer(200, WAV, "Content-Type: audio/x-wav")
        yield server


async def test_a_recording_is_brought_into_the_store_and_described(outside: Outside) -> None:
    world = World(outside)
    async with world.ingest() as ingest:
        job = await ingest.bring(await world.claimed())
    assert world.store.objects == {job.object_key: WAV}
    stored = await world.jobs.get(job.id)
    assert (stored.file_size_bytes, stored.content_type) == (len(WAV), "audio/x-wav")
    assert stored.duration is not None
    assert (job.file_size_bytes, job.duration) == (stored.file_size_bytes, stored.duration)


async def test_a_second_attempt_finds_it_and_asks_nobody(outside: Outside) -> None:
    world = World(outside)
    async with world.ingest() as ingest:
        job = await ingest.bring(await world.claimed())
    async with world.ingest() as elsewhere:
        again = await elsewhere.bring(await world.claim(job))
    assert again.file_size_bytes == len(WAV)
    assert outside.paths == ["/a.wav"]


async def test_what_was_stored_but_never_described_is_only_described(outside: Outside) -> None:
    world = World(outside)
    job = await world.claimed()
    world.store.put(job.object_key, WAV)
    async with world.ingest() as ingest:
        await ingest.bring(job)
    assert (await world.jobs.get(job.id)).file_size_bytes == len(WAV)
    assert outside.requests == []


async def test_what_was_removed_since_is_brought_again(outside: Outside) -> None:
    world = World(outside)
    async with world.ingest() as ingest:
        job = await ingest.bring(await world.claimed())
        await world.store.delete(job.object_key)
        await ingest.bring(await world.claim(job))
    assert world.store.objects == {job.object_key: WAV}
    assert outside.paths == ["/a.wav", "/a.wav"]


async def test_an_upload_is_none_of_its_business(outside: Outside) -> None:
    world = World(outside)
    job = make_job()
    async with world.ingest() as ingest:
        assert await ingest.bring(job) is job


async def test_a_recording_without_a_telling_name_is_known_by_its_type_or_its_beginning(outside: Outside) -> None:
    world = World(outside)
    outside.pages["/typed"] = answer(200, WAV, "Content-Type: audio/wav")
    outside.pages["/untyped"] = answer(200, WAV, "Content-Type: \x01nonsense")
    async with world.ingest() as ingest:
        for path in ("/typed", "/untyped"):
            job = await ingest.bring(await world.claimed(path, filename="recording", object_key=f"uploads/{path}"))
            assert world.store.objects[job.object_key] == WAV


async def test_a_page_under_no_name_is_not_even_stored(outside: Outside) -> None:
    world = World(outside)
    outside.pages["/login"] = answer(200, b"<!doctype html><title>Sign in</title>", "Content-Type: text/html")
    async with world.ingest() as ingest:
        with pytest.raises(UnsupportedMediaError):
            await ingest.bring(await world.claimed("/login", filename="recording"))
    assert world.store.objects == {}


async def for_ever(writer: asyncio.StreamWriter) -> None:
    writer.write(head(200))
    while True:
        writer.write(b"\0" * 65_536)
        await writer.drain()


@pytest.mark.parametrize(
    ("script", "error"),
    [
        (answer(404), RemoteRefusedError),
        (answer(403), RemoteRefusedError),
        (answer(410), RemoteRefusedError),
        (answer(401, b"", 'WWW-Authenticate: Basic realm="x"'), RemoteRefusedError),
        (answer(204), RemoteAnswerError),
        (answer(206, WAV), RemoteAnswerError),
        (answer(304), RemoteAnswerError),
        (answer(200, b""), EmptyAudioError),
        (answer(200, b"<!doctype html><title>Sign in</title>"), InvalidAudioError),
        (answer(200, WAV, "Content-Encoding: gzip"), RemoteAnswerError),
        (answer(200, WAV + b"\0" * 1_000_000), UploadTooLargeError),
        (for_ever, UploadTooLargeError),
        (answer(302, b"", "Location: http://127.0.0.2/a.wav"), RemoteUrlError),
        (answer(302, b"", "Location: http://169.254.169.254:{port}/"), PrivateAddressError),
        (answer(302, b"", "Location: file:///etc/passwd"), RemoteUrlError),
    ],
)
async def test_what_will_never_be_a_recording_fails_the_job_at_once(
    outside: Outside, script: Script, error: type[AudioTextError]
) -> None:
    world = World(outside, **{"upload.max_bytes": 500_000})
    outside.pages["/a.wav"] = _with_port(script, outside.port)
    async with world.worker() as worker:
        job = await world.submitted()
        assert await worker.run_next(TIER)
    ended = await world.jobs.get(job.id)
    assert (ended.status, ended.error_code) == (JobStatus.failed, error.code)
    assert (ended.is_dead_letter, ended.attempt) == (False, 1)
    assert world.store.objects == {}


def _with_port(script: Script, port: int) -> Script:
    async def write(writer: asyncio.StreamWriter) -> None:
        class Filled:
            def write(self, data: bytes) -> None:
                writer.write(data.replace(b"{port}", str(port).encode()))

            drain = staticmethod(writer.drain)

        await script(Filled())  # type: ignore[arg-type]

    return write


async def drip(writer: asyncio.StreamWriter) -> None:
    writer.write(head(200, f"Content-Length: {len(WAV)}") + WAV[:100])
    while True:
        writer.write(b"\0")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    ("script", "at_least"),
    [
        (answer(500), 0),
        (answer(503, b"", "Retry-After: 120"), 120),
        (answer(429, b"", "Retry-After: 999999"), 3_600),
        (answer(408), 0),
        (raw(head(200, f"Content-Length: {len(WAV)}") + WAV[:-1]), 0),
        (raw(b""), 0),
        (drip, 0),
    ],
)
async def test_what_may_pass_is_tried_again_and_later_where_the_server_asks_for_that(
    outside: Outside, script: Script, at_least: int
) -> None:
    world = World(outside, **{"remote.total_seconds": 0.5})
    outside.pages["/a.wav"] = script
    async with world.worker() as worker:
        job = await world.submitted()
        assert await worker.run_next(TIER)
        waiting = await world.jobs.get(job.id)
        assert (waiting.status, waiting.attempt) == (JobStatus.pending, 1)
        [record] = await world.jobs.attempts(job.id)
        assert record.error_code == RemoteUnavailableError.code
        assert waiting.available_at is not None
        delay = (waiting.available_at - waiting.update_date).total_seconds()
        assert at_least - 1 <= delay <= at_least + 60
        assert world.store.objects == {}

        outside.pages["/a.wav"] = answer(200, WAV)
        world.jobs.overwrite(job.id, available_at=waiting.update_date)
        assert await worker.run_next(TIER)
    assert (await world.jobs.get(job.id)).status is JobStatus.completed


async def test_what_does_not_pass_is_a_dead_letter_in_the_end(outside: Outside) -> None:
    world = World(outside, **{"tiers.audio_small.retry.retries": 0})
    outside.pages["/a.wav"] = answer(502)
    async with world.worker() as worker:
        job = await world.submitted()
        assert await worker.run_next(TIER)
    ended = await world.jobs.get(job.id)
    assert (ended.status, ended.error_code, ended.is_dead_letter) == (JobStatus.failed, "remote_unavailable", True)


async def test_a_failed_job_that_is_retried_fetches_what_it_could_not_fetch(outside: Outside) -> None:
    world = World(outside)
    outside.pages["/a.wav"] = answer(404)
    async with world.worker() as worker:
        job = await world.submitted()
        await worker.run_next(TIER)
        outside.pages["/a.wav"] = answer(200, WAV)
        await world.jobs.retry(job.id, again=Again())
        await worker.run_next(TIER)
    assert (await world.jobs.get(job.id)).status is JobStatus.completed


async def test_what_was_reserved_comes_back_when_nothing_is_there_and_the_rest_when_something_is(
    outside: Outside,
) -> None:
    world = World(outside)
    quota = Quota(key_id="k", audio_seconds_per_day=100, unknown_audio_seconds=60)
    outside.pages["/none.wav"] = answer(404)
    outside.pages["/no.wav"] = answer(200, b"nothing to hear" * 100)
    async with world.worker() as worker:
        for path in ("/none.wav", "/no.wav"):
            job = await world.submitted(path, quota, key_id="k")
            assert (await world.jobs.usage("k")).audio_seconds_today == 60
            await worker.run_next(TIER)
            assert (await world.jobs.get(job.id)).status is JobStatus.failed
            assert (await world.jobs.usage("k")).audio_seconds_today == 0, path
        job = await world.submitted("/a.wav", quota, key_id="k")
        await worker.run_next(TIER)
    assert (await world.jobs.get(job.id)).status is JobStatus.completed
    assert (await world.jobs.usage("k")).audio_seconds_today == (await world.jobs.get(job.id)).duration


async def test_a_recording_that_is_longer_than_what_is_left_is_not_heard_and_is_there_for_a_retry(
    outside: Outside,
) -> None:
    world = World(outside)
    quota = Quota(key_id="k", audio_seconds_per_day=1, unknown_audio_seconds=1)
    outside.pages["/a.wav"] = answer(200, media.wav(6.0))
    async with world.worker() as worker:
        job = await world.submitted("/a.wav", quota, key_id="k")
        await worker.run_next(TIER)
        failed = await world.jobs.get(job.id)
        assert (failed.status, failed.error_code) == (JobStatus.failed, "audio_quota_exceeded")
        assert (failed.progress, (await world.jobs.usage("k")).audio_seconds_today) == (0, 0)
        more = Quota(key_id="k", audio_seconds_per_day=6, unknown_audio_seconds=1)
        await world.jobs.retry(job.id, again=Again(), quota=more)
        await worker.run_next(TIER)
    assert (await world.jobs.get(job.id)).status is JobStatus.completed
    assert (await world.jobs.usage("k")).audio_seconds_today == 6
    assert outside.paths == ["/a.wav"]


async def test_a_job_that_is_cancelled_stops_the_fetch_and_leaves_nothing(outside: Outside) -> None:
    world = World(outside, **{"remote.total_seconds": 60.0})
    left = asyncio.Event()

    async def slow(writer: asyncio.StreamWriter) -> None:
        try:
            await drip(writer)
        finally:
            left.set()

    outside.pages["/a.wav"] = slow
    async with world.worker() as worker, asyncio.TaskGroup() as group:
        job = await world.submitted()
        running = group.create_task(worker.run_next(TIER))
        while not outside.requests:
            await asyncio.sleep(0.01)
        cancelled = await world.jobs.cancel(job.id)
        await world.events.publish(JobUpdate.of(cancelled))
        async with asyncio.timeout(10):
            await running
            await left.wait()
    assert (await world.jobs.get(job.id)).status is JobStatus.cancelled
    assert world.store.objects == {}


async def test_a_worker_that_stops_hands_the_job_back_before_the_fetch_ends(outside: Outside) -> None:
    world = World(outside, **{"remote.total_seconds": 60.0})
    outside.pages["/a.wav"] = drip
    async with world.worker() as worker, asyncio.TaskGroup() as group:
        job = await world.submitted()
        running = group.create_task(worker.run_next(TIER))
        while not outside.requests:
            await asyncio.sleep(0.01)
        worker.stop()
        async with asyncio.timeout(10):
            await running
    waiting = await world.jobs.get(job.id)
    assert (waiting.status, waiting.attempt) == (JobStatus.pending, 0)
    assert world.store.objects == {}


async def test_who_lost_the_job_stores_nothing_when_the_fetch_ends(outside: Outside) -> None:
    world = World(outside)
    first = await world.claimed()
    await world.claim(first)
    async with world.ingest() as ingest:
        with pytest.raises(LeaseLostError):
            await ingest.bring(first)
    assert world.store.objects == {}


async def test_what_the_worker_may_not_ask_any_more_is_not_asked(outside: Outside) -> None:
    world = World(outside, **{"remote.enabled": False})
    async with world.ingest() as ingest:
        with pytest.raises(RemoteDisabledError):
            await ingest.bring(await world.claimed())
        with pytest.raises(RemoteDisabledError):
            await ingest.bring(await world.claimed("s3://bucket/key.wav"))
    assert outside.requests == []


async def test_too_many_channels_are_found_out_when_it_is_here_and_it_is_not_kept(outside: Outside) -> None:
    world = World(outside, **{"engine.max_channels": 1})
    outside.pages["/a.wav"] = answer(200, media.wav(layout="stereo"))
    async with world.ingest() as ingest:
        with pytest.raises(TooManyChannelsError):
            await ingest.bring(await world.claimed(options=TranscriptionOptions(channels="separate")))
    assert world.store.objects == {}


async def test_no_log_line_holds_the_secret_of_an_address(outside: Outside, log_lines: Callable[[], str]) -> None:
    world = World(outside)
    outside.pages["/a.wav?X-Signature=hush"] = answer(200, WAV)
    async with world.worker() as worker:
        await world.submitted("/a.wav?X-Signature=hush", url="http://shown")
        await worker.run_next(TIER)
    assert "recording_brought" in log_lines()
    assert "hush" not in log_lines()


@pytest.fixture
def log_lines() -> Any:
    with capture_logs() as lines:
        yield lambda: str(lines)


class Bucket:
    """Somebody else's bucket on the same server."""

    def __init__(self, settings: S3Settings, name: str) -> None:
        self.settings = settings
        self.name = name

    async def put(self, key: str, data: bytes) -> None:
        session = aioboto3.Session("testkey", "testsecret0123456789", region_name=self.settings.region)
        async with session.client("s3", endpoint_url=self.settings.endpoint, config=CONFIG) as client:
            await client.create_bucket(Bucket=self.name)
            await client.put_object(Bucket=self.name, Key=key, Body=data, ContentType="audio/wav")


@pytest.mark.s3
async def test_an_object_of_an_allowed_bucket_is_brought(outside: Outside, s3_server: S3Server) -> None:
    world = World(outside, **{"s3": s3_server.settings, "remote.allowed_buckets": ["calls"]})
    await Bucket(s3_server.settings, "calls").put("a b/ä.wav", WAV)
    async with world.ingest() as ingest:
        job = await ingest.bring(await world.claimed("s3://calls/a b/ä.wav"))
        assert world.store.objects == {job.object_key: WAV}
        assert job.content_type == "audio/wav"
        for url, error in (
            ("s3://calls/missing.wav", RemoteRefusedError),
            ("s3://other/a.wav", RemoteUrlError),
        ):
            with pytest.raises(error):
                await ingest.bring(await world.claimed(url))


@pytest.mark.s3
async def test_an_object_that_is_too_large_is_not_brought(outside: Outside, s3_server: S3Server) -> None:
    world = World(
        outside, **{"s3": s3_server.settings, "remote.allowed_buckets": ["calls"], "upload.max_bytes": len(WAV) - 1}
    )
    await Bucket(s3_server.settings, "calls").put("a.wav", WAV)
    async with world.ingest() as ingest:
        with pytest.raises(UploadTooLargeError):
            await ingest.bring(await world.claimed("s3://calls/a.wav"))
    assert world.store.objects == {}


@pytest.mark.s3
async def test_a_bucket_that_is_missing_or_closed_is_said_so(outside: Outside, s3_server: S3Server) -> None:
    world = World(outside, **{"s3": s3_server.settings, "remote.allowed_buckets": ["nobody"]})
    async with world.ingest() as ingest:
        with pytest.raises(RemoteRefusedError):
            await ingest.bring(await world.claimed("s3://nobody/a.wav"))


async def test_a_bucket_that_does_not_answer_may_be_tried_again(outside: Outside) -> None:
    world = World(outside, **{"s3.endpoint": "http://127.0.0.1:9", "remote.allowed_buckets": ["calls"]})
    async with world.ingest() as ingest:
        with pytest.raises(RemoteUnavailableError):
            await ingest.bring(await world.claimed("s3://calls/a.wav"))
