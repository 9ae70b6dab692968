"""Calls over HTTP: each channel by itself, labelled in every format, and whole although its worker was killed."""

import asyncio
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import srt
import webvtt

import media
from audio_text.adapters.engine import WhisperEngine
from audio_text.domain.job import AttemptEnd
from audio_text.domain.options import Channels, TranscriptionOptions
from audio_text.domain.transcript import Segment
from recordings import conversation, joined, samples_of, silence, text_of, write_channels
from services.api import Api
from services.worker import worker_process

NAMES = ["Agent", "R&D <Kim>"]
CALL = {"model": "demo", "language": "en", "temperature": [0.0], "channels": "separate", "channel_names": NAMES}


@pytest.fixture
def call(tmp_path: Path) -> bytes:
    """The first one asks, and the second one answers."""
    second = joined([silence(4.5), samples_of("one_b")])
    return write_channels(tmp_path / "call.wav", samples_of("one_a"), second).read_bytes()


async def read(api: Api, job_id: str, transcript_format: str) -> httpx.Response:
    address = f"/api/v1/job/{job_id}/transcript"
    return (await api.client.get(address, params={"format": transcript_format})).raise_for_status()


async def test_every_format_says_on_which_channel_what_was_said(api: Api, call: bytes, tmp_path: Path) -> None:
    job_id = (await api.submit("call.wav", call, **CALL))["id"]
    with worker_process(api.settings, tmp_path, "audio_small"):
        job = await api.ended(job_id)
    asked, answered = (f"{name}: {text_of(one)}" for name, one in zip(NAMES, ("one_a", "one_b"), strict=True))
    texts = f"{asked}\n{answered}"

    assert (job.error_message, job.result_text) == (None, texts)
    assert (await read(api, job_id, "text")).text == f"{texts}\n"
    rows = [line.split("\t") for line in (await read(api, job_id, "tsv")).text.splitlines()]
    assert rows[0] == ["start", "end", "speaker", "text"]
    assert [row[2] for row in rows[1:]] == NAMES
    cues = list(srt.parse((await read(api, job_id, "srt")).text))
    assert " ".join(cue.content for cue in cues).split() == texts.split()
    captions = webvtt.from_string((await read(api, job_id, "vtt")).text, strict=True)
    assert [caption.raw_text.partition(">")[0] for caption in captions] == ["<v Agent", "<v R&amp;D &lt;Kim&gt;"]
    brief, verbose = [(await read(api, job_id, kind)).json() for kind in ("json", "verbose_json")]
    for found in (brief, verbose):
        assert [(s["id"], s["channel"], s["speaker"]) for s in found["segments"]] == [
            (0, 1, NAMES[0]),
            (1, 2, NAMES[1]),
        ]
        assert [(c["channel"], c["speaker"], c["language"]) for c in found["channels"]] == [
            (1, NAMES[0], "en"),
            (2, NAMES[1], "en"),
        ]
        assert found["text"] == texts


async def test_a_call_whose_worker_is_killed_becomes_in_each_channel_what_it_would_have_been(
    api: Api, tmp_path: Path
) -> None:
    voices = [conversation(60, pauses=(0.5, 1.0), seed=seed).samples for seed in (1, 2)]
    recording = await asyncio.to_thread(write_channels, tmp_path / "call.wav", *voices)
    job_id = (await api.submit("call.wav", recording.read_bytes(), **CALL))["id"]
    jobs = api.services.resources.jobs
    settings = msgspec.structs.replace(
        api.settings,
        engine=msgspec.structs.replace(api.settings.engine, preload=("demo",), block_seconds=30.0),
        worker=msgspec.structs.replace(api.settings.worker, lease_seconds=3.0, default_concurrency=1),
    )
    with worker_process(settings, tmp_path, "audio_small", name="killed") as worker:
        async with asyncio.timeout(60):
            while len(await jobs.segments(job_id)) < 8:
                await asyncio.sleep(0.005)
        await asyncio.to_thread(worker.kill)
    cut = await jobs.get(job_id)
    with worker_process(settings, tmp_path, "audio_small", name="last"):
        job = await api.ended(job_id)

    segments = await jobs.segments(job_id)
    assert [attempt.end for attempt in await jobs.attempts(job_id)] == [AttemptEnd.lost, AttemptEnd.completed]
    assert [segment.id for segment in segments] == list(range(len(segments)))
    undisturbed = await in_one_go(settings.engine, settings.models, recording)
    for progress in cut.channel_progress or ():
        own, expected = (
            [segment for segment in found if segment.channel == progress.channel] for found in (segments, undisturbed)
        )
        assert all(earlier.end <= later.start + 0.05 for earlier, later in pairwise(own))
        block_end = (progress.block_start or 0.0) + settings.engine.block_seconds
        first, last = progress.position, block_end
        assert outside(own, first, last) == outside(expected, first, last)
    assert len(job.channel_progress or ()) == 2


async def in_one_go(engine: Any, models: Any, recording: Path) -> list[Segment]:
    options = TranscriptionOptions(language="en", temperature=(0.0,), channels=Channels.separate)
    chunks = WhisperEngine(engine, models, concurrency=1).transcribe(recording, model="demo", options=options)
    return [segment async for chunk in chunks for segment in chunk.segments]


def outside(segments: list[Segment], first: float, last: float) -> list[tuple[object, ...]]:
    """What is not in the stretch that was broken off."""
    return [(s.start, s.end, s.text) for s in segments if s.end <= first or s.start >= last]


async def test_more_channels_than_the_service_separates_are_refused_when_the_job_is_submitted(
    api: Api, tmp_path: Path
) -> None:
    many = write_channels(tmp_path / "many.wav", *[silence(1.0)] * 9).read_bytes()
    address = await api.upload("many.wav", many)
    answer = await api.client.post("/api/v1/job/transcribe", json={"filename": "many.wav", "url": address, **CALL})
    assert (answer.status_code, answer.json()["code"]) == (400, "too_many_channels")
    assert "has 9 channels, and this service transcribes at most 8" in answer.json()["detail"]
    assert (await api.submit("many.wav", many, model="demo"))["options"]["channels"] == "mixed"


@pytest.mark.parametrize(
    "choice",
    [
        {"channels": "both"},
        {"channel_names": ["two\nlines"]},
        {"channel_names": [""]},
        {"channel_names": [" "]},
        {"channel_names": ["x" * 65]},
        {"channel_names": ["a tab\tin it"]},
        {"channel_names": ["Agent"] * 33},
    ],
    ids=str,
)
async def test_labels_that_no_format_can_show_are_refused(api: Api, choice: dict[str, Any]) -> None:
    address = await api.upload("a.wav", media.wav())
    answer = await api.client.post(
        "/api/v1/job/transcribe", json={"filename": "a.wav", "url": address, "model": "demo", **choice}
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    assert next(iter(choice)) in answer.json()["detail"]
