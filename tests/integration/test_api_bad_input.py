"""What is wrong with a request is said in a sentence that names it, with the right status and a stable code."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

import media
from services.api import Api

JSON = {"Content-Type": "application/json"}
PRESIGN = "/api/v1/audio/presigned-url"
PRESIGN_OLD = "/api/v1/audio/get_presigned_url"
TRANSCRIBE = "/api/v1/job/transcribe"


@pytest.fixture(scope="module")
async def url(shared_api: Api) -> str:
    """A recording that nothing is wrong with."""
    return await shared_api.upload("talk.wav", media.wav())


def problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    body = answer.json()
    assert body["code"] == code, body
    assert body["status"] == status
    assert body["type"].endswith(code)
    assert body["title"]
    assert body["instance"].startswith("/")
    assert body["request_id"] == answer.headers["X-Request-ID"]
    assert body["detail"].endswith((".", ".)")), body["detail"]
    assert "Traceback" not in answer.text
    return body


@pytest.mark.parametrize(
    ("fields", "status", "code", "named"),
    [
        ({"filename": "notes.txt"}, 415, "unsupported_media", "txt"),
        ({"filename": "noextension"}, 415, "unsupported_media", "extension"),
        ({"filename": "talk.wav.exe"}, 415, "unsupported_media", "exe"),
        ({"filename": "../../etc/passwd.wav"}, 400, "invalid_request", "filename"),
        ({"filename": "..\\..\\boot.wav"}, 400, "invalid_request", "filename"),
        ({"filename": "talk\x00.wav"}, 400, "invalid_request", "filename"),
        ({"filename": "talk\r\nX: y.wav"}, 400, "invalid_request", "filename"),
        ({"filename": ""}, 400, "invalid_request", "filename"),
        ({"filename": "   "}, 400, "invalid_request", "filename"),
        ({"filename": "a" * 300 + ".wav"}, 400, "invalid_request", "filename"),
        ({"filename": None}, 400, "invalid_request", "filename"),
        ({"filename": 5}, 400, "invalid_request", "filename"),
        ({"file_size": 0}, 400, "empty_audio", "empty"),
        ({"file_size": -1}, 400, "invalid_request", "file_size"),
        ({"file_size": "many"}, 400, "invalid_request", "file_size"),
        ({"file_size": None}, 400, "invalid_request", "file_size"),
        ({"file_size": 10**30}, 413, "upload_too_large", "bytes"),
        ({"content_type": "audio/wav\r\nX: y"}, 400, "invalid_request", "content_type"),
        ({"content_type": "a" * 300}, 400, "invalid_request", "content_type"),
        ({"content_type": 5}, 400, "invalid_request", "content_type"),
        ({"colour": "red"}, 400, "invalid_request", "colour"),
    ],
)
async def test_a_presigned_url_is_refused(
    shared_api: Api, fields: dict[str, object], status: int, code: str, named: str
) -> None:
    body = {"filename": "talk.wav", "content_type": "audio/wav", "file_size": 100} | fields
    answer = await shared_api.client.post(PRESIGN, json=body)
    assert named in problem(answer, status, code)["detail"]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("content_type=audio/wav&file_size=1", "filename"),
        ("filename=talk.wav&content_type=audio/wav", "file_size"),
        ("filename=talk.wav&content_type=audio/wav&file_size=", "file_size"),
        ("filename=talk.wav&content_type=audio/wav&file_size=-1", "file_size"),
        ("filename=..%2F..%2Fpasswd.wav&content_type=audio/wav&file_size=1", "filename"),
        ("filename=talk%00.wav&content_type=audio/wav&file_size=1", "filename"),
        ("filename=talk%FF.wav&content_type=audio/wav&file_size=1", "UTF-8"),
    ],
)
async def test_the_older_spelling_refuses_the_same(shared_api: Api, query: str, named: str) -> None:
    answer = await shared_api.client.get(f"{PRESIGN_OLD}?{query}")
    assert named in problem(answer, 400, "invalid_request")["detail"]


@pytest.mark.parametrize(
    ("fields", "code", "named"),
    [
        ({"mode": "huge"}, "unknown_model", "huge"),
        ({"model": "/etc/passwd"}, "unknown_model", "passwd"),
        ({"model": "../models/evil"}, "unknown_model", "evil"),
        ({"model": "openai/whisper-large"}, "unknown_model", "openai"),
        ({"model": "base", "mode": "tiny"}, "invalid_request", "mode"),
        ({"mode": 5}, "invalid_request", "mode"),
        ({"mode": "ba\x00se"}, "invalid_request", "mode"),
        ({"url": None}, "invalid_request", "url"),
        ({"url": ""}, "invalid_request", "url"),
        ({"url": "nonsense"}, "foreign_url", "presigned"),
        ({"url": "https://elsewhere.example/talk.wav"}, "foreign_url", "presigned"),
        ({"url": "file:///etc/passwd"}, "foreign_url", "presigned"),
        ({"url": "http://127.0.0.1:3203/api/v1/audio/upload/../../../etc/passwd"}, "foreign_url", "presigned"),
        ({"url": "http://127.0.0.1:3203/\x00"}, "invalid_request", "url"),
        ({"url": "h" * 10_000}, "invalid_request", "url"),
        ({"filename": "../../etc/passwd.wav"}, "invalid_request", "filename"),
        ({"filename": None}, "invalid_request", "filename"),
        ({"language": "klingon"}, "invalid_request", "language"),
        ({"language": "EN"}, "invalid_request", "language"),
        ({"task": "summarize"}, "invalid_request", "task"),
        ({"beam_size": 0}, "invalid_request", "beam_size"),
        ({"beam_size": 1_000_000}, "invalid_request", "beam_size"),
        ({"beam_size": 2.5}, "invalid_request", "beam_size"),
        ({"beam_size": "many"}, "invalid_request", "beam_size"),
        ({"temperature": -0.1}, "invalid_request", "temperature"),
        ({"temperature": 7}, "invalid_request", "temperature"),
        ({"temperature": []}, "invalid_request", "temperature"),
        ({"temperature": [0.1] * 11}, "invalid_request", "temperature"),
        ({"temperature": [0, "warm"]}, "invalid_request", "temperature"),
        ({"initial_prompt": "a" * 5_000}, "invalid_request", "initial_prompt"),
        ({"initial_prompt": "a\x00b"}, "invalid_request", "initial_prompt"),
        ({"hotwords": ["a", "b"]}, "invalid_request", "hotwords"),
        ({"word_timestamps": "perhaps"}, "invalid_request", "word_timestamps"),
        ({"vad": {"threshold": 2}}, "invalid_request", "vad.threshold"),
        ({"vad": {"colour": "red"}}, "invalid_request", "vad.colour"),
        ({"vad": 5}, "invalid_request", "vad"),
        ({"clip_start_seconds": -1}, "invalid_request", "clip_start_seconds"),
        ({"clip_start_seconds": 5, "clip_end_seconds": 2}, "invalid_request", "clip_end_seconds"),
        ({"description": "a" * 5_000}, "invalid_request", "description"),
        ({"beam_sise": 5}, "invalid_request", "beam_sise"),
    ],
)
async def test_a_job_is_refused(shared_api: Api, url: str, fields: dict[str, object], code: str, named: str) -> None:
    answer = await shared_api.client.post(TRANSCRIBE, json={"filename": "talk.wav", "url": url} | fields)
    assert named in problem(answer, 400, code)["detail"]


async def test_a_url_that_was_never_uploaded_to_is_refused(shared_api: Api) -> None:
    target = await shared_api.client.post(PRESIGN, json={"filename": "talk.wav", "file_size": 5})
    answer = await shared_api.client.post(TRANSCRIBE, json={"filename": "talk.wav", "url": target.json()["url"]})
    assert "PUT" in problem(answer, 404, "upload_missing")["detail"]


@pytest.mark.parametrize(
    ("filename", "data", "code"),
    [
        ("renamed.mp3", b"This is no music. " * 500, "invalid_audio"),
        ("playlist.mp3", b"#EXTM3U\nfile:///etc/passwd\n", "invalid_audio"),
        ("silent.mp4", media.video_without_sound(), "no_sound_track"),
        ("truncated.m4a", media.recording("m4a")[:200], "invalid_audio"),
        ("truncated.webm", media.recording("webm")[:40], "invalid_audio"),
        ("zeros.wav", bytes(4_096), "invalid_audio"),
    ],
)
async def test_an_upload_that_holds_no_sound_is_refused(shared_api: Api, filename: str, data: bytes, code: str) -> None:
    url = await shared_api.upload(filename, data, "audio/mpeg")
    answer = await shared_api.client.post(TRANSCRIBE, json={"filename": filename, "url": url})
    problem(answer, 415, code)


@pytest.mark.parametrize(("sent", "status", "code"), [(200, 413, "upload_too_large"), (50, 400, "upload_mismatch")])
async def test_an_upload_of_another_size_than_declared_is_refused(
    shared_api: Api, sent: int, status: int, code: str
) -> None:
    target = (await shared_api.client.post(PRESIGN, json={"filename": "talk.wav", "file_size": 100})).json()
    problem(await shared_api.client.put(target["url"], content=bytes(sent)), status, code)
    answer = await shared_api.client.post(TRANSCRIBE, json={"filename": "talk.wav", "url": target["url"]})
    problem(answer, 404, "upload_missing")


async def test_an_upload_of_another_type_than_declared_is_refused(shared_api: Api) -> None:
    body = {"filename": "talk.wav", "content_type": "audio/wav", "file_size": 100}
    target = (await shared_api.client.post(PRESIGN, json=body)).json()
    answer = await shared_api.client.put(target["url"], content=bytes(100), headers={"Content-Type": "text/html"})
    assert "audio/wav" in problem(answer, 400, "upload_mismatch")["detail"]


async def test_an_upload_link_that_was_altered_is_refused(shared_api: Api) -> None:
    target = (await shared_api.client.post(PRESIGN, json={"filename": "talk.wav", "file_size": 100})).json()
    for altered in (target["url"].replace("100", "101"), target["url"][:-1] + "x", target["url"].partition("?")[0]):
        problem(await shared_api.client.put(altered, content=bytes(100)), 403, "upload_link_invalid")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "JSON object"),
        (b"null", "JSON object"),
        (b"[]", "JSON object"),
        (b'"text"', "JSON object"),
        (b"{", "cannot be understood"),
        (b'{"filename": "talk.wav",}', "cannot be understood"),
        (b'{"filename": NaN}', "cannot be understood"),
        (b'{"filename": "\xff.wav"}', "UTF-8"),
        (b'{"filename": "\\ud800.wav"}', "cannot be understood"),
        (b"filename=talk.wav", "cannot be understood"),
        (b"[" * 60_000, "cannot be understood"),
        (b"{}", "`filename` is missing"),
    ],
)
@pytest.mark.parametrize("path", [PRESIGN, TRANSCRIBE, "/api/v1/job/some/email"])
async def test_a_body_that_is_no_json_object_is_refused(shared_api: Api, path: str, body: bytes, said: str) -> None:
    answer = await shared_api.client.post(path, content=body, headers=JSON)
    said = said.replace("filename", "email") if "email" in path else said
    assert said in problem(answer, 400, "invalid_request")["detail"]


@pytest.mark.parametrize("path", [PRESIGN, TRANSCRIBE])
async def test_a_huge_body_is_refused(shared_api: Api, path: str) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"[" * 10_000

    for content in (b'"' + b"a" * 1_000_000 + b'"', endless()):
        problem(await shared_api.client.post(path, content=content, headers=JSON), 413, "request_entity_too_large")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/nothing"),
        ("GET", "/api/v1/nothing"),
        ("GET", "/api/v2/job/read"),
        ("POST", "/api/v1/job/%2e%2e/email/x"),
        ("GET", "/docs/assets/../app.py"),
        ("GET", "/docs/assets/LICENSES"),
        ("GET", "/api/v1/jöb"),
    ],
)
async def test_an_unknown_path_is_not_found(shared_api: Api, method: str, path: str) -> None:
    problem(await shared_api.client.request(method, path), 404, "not_found")


async def test_another_method_is_refused_with_what_is_possible(shared_api: Api) -> None:
    answer = await shared_api.client.delete(TRANSCRIBE)
    assert "POST" in problem(answer, 405, "method_not_allowed")["detail"]
    assert "POST" in answer.headers["Allow"]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=-1", "limit=ten", "status=finished", "cursor=nonsense", "cursor=MjAzMA", "cursor=%FF"]
)
async def test_a_list_is_refused(shared_api: Api, query: str) -> None:
    answer = await shared_api.client.get(f"/api/v1/job/read?{query}")
    detail = problem(answer, 400, "invalid_request")["detail"]
    assert query.partition("=")[0] in detail or "UTF-8" in detail
