"""Transcripts over HTTP: every format, at any time, whole or in pages, against a real database."""

import html
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import srt
import webvtt

import media
from audio_text.adapters.database import open_database
from audio_text.domain.job import Completed, Failed
from audio_text.domain.transcript import Segment, Word
from audio_text.ports import Claim
from audio_text.services.transcripts import SEGMENTS_AT_ONCE
from audio_text.settings import Settings
from factories import make_chunk, make_segment
from services.api import Api, api_process, in_one_task, running

SPOKEN = [
    make_segment(
        0, text=" R&D --> 5 < 6.", words=(Word(start=0.25, end=1.5, word=" R&D --> 5 < 6.", probability=0.9),)
    ),
    make_segment(1, text=" Call Maria."),
]
TEXT = "R&D --> 5 < 6. Call Maria."
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"


@pytest.fixture(scope="module")
async def api(shared_api_settings: Settings) -> AsyncIterator[Api]:
    async with in_one_task(running(shared_api_settings)) as api:
        yield api


async def processing(api: Api, *segments: Segment) -> Claim:
    """Submit a job, and store these segments of it as a worker does."""
    jobs = api.services.resources.jobs
    job_id = (await api.submit("März & Co.wav", media.wav(), model="demo"))["id"]
    while (claimed := await jobs.claim("audio_small", owner="a worker", lease_seconds=600)) is not None:
        claim = Claim(claimed.id, claimed.claims)
        if claimed.id == job_id:
            assert await jobs.record(claim, make_chunk(*segments))
            return claim
    raise AssertionError(job_id)


async def completed(api: Api, *segments: Segment) -> str:
    claim = await processing(api, *segments)
    outcome = Completed(
        result_text="".join(segment.text for segment in segments).strip(),
        duration=10.0,
        duration_after_vad=9.0,
        processing_time_seconds=0.5,
        language="en",
        language_probability=0.98,
    )
    assert await api.services.resources.jobs.complete(claim, outcome)
    return claim.job_id


async def ask(api: Api, job_id: str, accept: str | None = None, **parameters: Any) -> httpx.Response:
    headers = {} if accept is None else {"Accept": accept}
    return await api.client.get(f"/api/v1/job/{job_id}/transcript", params=parameters, headers=headers)


async def read(api: Api, job_id: str, accept: str | None = None, **parameters: Any) -> httpx.Response:
    return (await ask(api, job_id, accept, **parameters)).raise_for_status()


async def test_json_is_what_comes_when_nothing_is_asked_for(api: Api) -> None:
    job_id = await completed(api, *SPOKEN)

    answer = await read(api, job_id)

    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Transcript-Status"] == "completed"
    assert answer.json() == {
        "job_id": job_id,
        "status": "completed",
        "is_partial": False,
        "progress": 100.0,
        "task": "transcribe",
        "language": "en",
        "language_probability": 0.98,
        "duration": 10.0,
        "segments": [
            {
                "id": 0,
                "start": 0.0,
                "end": 2.0,
                "text": " R&D --> 5 < 6.",
                "words": [{"start": 0.25, "end": 1.5, "word": " R&D --> 5 < 6.", "probability": 0.9}],
            },
            {"id": 1, "start": 2.0, "end": 4.0, "text": " Call Maria."},
        ],
        "text": TEXT,
    }


async def test_verbose_json_has_the_scores(api: Api) -> None:
    answer = await read(api, await completed(api, *SPOKEN), format="verbose_json")

    assert answer.json()["segments"][1] == {
        "id": 1,
        "seek": 200,
        "start": 2.0,
        "end": 4.0,
        "text": " Call Maria.",
        "tokens": [50364, 101, 50464],
        "temperature": 0.0,
        "avg_logprob": -0.25,
        "compression_ratio": 1.2,
        "no_speech_prob": 0.01,
        "words": None,
    }
    assert answer.json()["text"] == TEXT


async def test_subtitles_are_what_independent_parsers_expect(api: Api) -> None:
    job_id = await completed(api, *SPOKEN)

    from_srt = list(srt.parse((await read(api, job_id, format="srt")).text))
    from_vtt = list(webvtt.from_string((await read(api, job_id, format="vtt")).text, strict=True))

    assert [cue.content for cue in from_srt] == ["R&D -> 5 < 6.", "Call Maria."]
    assert [html.unescape(cue.raw_text) for cue in from_vtt] == ["R&D --> 5 < 6.", "Call Maria."]
    assert [(cue.start, cue.end) for cue in from_vtt] == [
        ("00:00:00.250", "00:00:02.000"),
        ("00:00:02.000", "00:00:04.000"),
    ]


async def test_text_and_table_have_a_line_per_segment(api: Api) -> None:
    job_id = await completed(api, *SPOKEN)

    assert (await read(api, job_id, format="text")).text == "R&D --> 5 < 6.\nCall Maria.\n"
    assert (await read(api, job_id, format="tsv")).text == (
        "start\tend\ttext\n0\t2000\tR&D --> 5 < 6.\n2000\t4000\tCall Maria.\n"
    )


@pytest.mark.parametrize(
    ("transcript_format", "media_type", "extension"),
    [
        ("json", "application/json", "json"),
        ("verbose_json", "application/json", "json"),
        ("text", "text/plain", "txt"),
        ("srt", "application/x-subrip", "srt"),
        ("vtt", "text/vtt", "vtt"),
        ("tsv", "text/tab-separated-values", "tsv"),
    ],
)
async def test_each_format_has_its_media_type_and_a_name_for_the_file(
    api: Api, transcript_format: str, media_type: str, extension: str
) -> None:
    answer = await read(api, await completed(api, *SPOKEN), accept="image/png", format=transcript_format)

    charset = "" if extension == "json" else "; charset=utf-8"
    assert answer.headers["Content-Type"] == media_type + charset
    name = f"M%C3%A4rz%20%26%20Co.{extension}"
    assert answer.headers["Content-Disposition"] == f"inline; filename*=UTF-8''{name}"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (BROWSER, "application/json"),
        ("text/vtt", "text/vtt"),
        ("TEXT/VTT ; q=0.5, application/json;q=0.4", "text/vtt"),
        ("text/*", "text/plain"),
        ("text/*, text/plain;q=0, text/vtt;q=0.1", "text/tab-separated-values"),
        ("application/x-subrip, nonsense, ;;;, */*;q=0.001", "application/x-subrip"),
    ],
)
async def test_the_accept_header_decides_when_no_format_is_named(api: Api, accept: str, media_type: str) -> None:
    answer = await read(api, await completed(api, *SPOKEN), accept=accept)

    assert answer.headers["Content-Type"].partition(";")[0] == media_type
    assert answer.headers["Vary"] == "Accept"


@pytest.mark.parametrize("accept", ["image/png", "text/html;q=1, */*;q=0", "nonsense", "application/json;q=0"])
async def test_what_is_not_offered_is_refused_with_what_is(api: Api, accept: str) -> None:
    answer = await ask(api, await completed(api), accept=accept)

    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    assert "text/vtt" in answer.json()["detail"]


async def test_a_running_job_gives_what_there_is_and_says_that_it_is_partial(api: Api) -> None:
    claim = await processing(api, *SPOKEN)

    answer = await read(api, claim.job_id)
    assert answer.headers["Transcript-Status"] == "processing"
    found = answer.json()
    assert (found["status"], found["is_partial"], found["progress"], found["text"]) == ("processing", True, 40, TEXT)
    captions = webvtt.from_string((await read(api, claim.job_id, format="vtt")).text, strict=True)
    assert len(captions) == 2
    note = "Partial transcript: the job is processing, 40.0 % of the audio is done."
    assert f"\n\nNOTE {note}\n\n" in (await read(api, claim.job_id, format="vtt")).text
    for transcript_format in ("text", "srt", "tsv"):
        answer = await read(api, claim.job_id, format=transcript_format)
        assert answer.headers["Transcript-Status"] == "processing"
        assert "Call Maria." in answer.text
        assert "Partial" not in answer.text


async def test_a_failed_and_a_cancelled_job_give_what_they_had(api: Api) -> None:
    failed, cancelled = await processing(api, SPOKEN[0]), await processing(api, SPOKEN[0])
    outcome = Failed(error_code="out_of_memory", error_message="Full.", processing_time_seconds=0.1)
    assert await api.services.resources.jobs.fail(failed, outcome)
    await api.services.resources.jobs.cancel(cancelled.job_id)

    for claim, status in ((failed, "failed"), (cancelled, "cancelled")):
        answer = await read(api, claim.job_id)
        assert (answer.headers["Transcript-Status"], answer.json()["status"]) == (status, status)
        assert answer.json()["is_partial"]
        assert [segment["id"] for segment in answer.json()["segments"]] == [0]


async def test_a_job_that_nobody_has_taken_yet_has_an_empty_transcript(api: Api) -> None:
    job_id = (await api.submit("talk.wav", media.wav(), model="demo"))["id"]

    assert (await read(api, job_id)).json()["segments"] == []
    assert (await read(api, job_id, format="srt")).text == ""
    assert (await read(api, job_id, format="vtt")).text.startswith("WEBVTT\n\nNOTE Partial transcript: the job is pend")


async def test_subtitles_are_shaped_as_asked(api: Api) -> None:
    job_id = await completed(api, make_segment(0, end=12.0, text=" One two three four five six seven eight nine ten."))

    by_default = list(srt.parse((await read(api, job_id, format="srt")).text))
    assert len(by_default) == 2
    assert all((cue.end - cue.start).total_seconds() <= 7 for cue in by_default)
    narrow = list(
        srt.parse((await read(api, job_id, format="srt", max_line_width=10, max_line_count=1, max_cue_seconds=3)).text)
    )
    assert all(len(cue.content) <= 10 and (cue.end - cue.start).total_seconds() <= 3 for cue in narrow)
    wide = list(srt.parse((await read(api, job_id, format="srt", max_line_width=99, max_cue_seconds=60)).text))
    assert [cue.content for cue in wide] == ["One two three four five six seven eight nine ten."]


async def test_pages_of_json_are_linked_and_have_no_gap_and_no_repeat(api: Api) -> None:
    job_id = await completed(api, *map(make_segment, range(7)))

    answer = await read(api, job_id, format="json", limit=3)
    pages = [answer.json()]
    while link := answer.headers.get("Link"):
        matched = re.fullmatch(r'<(?P<path>[^>]+)>; rel="next"', link)
        assert matched
        answer = (await api.client.get(matched["path"])).raise_for_status()
        pages.append(answer.json())

    assert [[segment["id"] for segment in page["segments"]] for page in pages] == [[0, 1, 2], [3, 4, 5], [6]]
    assert pages[2]["text"] == "Sentence 6."
    assert "Link" not in (await read(api, job_id, limit=7)).headers


async def test_a_cursor_gives_what_is_new_in_a_running_job(api: Api) -> None:
    claim = await processing(api, *map(make_segment, range(2)))
    assert (await read(api, claim.job_id, cursor=1)).json()["segments"] == []

    assert await api.services.resources.jobs.record(claim, make_chunk(make_segment(2), make_segment(3)))

    news = (await read(api, claim.job_id, cursor=1, format="verbose_json")).json()["segments"]
    assert [segment["id"] for segment in news] == [2, 3]


async def test_a_transcript_of_any_length_arrives_whole(api: Api) -> None:
    count = 3 * SEGMENTS_AT_ONCE + 7
    job_id = await completed(api, *map(make_segment, range(count)))

    assert len((await read(api, job_id)).json()["segments"]) == count
    assert len((await read(api, job_id, format="text")).text.splitlines()) == count
    assert len(list(srt.parse((await read(api, job_id, format="srt")).text))) == count


async def test_a_transcript_that_is_begun_anew_while_it_is_sent_breaks_off(
    api: Api, shared_api_settings: Settings, tmp_path: Path
) -> None:
    claim = await processing(api, *map(make_segment, range(3 * SEGMENTS_AT_ONCE)))
    database, password = shared_api_settings.database, shared_api_settings.secrets.database_password
    async with open_database(database, password, application_name="another process") as engine:
        await engine.pool.execute(
            "DELETE FROM transcription_segment WHERE job_id = $1 AND position = $2", claim.job_id, 2 * SEGMENTS_AT_ONCE
        )

    with api_process(shared_api_settings, tmp_path) as process:
        async with httpx.AsyncClient(base_url=f"http://{process.address}") as client:
            with pytest.raises(httpx.RemoteProtocolError):
                await client.get(f"/api/v1/job/{claim.job_id}/transcript")
        [line] = process.logged("transcript_broken_off")
    assert (line["job_id"], line["code"]) == (claim.job_id, "transcript_changed")


async def test_an_unchanged_transcript_is_not_sent_twice(api: Api) -> None:
    claim = await processing(api, SPOKEN[0])
    tag = (await read(api, claim.job_id)).headers["ETag"]
    path = f"/api/v1/job/{claim.job_id}/transcript"

    for known in (tag, f'"other", W/{tag}', "*"):
        answer = await api.client.get(path, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", tag)
    assert await api.services.resources.jobs.record(claim, make_chunk(SPOKEN[1]))
    answer = await api.client.get(path, headers={"If-None-Match": tag})
    assert answer.status_code == 200
    newer = answer.headers["ETag"]
    await api.services.resources.jobs.cancel(claim.job_id)
    answer = await api.client.get(path, headers={"If-None-Match": f"{tag}, {newer}"})
    assert (answer.status_code, answer.headers["Transcript-Status"]) == (200, "cancelled")


async def test_each_choice_has_a_tag_of_its_own(api: Api) -> None:
    job_id = await completed(api, *SPOKEN)
    choices = [{}, {"format": "vtt"}, {"format": "vtt", "max_line_width": 30}, {"limit": 1}, {"limit": 1, "cursor": 0}]

    tags = {(await read(api, job_id, **choice)).headers["ETag"] for choice in choices}

    assert len(tags) == len(choices)
    assert all(re.fullmatch(r'"[0-9a-f]{32}"', tag) for tag in tags)


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"format": "doc"}, "format"),
        ({"format": "srt", "cursor": 3}, "cursor"),
        ({"format": "text", "limit": 3}, "limit"),
        ({"limit": 0}, "limit"),
        ({"cursor": -1}, "cursor"),
        ({"cursor": 10**12}, "cursor"),
        ({"max_line_width": 0}, "max_line_width"),
        ({"max_line_count": 11}, "max_line_count"),
        ({"max_cue_seconds": "nan"}, "max_cue_seconds"),
        ({"max_cue_seconds": "inf"}, "max_cue_seconds"),
        ({"max_characters_per_second": "fast"}, "max_characters_per_second"),
    ],
)
async def test_what_cannot_be_asked_for_is_named(api: Api, parameters: dict[str, Any], named: str) -> None:
    answer = await ask(api, await completed(api, *SPOKEN), **parameters)

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request"), answer.text
    assert f"`{named}`" in answer.json()["detail"]


@pytest.mark.parametrize("job_id", ["6d8b1f6e-0000-4000-8000-000000000000", "%00", "x" * 101])
async def test_an_unknown_job_has_no_transcript(api: Api, job_id: str) -> None:
    answer = await ask(api, job_id, format="srt")

    assert (answer.status_code, answer.json()["code"]) == (404, "job_not_found")
