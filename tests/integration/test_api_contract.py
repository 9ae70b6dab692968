"""The wire contract, as the clients of the older service rely on it."""

import re
from datetime import datetime

import msgspec
import pytest

import media
from audio_text.domain.job import Completed, Failed, JobStatus
from audio_text.domain.tiers import FALLBACK_TIER
from audio_text.ports import Claim
from services.api import Api

CONTRACT = {
    "id",
    "filename",
    "status",
    "creation_date",
    "update_date",
    "result_text",
    "processing_time_seconds",
    "error_message",
    "language",
    "language_probability",
    "whisper_model",
}


@pytest.mark.parametrize("path", ["/", "/api/v1"])
async def test_the_root_says_that_the_service_is_alive(api: Api, path: str) -> None:
    answer = await api.client.get(path)
    assert answer.status_code == 200
    assert isinstance(answer.json()["message"], str)


async def test_a_presigned_url_takes_the_raw_bytes_with_the_same_content_type(api: Api) -> None:
    data = media.wav()
    answer = await api.client.post(
        "/api/v1/audio/presigned-url",
        json={"filename": "talk.wav", "content_type": "audio/wav", "file_size": len(data)},
    )
    assert answer.status_code == 200
    target = answer.json()
    assert target["headers"] == {"Content-Type": "audio/wav"}
    remaining = datetime.fromisoformat(target["expires_at"]) - datetime.now().astimezone()
    assert 3_500 < remaining.total_seconds() <= 3_600
    put = await api.client.put(target["url"], content=data, headers={"Content-Type": "audio/wav"})
    assert put.status_code == 200


async def test_the_older_spelling_gives_the_same_kind_of_url(api: Api) -> None:
    data = media.wav()
    answer = await api.client.get(
        "/api/v1/audio/get_presigned_url",
        params={"filename": "talk.wav", "content_type": "audio/wav", "file_size": len(data)},
    )
    assert answer.status_code == 200
    put = await api.client.put(answer.json()["url"], content=data, headers={"Content-Type": "audio/wav"})
    assert put.status_code == 200


@pytest.mark.parametrize(
    ("filename", "content_type"),
    [
        ("talk.mp3", "audio/mpeg"),
        ("talk.wav", "audio/wav"),
        ("talk.flac", "audio/x-flac"),
        ("talk.mp4", "video/mp4"),
        ("talk.m4a", "video/mp4"),
        ("talk.m4a", "audio/x-m4a"),
        ("talk.aac", "audio/vnd.dlna.adts"),
        ("talk.ogg", "video/ogg"),
        ("talk.opus", ""),
        ("talk.webm", "video/webm"),
        ("TALK.WAV", "audio/wav"),
    ],
)
async def test_the_older_client_gets_through_with_whatever_type_its_browser_reports(
    api: Api, filename: str, content_type: str
) -> None:
    data = media.recording(filename.rpartition(".")[2].lower())
    origin = {"Origin": "https://page.example"}
    target = await api.client.get(
        "/api/v1/audio/get_presigned_url",
        params={"filename": filename, "content_type": content_type, "file_size": str(len(data))},
        headers=origin,
    )
    assert target.status_code == 200, target.text
    assert target.headers["Access-Control-Allow-Origin"] == "*"
    url = target.json()["url"]
    preflight = await api.client.options(
        url,
        headers=origin | {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"},
    )
    assert preflight.is_success
    assert "content-type" in preflight.headers["Access-Control-Allow-Headers"].lower()
    headers = origin | ({"Content-Type": content_type} if content_type else {})
    put = await api.client.put(url, content=data, headers=headers)
    assert put.status_code == 200, put.text
    assert put.headers["Access-Control-Allow-Origin"] == "*"
    answer = await api.client.post(
        "/api/v1/job/transcribe", json={"filename": filename, "url": url, "mode": "base"}, headers=origin
    )
    assert answer.status_code == 201, answer.text
    job = answer.json()
    assert job["status"] == "pending"
    assert job["whisper_model"] == "base"


async def test_a_job_has_every_field_from_the_start_null_while_unknown(api: Api) -> None:
    job = await api.submit("talk.wav", media.wav())
    assert job.keys() >= CONTRACT
    assert {name for name in CONTRACT if job[name] is None} == {
        "result_text",
        "processing_time_seconds",
        "error_message",
        "language",
        "language_probability",
    }
    for name in ("creation_date", "update_date"):
        assert datetime.fromisoformat(job[name]).tzinfo is not None


async def test_the_url_and_key_of_the_recording_are_not_shown(api: Api) -> None:
    job = await api.submit("talk.wav", media.wav())
    assert not {"url", "object_key", "lease_owner"} & job.keys()


async def test_a_job_without_a_model_gets_the_default_one(api: Api) -> None:
    job = await api.submit("talk.wav", media.wav(), mode=None, model=None)
    assert job["whisper_model"] == "base"


async def test_the_newer_name_of_the_mode_is_model(api: Api) -> None:
    job = await api.submit("talk.wav", media.wav(), model="large-v3")
    assert (job["whisper_model"], job["tier"]) == ("large-v3", "audio_large")


async def test_a_model_that_names_no_tier_goes_to_the_fallback(api: Api) -> None:
    job = await api.submit("talk.wav", media.wav(), mode="turbo")
    assert job["tier"] == FALLBACK_TIER


async def test_the_answer_to_a_submission_says_where_to_read_the_job(api: Api) -> None:
    url = await api.upload("talk.wav", media.wav())
    answer = await api.client.post("/api/v1/job/transcribe", json={"filename": "talk.wav", "url": url})
    read = await api.client.get(answer.headers["Location"])
    assert read.json() == answer.json() | {"queue_position": 0}


async def test_options_of_a_job_are_kept_and_the_rest_are_the_defaults(api: Api) -> None:
    job = await api.submit(
        "talk.wav",
        media.wav(),
        language="de",
        task="translate",
        beam_size=3,
        temperature=0.4,
        initial_prompt="Frau Ng",
        word_timestamps=True,
        vad={"min_silence_duration_ms": 900},
        clip_start_seconds=1,
        clip_end_seconds=2.5,
        description="a note",
    )
    assert job["description"] == "a note"
    options = job["options"]
    assert (options["language"], options["task"], options["beam_size"]) == ("de", "translate", 3)
    assert options["temperature"] == [0.4]
    assert options["vad"] == msgspec.to_builtins(api.settings.options.vad) | {"min_silence_duration_ms": 900}
    assert options["condition_on_previous_text"] is True
    assert (options["clip_start_seconds"], options["clip_end_seconds"]) == (1.0, 2.5)


async def test_a_job_that_is_to_expire_says_when_once_it_is_over(api: Api) -> None:
    job = await api.submit("talk.wav", media.wav(), expires_in=3_600)
    assert job["expires_at"] is None
    job = (await api.client.post(f"/api/v1/job/{job['id']}/cancel")).raise_for_status().json()
    finished_at, expires_at = (datetime.fromisoformat(job[name]) for name in ("finished_at", "expires_at"))
    assert (expires_at - finished_at).total_seconds() == 3_600


@pytest.mark.parametrize("wrong", [0, -1, "soon", 10**12])
async def test_an_absurd_expiry_is_refused_by_name(api: Api, wrong: object) -> None:
    url = await api.upload("talk.wav", media.wav())
    body = {"filename": "talk.wav", "url": url, "expires_in": wrong}
    answer = await api.client.post("/api/v1/job/transcribe", json=body)
    assert answer.status_code == 400
    assert "expires_in" in answer.json()["detail"]


async def test_an_unknown_job_is_not_found_and_the_sentence_says_so(api: Api) -> None:
    for job_id in ("6d8b1f6e-0000-4000-8000-000000000000", "nonsense", "%00", "%ff", "a" * 300):
        answer = await api.client.get(f"/api/v1/job/status/{job_id}")
        assert answer.status_code == 404
        assert answer.json()["detail"] == "There is no job with this id."


async def test_a_completed_job_shows_its_text_and_a_failed_one_its_reason(api: Api) -> None:
    ended = []
    for _ in range(2):
        job = await api.submit("talk.wav", media.wav(), mode="demo")
        claimed = await api.services.resources.jobs.claim("audio_small", owner="test", lease_seconds=60)
        assert claimed is not None
        assert claimed.id == job["id"]
        ended.append(Claim(claimed.id, claimed.claims))
    outcome = Completed(
        result_text="good morning",
        duration=1.0,
        duration_after_vad=0.9,
        processing_time_seconds=0.5,
        language="en",
        language_probability=0.98,
    )
    assert await api.services.resources.jobs.complete(ended[0], outcome)
    failure = Failed(error_code="invalid_audio", error_message="It is damaged.", processing_time_seconds=0.1)
    assert await api.services.resources.jobs.fail(ended[1], failure)
    completed, failed = [(await api.client.get(f"/api/v1/job/status/{claim.job_id}")).json() for claim in ended]
    assert completed["status"] == "completed"
    assert (completed["result_text"], completed["language"], completed["progress"]) == ("good morning", "en", 100)
    assert completed["processing_time_seconds"] == completed["real_time_factor"] == 0.5
    assert (failed["status"], failed["error_message"], failed["error_code"]) == (
        "failed",
        "It is damaged.",
        "invalid_audio",
    )


async def test_recent_jobs_are_a_list_newest_first(api: Api) -> None:
    ids = [(await api.submit(f"{number}.wav", media.wav()))["id"] for number in range(3)]
    answer = await api.client.get("/api/v1/job/read")
    assert answer.status_code == 200
    assert [job["id"] for job in answer.json()] == ids[::-1]
    assert answer.json()[0].keys() >= CONTRACT
    assert "Link" not in answer.headers


async def test_the_list_is_paged_by_a_link_until_there_is_no_more(api: Api) -> None:
    ids = [(await api.submit(f"{number}.wav", media.wav()))["id"] for number in range(4)]
    found, address = [], "/api/v1/job/read?limit=2&status=pending"
    for _ in range(2):
        answer = await api.client.get(address)
        found += [job["id"] for job in answer.json()]
        link = re.fullmatch(r'<([^>]+)>; rel="next"', answer.headers.get("Link", ""))
        address = link[1] if link else ""
    assert found == ids[::-1]
    assert address == ""


async def test_the_list_can_be_filtered_by_status(api: Api) -> None:
    await api.submit("talk.wav", media.wav())
    for status in JobStatus:
        jobs = (await api.client.get("/api/v1/job/read", params={"status": status.value})).json()
        assert len(jobs) == (status is JobStatus.pending)


async def test_a_file_that_is_too_large_is_refused_with_413_and_a_sentence(api: Api) -> None:
    answer = await api.client.get(
        "/api/v1/audio/get_presigned_url",
        params={"filename": "talk.wav", "content_type": "audio/wav", "file_size": api.settings.upload.max_bytes + 1},
    )
    assert answer.status_code == 413
    assert str(api.settings.upload.max_bytes) in answer.json()["detail"]


async def test_a_file_of_another_kind_is_refused_with_415_and_a_sentence(api: Api) -> None:
    answer = await api.client.get(
        "/api/v1/audio/get_presigned_url",
        params={"filename": "notes.txt", "content_type": "text/plain", "file_size": 5},
    )
    assert answer.status_code == 415
    assert "mp3" in answer.json()["detail"]


async def test_a_page_of_a_listed_origin_may_read_answers_and_another_may_not(api: Api) -> None:
    preflight = await api.client.options(
        "/api/v1/job/transcribe",
        headers={
            "Origin": "https://page.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "content-type,x-request-id",
        },
    )
    assert preflight.is_success
    assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
    error = await api.client.get("/api/v1/job/status/none", headers={"Origin": "https://page.example"})
    assert error.headers["Access-Control-Allow-Origin"] == "*"
    assert "Link" in error.headers["Access-Control-Expose-Headers"]
