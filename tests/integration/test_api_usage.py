"""What callers may use over HTTP: the usage of their keys, quotas that are used up, and tiers that are full."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import media
from audio_text.bootstrap import ApiServices, open_api_services
from audio_text.domain.access import Caller, KeyLimits
from audio_text.errors import LimitReachedError
from audio_text.services.submission import Submission
from audio_text.settings import Settings
from services.api import Api, running

PRESIGN, SUBMIT, USAGE = "/api/v1/audio/presigned-url", "/api/v1/job/transcribe", "/api/v1/usage"
SECONDS = 2.0


def limited(settings: Settings, **limits: Any) -> Settings:
    return replace(settings, limits=replace(settings.limits, **limits))


async def submit(services: ApiServices, url: str, caller: Caller) -> str:
    try:
        await services.submission.submit(Submission(filename="a.wav", url=url, caller=caller))
    except LimitReachedError as error:
        return error.code
    return "submitted"


async def upload(api: Api, owner: str) -> str:
    """A recording that belongs to an owner."""
    data = media.wav(SECONDS)
    target = await api.services.uploads.create(
        filename="a.wav", content_type="audio/wav", size_bytes=len(data), owner=owner
    )
    (await api.client.put(target.url, content=data, headers=target.headers)).raise_for_status()
    return target.url


@pytest.mark.parametrize(
    ("limits", "refusal"),
    [
        (KeyLimits(concurrent_jobs=6), "concurrent_jobs_exceeded"),
        (KeyLimits(audio_seconds_per_day=12), "audio_quota_exceeded"),
    ],
)
async def test_two_processes_let_a_key_have_as_much_as_one(
    shared_api_settings: Settings, limits: KeyLimits, refusal: str
) -> None:
    caller = Caller(owner="o", key_id=f"k-{refusal}", limits=limits)
    async with running(shared_api_settings) as api, open_api_services(shared_api_settings) as other:
        url = await upload(api, "o")
        outcomes = Counter(
            await asyncio.gather(
                *(submit(services, url, caller) for services in (api.services, other) for _ in range(12))
            )
        )
    assert outcomes == {"submitted": 6, refusal: 18}


async def test_a_full_tier_refuses_jobs_on_every_address_and_says_when_to_come_back(
    api_settings: Settings, tmp_path: Path
) -> None:
    tier = replace(api_settings.tiers["audio_small"], max_pending_jobs=2)
    settings = replace(api_settings, tiers=api_settings.tiers | {"audio_small": tier})
    async with running(settings) as api:
        for _ in range(2):
            await api.submit("a.wav", media.wav(1.0), model="tiny")
        url = await api.upload("a.wav", media.wav(1.0))
        full = await api.client.post(SUBMIT, json={"filename": "a.wav", "url": url, "model": "tiny"})
        elsewhere = await api.client.post(SUBMIT, json={"filename": "a.wav", "url": url, "model": "medium"})
        files = {"file": ("a.wav", media.wav(1.0), "audio/wav")}
        openai = await api.client.post("/v1/audio/transcriptions", files=files, data={"model": "tiny"})
    assert (full.status_code, full.json()["code"], elsewhere.status_code) == (503, "tier_full", 201)
    assert (openai.status_code, openai.json()["error"]["code"]) == (503, "tier_full")
    assert all(int(answer.headers["Retry-After"]) > 0 for answer in (full, openai))


async def test_without_a_key_the_rates_of_an_address_are_told(shared_api_settings: Settings) -> None:
    async with running(limited(shared_api_settings, requests_per_minute=5)) as api:
        await api.client.get("/api/v1/job/read")
        usage = (await api.client.get(USAGE)).raise_for_status().json()
    minute = usage["requests_per_minute"]
    assert (minute["limit"], minute["used"], minute["remaining"]) == (5, 2, 3)
    assert minute["resets_at"]
    nothing = {"limit": None, "used": None, "remaining": None, "resets_at": None}
    assert [usage[name] for name in ("requests_per_hour", "concurrent_jobs", "audio_seconds_today")] == [nothing] * 3
    assert usage["key_id"] is None
