"""What cannot be an id is unknown without a look: on every route with an id, read from the table of routes."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from audio_text.api.access import Access
from audio_text.api.app import create_app
from audio_text.settings import Settings
from factories import make_settings
from services.api import Api, free_port, in_one_task, running
from services.routes import Route, routes_of

TOKEN = "the operator's token"
UNKNOWN = "6d8b1f6e-0000-4000-8000-000000000000"
BODIES: dict[str, Any] = {
    "POST /api/v1/job/{job_id}/email": {"email": "ada@example.org"},
    "PATCH /api/v1/job/{job_id}": {"description": "x"},
    "PATCH /api/v1/webhooks/{webhook_id}": {"description": "x"},
}
IDS = ("job_id", "batch_id", "key_id", "webhook_id", "delivery_id")
ROUTES = [
    (route, name)
    for route in routes_of(create_app(make_settings({"store.kind": "disk"})))
    for name in IDS
    if f"{{{name}}}" in route.path and route.method != "WS"
]


@pytest.fixture(scope="module")
async def shared_api(shared_api_settings: Settings) -> AsyncIterator[Api]:
    """One without a database: whatever is looked up there is answered 503."""
    settings = replace(
        shared_api_settings,
        secrets=replace(shared_api_settings.secrets, operator_token=TOKEN),
        database=replace(shared_api_settings.database, port=free_port()),
    )
    async with in_one_task(running(settings)) as api:
        yield api


async def asked(api: Api, route: Route, name: str, given: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {TOKEN}"} if route.access is Access.admin else {}
    path = route.path.replace(f"{{{name}}}", given)
    return await api.client.request(route.method, path, headers=headers, json=BODIES.get(route.name))


@pytest.mark.parametrize("given", ["%00", "%C3%A4", "a%20b", "a%0A", "a" * 101])
@pytest.mark.parametrize(("route", "name"), ROUTES, ids=[route.name for route, _ in ROUTES])
async def test_what_cannot_be_an_id_is_not_found_and_not_looked_for(
    shared_api: Api, route: Route, name: str, given: str
) -> None:
    answer = await asked(shared_api, route, name, given)
    assert (answer.status_code, answer.json()["code"]) == (404, name.replace("_id", "_not_found"))


def test_every_kind_of_id_is_among_them() -> None:
    assert {name for _, name in ROUTES} == set(IDS)


async def test_what_may_be_an_id_is_looked_for(shared_api: Api) -> None:
    for route, name in {name: (route, name) for route, name in ROUTES}.values():
        assert (await asked(shared_api, route, name, UNKNOWN)).status_code == 503
