"""Handing out uploads and accepting jobs, over fakes held to their ports' contracts."""

from typing import Any

import pytest

import media
from audio_text.domain.access import ANYBODY, Caller, KeyLimits
from audio_text.domain.job import Job, JobStatus, Priority
from audio_text.errors import (
    DatabaseUnavailableError,
    EmptyAudioError,
    ForeignUrlError,
    InvalidAudioError,
    InvalidRequestError,
    NoSoundTrackError,
    PriorityTooHighError,
    PrivateAddressError,
    RemoteUrlError,
    StoreUnavailableError,
    TierFullError,
    UnknownModelError,
    UnsupportedMediaError,
    UploadMissingError,
    UploadTooLargeError,
)
from audio_text.ports import Resources
from audio_text.services.submission import Submission, SubmissionService
from audio_text.services.uploads import UploadService
from factories import make_settings
from fakes.batches import FakeBatchRepository
from fakes.events import FakeEventStream
from fakes.probe import FakeProbe
from fakes.queue import FakeJobQueue
from fakes.repository import FakeJobRepository
from fakes.store import FakeAudioStore


class World:
    """An API's surroundings."""

    def __init__(self, **overrides: Any) -> None:
        self.jobs = FakeJobRepository()
        self.store = FakeAudioStore()
        self.queue = FakeJobQueue()
        settings = make_settings({key.replace("__", "."): value for key, value in overrides.items()})
        resources = Resources(
            jobs=self.jobs,
            batches=FakeBatchRepository(self.jobs),
            store=self.store,
            queue=self.queue,
            events=FakeEventStream(),
        )
        self.uploads = UploadService(store=self.store, settings=settings.upload)
        self.submissions = SubmissionService(resources, probe=FakeProbe(), settings=settings)

    async def upload(self, data: bytes, filename: str = "meeting.wav", owner: str | None = None) -> str:
        target = await self.uploads.create(
            filename=filename, content_type="audio/wav", size_bytes=len(data), owner=owner
        )
        self.store.upload(target.url, data, "audio/wav")
        return target.url

    async def submit(self, url: str, **fields: Any) -> Job:
        return await self.submissions.submit(Submission(filename="meeting.wav", url=url, **fields))


async def test_a_submitted_job_is_stored_and_then_a_worker_of_its_tier_is_woken() -> None:
    world = World()

    job = await world.submit(await world.upload(media.wav()), model="large-v3", request_id="r1")

    assert (job.status, job.whisper_model, job.tier, job.attempt) == (JobStatus.pending, "large-v3", "audio_large", 0)
    assert await world.jobs.get(job.id) == job
    assert [(m.tier, m.job_id, m.request_id) for m in world.queue.messages] == [("audio_large", job.id, "r1")]


async def test_a_job_that_names_no_model_gets_the_default_one() -> None:
    world = World(job__default_model="small")

    assert (await world.submit(await world.upload(media.wav()))).whisper_model == "small"


async def test_a_model_without_a_tier_goes_to_the_fallback_queue() -> None:
    world = World()

    job = await world.submit(await world.upload(media.wav()), model="turbo")

    assert job.tier == "audio_processing"


async def test_the_stored_address_carries_no_signature() -> None:
    world = World()
    url = await world.upload(media.wav())

    job = await world.submit(url)

    assert "signature" in url
    assert job.url == url.partition("?")[0]


async def test_a_job_stores_the_complete_options_it_runs_with() -> None:
    world = World(options__beam_size=3)

    job = await world.submit(
        await world.upload(media.wav()), options={"language": "en", "vad": {"threshold": 0.7}, "temperature": [0.0]}
    )

    assert (job.options.beam_size, job.options.language, job.options.temperature) == (3, "en", (0.0,))
    assert (job.options.vad.threshold, job.options.vad.min_silence_duration_ms) == (0.7, 500)


@pytest.mark.parametrize(
    ("default", "asked", "answer"),
    [(False, None, False), (True, None, True), (False, True, True), (True, False, False)],
)
async def test_a_job_may_be_answered_from_another_when_it_says_so_or_else_the_settings(
    *, default: bool, asked: bool | None, answer: bool
) -> None:
    world = World(job__reuse=default)

    assert (await world.submit(await world.upload(media.wav()), reuse=asked)).reuse is answer


@pytest.mark.parametrize(
    ("default", "asked", "expiry"), [(0, None, None), (60, None, 60), (60, 120, 120), (0, 1, 1), (60, 3_600, 3_600)]
)
async def test_a_job_expires_when_it_says_or_when_settings_say(
    default: int, asked: int | None, expiry: int | None
) -> None:
    world = World(job__expires_seconds=default, job__max_expires_seconds=3_600)

    job = await world.submit(await world.upload(media.wav()), expires_in=asked)

    assert (job.expires_in_seconds, job.expires_at) == (expiry, None)


async def test_a_job_may_not_ask_to_stay_longer_than_settings_allow() -> None:
    world = World(job__max_expires_seconds=3_600)
    url = await world.upload(media.wav())

    with pytest.raises(InvalidRequestError, match=r"`expires_in`.* 3600"):
        await world.submit(url, expires_in=3_601)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"beam_size": 0}, "beam_size"),
        ({"beam_size": 1_000_000}, "beam_size"),
        ({"language": "klingon"}, "language"),
        ({"vad": {"threshold": 7}}, "threshold"),
        ({"no_such_option": 1}, "no_such_option"),
        ({"clip_start_seconds": 9, "clip_end_seconds": 3}, "clip_end_seconds"),
    ],
)
async def test_absurd_options_are_refused_by_name(options: dict[str, object], named: str) -> None:
    world = World()
    url = await world.upload(media.wav())

    with pytest.raises(InvalidRequestError, match=named):
        await world.submit(url, options=options)
    assert world.jobs.jobs == {}


async def test_a_model_that_settings_do_not_list_is_refused() -> None:
    world = World()
    url = await world.upload(media.wav())

    for model in ("gigantic", "/etc", "openai/whisper-large-v3", "../base"):
        with pytest.raises(UnknownModelError, match="base"):
            await world.submit(url, model=model)


async def test_an_address_that_was_not_handed_out_is_refused() -> None:
    with pytest.raises(ForeignUrlError):
        await World().submit("https://elsewhere.example/recording.wav")


async def test_an_address_that_nothing_was_uploaded_to_is_refused() -> None:
    world = World()
    target = await world.uploads.create(filename="a.wav", content_type=None, size_bytes=100)

    with pytest.raises(UploadMissingError):
        await world.submit(target.url)


async def test_what_is_not_audio_is_refused_before_it_is_queued() -> None:
    world = World()
    for data, error in ((b"hello, this is text", InvalidAudioError), (media.video_without_sound(), NoSoundTrackError)):
        with pytest.raises(error):
            await world.submit(await world.upload(data))
    assert (world.jobs.jobs, world.queue.messages) == ({}, [])


async def test_submissions_that_are_refused_take_no_place_of_the_tier() -> None:
    world = World(tiers__audio_small__max_pending_jobs=1)
    bad = await world.upload(b"hello, this is text")

    for url, error in ((bad, InvalidAudioError), ("https://elsewhere.example/recording.wav", ForeignUrlError)) * 3:
        with pytest.raises(error):
            await world.submit(url, model="tiny")

    assert await world.submit(await world.upload(media.wav()), model="tiny")
    with pytest.raises(TierFullError):
        await world.submit(bad, model="tiny")


async def test_a_stored_object_larger_than_the_limit_is_refused() -> None:
    world = World(upload__max_bytes=1_000)
    url = world.store.put("uploads/ab/abcdefabcdefabcdefabcdefabcdefab.wav", media.wav())

    with pytest.raises(UploadTooLargeError, match="1000"):
        await world.submit(url)


async def test_a_job_is_accepted_although_the_queue_is_away() -> None:
    world = World()
    world.queue.is_down = True

    job = await world.submit(await world.upload(media.wav()))

    assert await world.jobs.get(job.id) == job


async def test_nobody_is_woken_for_a_job_that_could_not_be_stored() -> None:
    world = World()
    url = await world.upload(media.wav())
    world.jobs.is_down = True

    with pytest.raises(DatabaseUnavailableError):
        await world.submit(url)
    assert world.queue.messages == []


async def test_a_store_that_is_away_is_not_taken_for_a_missing_upload() -> None:
    world = World()
    url = await world.upload(media.wav())
    world.store.is_down = True

    with pytest.raises(StoreUnavailableError):
        await world.submit(url)


async def test_an_upload_is_bound_to_a_random_key_and_not_to_the_files_name() -> None:
    world = World()

    targets = [
        await world.uploads.create(filename="../../etc/passwd.MP3", content_type="", size_bytes=10) for _ in range(2)
    ]

    assert targets[0].url != targets[1].url
    assert all("passwd" not in target.url and ".." not in target.url and ".mp3" in target.url for target in targets)


@pytest.mark.parametrize("filename", ["notes.txt", "no extension", "", "archive.mp3.exe", ".mp3"])
async def test_files_of_other_kinds_are_refused_with_the_kinds_that_are_accepted(filename: str) -> None:
    with pytest.raises(UnsupportedMediaError, match="mp3, wav"):
        await World().uploads.create(filename=filename, content_type="audio/mpeg", size_bytes=10)


async def test_too_large_and_empty_files_are_refused_before_they_are_uploaded() -> None:
    uploads = World(upload__max_bytes=100).uploads

    with pytest.raises(UploadTooLargeError, match="101 bytes"):
        await uploads.create(filename="a.mp3", content_type=None, size_bytes=101)
    with pytest.raises(EmptyAudioError):
        await uploads.create(filename="a.mp3", content_type=None, size_bytes=0)


async def test_an_upload_of_another_owner_is_a_foreign_url_and_nothing_of_it_is_looked_at() -> None:
    world = World()
    ada, bob = Caller(owner="ada"), Caller(owner="bob")
    url = await world.upload(media.wav(), owner="ada")
    job = await world.submit(url, caller=ada)
    assert job.owner == "ada"
    for caller in (bob, Caller()):
        with pytest.raises(ForeignUrlError) as foreign:
            await world.submit(url, caller=caller)
        with pytest.raises(ForeignUrlError) as unknown:
            await world.submit("https://elsewhere.test/a.wav", caller=caller)
        assert foreign.value.detail == unknown.value.detail
    assert len(world.jobs.jobs) == 1


ELSEWHERE = "https://media.example/talks/one.mp3?X-Signature=secret"


async def test_a_recording_elsewhere_is_only_taken_where_a_setting_says_so() -> None:
    with pytest.raises(ForeignUrlError, match=r"remote\.enabled"):
        await World().submit(ELSEWHERE)


async def test_a_recording_elsewhere_is_taken_unseen_and_shown_without_its_secret() -> None:
    world = World(remote__enabled=True)

    job = await world.submit(ELSEWHERE)

    assert (job.status, job.source_url) == (JobStatus.pending, ELSEWHERE)
    assert job.url == "https://media.example/talks/one.mp3"
    assert (job.file_size_bytes, job.duration, job.content_type) == (0, None, None)
    assert job.object_key.endswith(".wav")  # by the name that the client gives it
    assert await world.jobs.get(job.id) == job
    assert len(world.queue.messages) == 1


async def test_two_jobs_for_one_address_have_recordings_of_their_own() -> None:
    world = World(remote__enabled=True)

    first, second = await world.submit(ELSEWHERE), await world.submit(ELSEWHERE)

    assert first.object_key != second.object_key


async def test_an_upload_of_ours_is_looked_at_though_recordings_elsewhere_are_taken() -> None:
    world = World(remote__enabled=True)
    url = await world.upload(media.wav())

    assert (await world.submit(url)).source_url is None
    target = await world.uploads.create(filename="a.wav", content_type=None, size_bytes=9)
    with pytest.raises(UploadMissingError):
        await world.submit(target.url)


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("http://media.example/one.mp3", RemoteUrlError),
        ("https://media.example:8080/one.mp3", RemoteUrlError),
        ("https://user:secret@media.example/one.mp3", RemoteUrlError),
        ("https://127.0.0.1/one.mp3", PrivateAddressError),
        ("https://[::1]/one.mp3", PrivateAddressError),
        ("https://169.254.169.254/latest/meta-data/", PrivateAddressError),
        ("https://2130706433/one.mp3", RemoteUrlError),
        ("s3://theirs/one.mp3", RemoteUrlError),
        ("s3://audio-text/uploads/ab/abc.mp3", RemoteUrlError),
        ("s3://allowed", RemoteUrlError),
        ("ftp://media.example/one.mp3", ForeignUrlError),
        ("file:///etc/passwd", ForeignUrlError),
        ("/etc/passwd", ForeignUrlError),
        ("uploads/ab/abc.mp3", ForeignUrlError),
    ],
)
async def test_an_address_that_nobody_goes_to_is_refused_at_once(url: str, error: type[Exception]) -> None:
    world = World(remote__enabled=True, remote__allowed_buckets=["allowed", "audio-text"])
    with pytest.raises(error):
        await world.submit(url)
    assert world.queue.messages == []


async def test_an_object_of_an_allowed_bucket_is_taken() -> None:
    world = World(remote__enabled=True, remote__allowed_buckets=["allowed"])

    job = await world.submit("s3://allowed/talks 2030/one.mp3?x#y")

    assert job.url == job.source_url == "s3://allowed/talks 2030/one.mp3?x#y"


async def test_a_key_submits_jobs_of_its_highest_class_at_most() -> None:
    world = World()
    url = await world.upload(media.wav())
    limited = Caller(key_id="k")
    trusted = Caller(key_id="t", limits=KeyLimits(highest_priority=Priority.high))
    refused = {"caller": limited, "priority": Priority.high}
    with pytest.raises(PriorityTooHighError, match="`normal` at most"):
        await world.submit(url, **refused)
    assert (await world.submit(url, caller=limited, priority=Priority.normal)).priority is Priority.normal
    for caller in (trusted, ANYBODY):
        assert (await world.submit(url, caller=caller, priority=Priority.high)).priority is Priority.high
    generous = World(limits__highest_priority="high")
    assert await generous.submit(await generous.upload(media.wav()), **refused)
