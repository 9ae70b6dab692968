"""Uploads in parts over HTTP, with both stores: begun, broken off, resumed, completed once, given up."""

import asyncio
import base64
import hashlib
import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from audio_text.domain.multipart import MIN_PART_BYTES, MultipartUpload
from audio_text.settings import Settings, StoreKind
from services.api import Api, in_one_task, running
from services.s3 import S3Server

UPLOADS = "/api/v1/audio/uploads"
SAMPLES = 2 * MIN_PART_BYTES + 1_000
"""Bytes of sound: three parts."""


def wave(seed: int = 0) -> bytes:
    """A wave file of noise, of which no part is like another."""
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)
    head = struct.pack("<4sI4s", b"RIFF", SAMPLES + 36, b"WAVE") + form + struct.pack("<4sI", b"data", SAMPLES)
    return head + hashlib.shake_128(bytes([seed])).digest(SAMPLES)


DATA = wave()
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(scope="module", params=["disk", pytest.param("s3", marks=pytest.mark.s3)])
def settings(request: pytest.FixtureRequest, shared_api_settings: Settings) -> Settings:
    settings = shared_api_settings
    if request.param == "s3":
        s3: S3Server = request.getfixturevalue("s3_server")
        secrets = replace(settings.secrets, s3_access_key=s3.access_key, s3_secret_key=s3.secret_key)
        store = replace(settings.store, kind=StoreKind.s3)
        settings = replace(settings, store=store, s3=replace(s3.settings, bucket="parts"), secrets=secrets)
    return settings


@pytest.fixture(scope="module")
async def api(settings: Settings) -> AsyncIterator[Api]:
    async with in_one_task(running(settings)) as api:
        await api.services.resources.store.prepare()
        yield api


@pytest.fixture(scope="module")
async def send(api: Api, settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """What the bytes are sent with: to the API itself, or to the S3 server."""
    if settings.store.kind is StoreKind.disk:
        yield api.client
    else:
        async with httpx.AsyncClient(trust_env=False, timeout=60) as client:
            yield client


async def begin(api: Api, **fields: Any) -> dict[str, Any]:
    body = {"filename": "long.wav", "file_size": len(DATA), "part_size": MIN_PART_BYTES} | fields
    answer = await api.client.post(UPLOADS, json=body)
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"{UPLOADS}/{answer.json()['id']}"
    return answer.json()


async def send_parts(
    api: Api, send: httpx.AsyncClient, upload: dict[str, Any], numbers: Sequence[int], data: bytes = DATA
) -> None:
    answer = await api.client.post(f"{UPLOADS}/{upload['id']}/parts", json={"numbers": numbers})
    assert answer.status_code == 200, answer.text
    size = upload["part_size"]
    for link in answer.json()["parts"]:
        start = (link["number"] - 1) * size
        assert link["method"] == "PUT"
        sent = await send.put(link["url"], content=data[start : start + size], headers=link["headers"])
        assert sent.status_code == 200, sent.text


async def submit(api: Api, upload: dict[str, Any]) -> httpx.Response:
    body = {"filename": "long.wav", "url": upload["url"], "model": "demo"}
    return await api.client.post("/api/v1/job/transcribe", json=body)


def refusal(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


async def test_a_file_that_came_in_parts_can_be_transcribed(api: Api, send: httpx.AsyncClient) -> None:
    upload = await begin(api, sha256=SHA256.upper(), content_type="audio/wav")
    assert (upload["part_count"], upload["sha256"], upload["is_complete"], upload["parts"]) == (3, SHA256, False, [])
    await send_parts(api, send, upload, [3, 1, 2])
    completed = await api.client.post(f"{UPLOADS}/{upload['id']}/complete")
    assert completed.status_code == 200, completed.text
    assert completed.json()["is_complete"]
    assert completed.json()["url"] == upload["url"]
    job = await submit(api, upload)
    assert job.status_code == 201, job.text
    assert job.json()["duration"] == pytest.approx(SAMPLES / 32_000, abs=0.1)


async def test_a_client_that_was_broken_off_sees_what_arrived_and_sends_the_rest(
    api: Api, send: httpx.AsyncClient, settings: Settings
) -> None:
    upload = await begin(api)
    await send_parts(api, send, upload, [1, 3])
    async with running(settings) as other:
        seen = (await other.client.get(f"{UPLOADS}/{upload['id']}")).raise_for_status().json()
        last = len(DATA) - 2 * MIN_PART_BYTES
        assert seen["parts"] == [{"number": 1, "size": MIN_PART_BYTES}, {"number": 3, "size": last}]
        assert {name: seen[name] for name in ("id", "url", "expires_at")} == {
            name: upload[name] for name in ("id", "url", "expires_at")
        }
    await send_parts(api, send, upload, [2])
    assert (await api.client.post(f"{UPLOADS}/{upload['id']}/complete")).status_code == 200


async def test_what_is_incomplete_can_neither_be_completed_nor_submitted(api: Api, send: httpx.AsyncClient) -> None:
    upload = await begin(api)
    await send_parts(api, send, upload, [2])
    answer = await api.client.post(f"{UPLOADS}/{upload['id']}/complete")
    assert refusal(answer) == (409, "upload_incomplete")
    assert "1, 3" in answer.json()["detail"]
    answer = await submit(api, upload)
    assert refusal(answer) == (404, "upload_missing")
    assert "complete" in answer.json()["detail"]


async def test_to_complete_may_be_repeated_and_asked_twice_at_once(api: Api, send: httpx.AsyncClient) -> None:
    upload = await begin(api, sha256=SHA256)
    await send_parts(api, send, upload, [1, 2, 3])
    address = f"{UPLOADS}/{upload['id']}/complete"
    answers = await asyncio.gather(*(api.client.post(address) for _ in range(3)))
    answers.append(await api.client.post(address))
    answers.append(await api.client.get(f"{UPLOADS}/{upload['id']}"))
    assert [(answer.status_code, answer.json().get("is_complete")) for answer in answers] == [(200, True)] * 5
    assert [part["number"] for part in answers[-1].json()["parts"]] == [1, 2, 3]


async def test_nothing_is_left_of_what_was_given_up(api: Api, send: httpx.AsyncClient) -> None:
    upload = await begin(api)
    await send_parts(api, send, upload, [1, 2, 3])
    address = f"{UPLOADS}/{upload['id']}"
    for _ in range(2):
        assert (await api.client.delete(address)).status_code == 204
    for answer in (await api.client.get(address), await api.client.post(f"{address}/complete")):
        assert refusal(answer) == (404, "upload_not_found")


async def test_to_give_up_what_is_complete_changes_nothing(api: Api, send: httpx.AsyncClient) -> None:
    upload = await begin(api)
    await send_parts(api, send, upload, [1, 2, 3])
    address = f"{UPLOADS}/{upload['id']}"
    assert (await api.client.post(f"{address}/complete")).status_code == 200
    assert (await api.client.delete(address)).status_code == 204
    assert (await submit(api, upload)).status_code == 201


async def test_an_id_of_which_a_letter_was_changed_is_not_found(api: Api) -> None:
    upload = await begin(api)
    for place in range(0, len(upload["id"]) - 1, 7):
        letter = "A" if upload["id"][place] != "A" else "B"
        altered = f"{upload['id'][:place]}{letter}{upload['id'][place + 1 :]}"
        assert refusal(await api.client.get(f"{UPLOADS}/{altered}")) == (404, "upload_not_found"), place


@pytest.mark.parametrize("made_up", ["x", "é", "%00", base64.urlsafe_b64encode(bytes(99)).decode(), "a" * 4_000])
async def test_an_id_that_somebody_made_up_is_not_found(api: Api, made_up: str) -> None:
    for answer in (
        await api.client.get(f"{UPLOADS}/{made_up}"),
        await api.client.post(f"{UPLOADS}/{made_up}/complete"),
        await api.client.post(f"{UPLOADS}/{made_up}/parts", json={"numbers": [1]}),
        await api.client.delete(f"{UPLOADS}/{made_up}"),
    ):
        assert refusal(answer) == (404, "upload_not_found")


async def test_an_upload_whose_time_is_over_can_only_be_given_up(api: Api, settings: Settings) -> None:
    is_disk = settings.store.kind is StoreKind.disk
    secret = settings.secrets.disk_signing_key if is_disk else settings.secrets.s3_secret_key
    current = MultipartUpload.from_token((await begin(api))["id"], secret)
    late = replace(current, expires=1).token(secret)
    assert refusal(await api.client.get(f"{UPLOADS}/{late}")) == (404, "upload_not_found")
    answer = await api.client.post(f"{UPLOADS}/{late}/parts", json={"numbers": [1]})
    assert refusal(answer) == (404, "upload_not_found")
    assert (await api.client.delete(f"{UPLOADS}/{late}")).status_code == 204


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"file_size": 2**40}, 413, "upload_too_large"),
        ({"file_size": 0}, 400, "empty_audio"),
        ({"file_size": -1}, 400, "invalid_request"),
        ({"filename": "a.exe"}, 415, "unsupported_media"),
        ({"filename": "../a.wav"}, 400, "invalid_request"),
        ({"part_size": MIN_PART_BYTES - 1}, 400, "invalid_request"),
        ({"part_size": 2**33}, 400, "invalid_request"),
        ({"sha256": "abc"}, 400, "invalid_request"),
        ({"sha256": f"{SHA256}\n"}, 400, "invalid_request"),
        ({"content_type": "é"}, 400, "invalid_request"),
        ({"unknown": 1}, 400, "invalid_request"),
    ],
)
async def test_what_no_upload_can_be_is_refused(api: Api, fields: dict[str, Any], status: int, code: str) -> None:
    body = {"filename": "long.wav", "file_size": len(DATA)} | fields
    assert refusal(await api.client.post(UPLOADS, json=body)) == (status, code)


@pytest.mark.parametrize("numbers", [[], [0], [4], [-1], list(range(1, 102)), [1.5], None])
async def test_links_are_signed_only_for_parts_that_exist(api: Api, numbers: Any) -> None:
    upload = await begin(api)
    answer = await api.client.post(f"{UPLOADS}/{upload['id']}/parts", json={"numbers": numbers})
    assert refusal(answer) == (400, "invalid_request")


async def test_another_file_than_was_declared_is_never_transcribed(api: Api, send: httpx.AsyncClient) -> None:
    upload = await begin(api, sha256=SHA256)
    await send_parts(api, send, upload, [1, 2, 3], wave(seed=1))
    answer = await api.client.post(f"{UPLOADS}/{upload['id']}/complete")
    if answer.status_code == 200:  # the worker compares then: see the test of that
        assert api.settings.store.kind is StoreKind.s3
    else:
        assert refusal(answer) == (400, "checksum_mismatch")
        assert refusal(await submit(api, upload)) == (404, "upload_missing")
        await send_parts(api, send, upload, [1, 2, 3])
        assert (await api.client.post(f"{UPLOADS}/{upload['id']}/complete")).status_code == 200


async def test_the_usual_part_size_makes_a_thousand_parts_at_most(api: Api) -> None:
    most = api.settings.upload.max_bytes
    upload = await begin(api, file_size=most, part_size=None)
    assert upload["part_size"] == 16 * 1024 * 1024
    assert upload["part_count"] == most // upload["part_size"]
