"""Webhooks over HTTP: what is told of them, and what is refused, against a real database."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from audio_text.domain.access import Caller, Scope
from audio_text.domain.delivery import DeliveryAttempt, DeliveryStatus
from audio_text.domain.webhooks import derived_secret
from audio_text.errors import AudioTextError, DeliveryNotFoundError, WebhookNotFoundError
from audio_text.ports import DeliveryResult, PauseRule
from audio_text.settings import Settings
from factories import make_job
from services.api import Api, in_one_task, running

KEY = "a key that only tests know"
PATH = "/api/v1/webhooks"
URL = "https://1.1.1.1/hook"


@pytest.fixture
async def api(api_settings: Settings) -> AsyncIterator[Api]:
    settings = replace(
        api_settings,
        secrets=replace(api_settings.secrets, webhooks_signing_key=KEY),
        webhooks=replace(api_settings.webhooks, per_owner=3),
    )
    async with in_one_task(running(settings)) as api:
        yield api


async def create(api: Api, **fields: Any) -> dict[str, Any]:
    answer = await api.client.post(PATH, json={"url": URL} | fields)
    return answer.raise_for_status().json()


async def test_a_secret_is_told_once(api: Api) -> None:
    answer = await api.client.post(PATH, json={"url": URL, "description": "CRM"})
    assert answer.status_code == 201
    webhook = answer.json()
    assert webhook.pop("secret") == derived_secret(KEY, webhook["id"], 1)
    assert webhook["events"] == ["job.completed", "job.failed", "job.cancelled", "batch.completed"]
    assert (webhook["state"], webhook["description"]) == ("enabled", "CRM")
    assert (await api.client.get(answer.headers["Location"])).json() == webhook
    assert (await api.client.get(PATH)).json() == [webhook]


async def test_a_rotation_tells_the_next_secret_and_until_when_the_old_one_signs(api: Api) -> None:
    webhook = await create(api)
    rotated = (await api.client.post(f"{PATH}/{webhook['id']}/rotate")).raise_for_status().json()
    assert rotated["secret"] not in {webhook["secret"], None}
    assert rotated["old_secret_until"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "url"),
        ({"url": "ftp://a.example/"}, "https"),
        ({"url": "http://1.1.1.1/"}, "https"),
        ({"url": "https://127.0.0.1/"}, "private"),
        ({"url": "https://169.254.169.254/latest"}, "private"),
        ({"url": "https://[::1]/"}, "private"),
        ({"url": "https://user:pass@1.1.1.1/"}, "credentials"),
        ({"url": "https://1.1.1.1:22/"}, "port 22"),
        ({"url": URL, "events": []}, "events"),
        ({"url": URL, "events": ["job.exploded"]}, "events"),
        ({"url": URL, "secret": "mine"}, "secret"),
    ],
)
async def test_what_could_not_be_called_is_refused_when_it_is_created(
    api: Api, body: dict[str, Any], said: str
) -> None:
    answer = await api.client.post(PATH, json=body)
    assert answer.status_code == 400, answer.text
    assert said in answer.text
    assert (await api.client.get(PATH)).json() == []


async def test_an_owner_has_so_many_and_no_more(api: Api) -> None:
    for _ in range(3):
        await create(api)
    answer = await api.client.post(PATH, json={"url": URL})
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_webhooks")


async def test_what_is_named_changes_and_nothing_else(api: Api) -> None:
    webhook = await create(api, description="CRM")
    path = f"{PATH}/{webhook['id']}"
    changed = (await api.client.patch(path, json={"events": ["job.failed"]})).raise_for_status().json()
    assert (changed["events"], changed["url"], changed["description"]) == (["job.failed"], URL, "CRM")
    cleared = (await api.client.patch(path, json={"description": None})).raise_for_status().json()
    assert cleared["description"] is None
    assert (await api.client.patch(path, json={"url": "https://10.0.0.1/"})).status_code == 400
    assert (await api.client.delete(path)).status_code == 204
    assert (await api.client.get(path)).status_code == 404


async def test_a_paused_webhook_says_why_and_has_a_way_back(api: Api) -> None:
    webhook = await create(api)
    path = f"{PATH}/{webhook['id']}"
    await api.client.post(f"{path}/test")
    deliveries = api.services.webhooks._deliveries
    [taken] = await deliveries.claim(limit=1, per_lane=1, per_owner=1, under_way={}, lease_seconds=60)
    attempt = DeliveryAttempt(at=datetime.now(UTC), status_code=500, error="It answered 500.")
    result = DeliveryResult(status=DeliveryStatus.pending, attempt=attempt, delay_seconds=3_600)
    await deliveries.record(taken, result, rule=PauseRule(failures=1, seconds=0))
    paused = (await api.client.get(path)).json()
    assert (paused["state"], "It answered 500." in paused["paused_reason"]) == ("paused", True)
    assert (await api.client.post(f"{path}/test")).status_code == 409
    assert (await api.client.post(f"{path}/enable")).json()["state"] == "enabled"


async def test_a_webhook_has_so_many_tests_waiting_and_no_more(api: Api) -> None:
    path = f"{PATH}/{(await create(api))['id']}/test"
    for _ in range(20):
        (await api.client.post(path)).raise_for_status()
    answer = await api.client.post(path)
    assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
    assert answer.headers["Retry-After"] == "60"
    other = f"{PATH}/{(await create(api))['id']}/test"
    assert (await api.client.post(other)).status_code == 202


async def test_the_log_is_read_page_by_page_and_shows_no_payload(api: Api) -> None:
    webhook = await create(api)
    jobs = api.services.resources.jobs
    for _ in range(3):
        job = make_job(filename="divorce.mp3")
        await jobs.add(job)
        await jobs.cancel(job.id)
    path: str | None = f"{PATH}/{webhook['id']}/deliveries?limit=2"
    pages = []
    while path:
        answer = (await api.client.get(path)).raise_for_status()
        pages.append(answer.json())
        path = answer.links.get("next", {}).get("url")
    assert [len(page) for page in pages] == [2, 1]
    assert {delivery["event_type"] for page in pages for delivery in page} == {"job.cancelled"}
    assert "divorce" not in str(pages)


async def test_webhooks_of_others_do_not_exist(api: Api) -> None:
    service = api.services.webhooks
    me, you = (Caller(owner=name, scopes=frozenset(Scope)) for name in ("me", "you"))
    endpoint, _ = await service.create(me, url=URL, events=["job.failed"], description=None)
    delivery = await service.test(me, endpoint.id)
    assert await service.list(you) == []
    attempts = [
        service.get(you, endpoint.id),
        service.change(you, endpoint.id, url=URL),
        service.rotate(you, endpoint.id),
        service.enable(you, endpoint.id),
        service.test(you, endpoint.id),
        service.deliveries(you, endpoint.id, limit=1),
        service.delete(you, endpoint.id),
        service.replay(you, delivery.id),
    ]
    for attempt in attempts:
        with pytest.raises(AudioTextError) as refused:
            await attempt
        assert type(refused.value) in {WebhookNotFoundError, DeliveryNotFoundError}
    assert [found.id for found in await service.list(me)] == [endpoint.id]


async def test_without_the_service_s_key_there_are_no_webhooks(api_settings: Settings) -> None:
    async with running(api_settings) as api:
        answer = await api.client.post(PATH, json={"url": URL})
    assert (answer.status_code, answer.json()["code"]) == (403, "webhooks_disabled")
    assert "Retry-After" not in answer.headers
