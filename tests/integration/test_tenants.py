"""What belongs to one owner does not exist for another: every route, socket and stream, read from the table of routes.

A new route fails here until it says who may call it, and until CASES says how to call it with what Ada has.
"""

from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest

import media
from audio_text.api.access import Access
from audio_text.api.app import create_app
from audio_text.settings import Settings
from factories import make_settings
from services.api import ApiProcess, api_process, in_one_task
from services.routes import Route, routes_of
from services.tenants import SECRET, Answer, Belongings, Case, Tenants, tenants, without_open_mode

LIST = partial(Case, stranger=200)
"""Everybody has one of their own."""

ADMIN = partial(Case, stranger=403)


def form(key: str) -> dict[str, Any]:
    return {
        "headers": {"Prefer": "respond-async", "Idempotency-Key": key},
        "files": {"file": ("a.wav", media.wav(), "audio/wav")},
        "data": {"model": "whisper-1"},
    }


FILE = {"filename": "a.wav", "content_type": "audio/wav", "file_size": 9}
UPLOADS, JOBS, DEAD = "/api/v1/audio/uploads", "/api/v1/job", "/api/v1/dead-letters"
BATCHES, KEYS, HOOKS = "/api/v1/batches", "/api/v1/keys", "/api/v1/webhooks"

CASES: dict[str, Case] = {
    "POST /api/v1/audio/presigned-url": LIST(lambda _: "/api/v1/audio/presigned-url", json=lambda _: FILE),
    "GET /api/v1/audio/get_presigned_url": LIST(
        lambda _: "/api/v1/audio/get_presigned_url?filename=a.wav&content_type=&file_size=9"
    ),
    f"POST {UPLOADS}": LIST(lambda _: UPLOADS, json=lambda _: FILE, stranger=201),
    f"GET {UPLOADS}/{{upload_id}}": Case(lambda has: f"{UPLOADS}/{has.upload_id}"),
    f"DELETE {UPLOADS}/{{upload_id}}": Case(lambda has: f"{UPLOADS}/{has.upload_id}"),
    f"POST {UPLOADS}/{{upload_id}}/parts": Case(
        lambda has: f"{UPLOADS}/{has.upload_id}/parts", json=lambda _: {"numbers": [1]}
    ),
    f"POST {UPLOADS}/{{upload_id}}/complete": Case(lambda has: f"{UPLOADS}/{has.upload_id}/complete"),
    f"POST {JOBS}/transcribe": Case(
        lambda _: f"{JOBS}/transcribe", json=lambda has: {"filename": "a.wav", "url": has.upload_url}, stranger=400
    ),
    f"GET {JOBS}/status/{{job_id}}": Case(lambda has: f"{JOBS}/status/{has.done}"),
    f"GET {JOBS}/read": LIST(lambda _: f"{JOBS}/read"),
    f"POST {JOBS}/{{job_id}}/email": Case(
        lambda has: f"{JOBS}/{has.done}/email", json=lambda _: {"email": "bob@example.org"}
    ),
    f"POST {JOBS}/{{job_id}}/cancel": Case(lambda has: f"{JOBS}/{has.pending}/cancel"),
    f"POST {JOBS}/{{job_id}}/retry": Case(lambda has: f"{JOBS}/{has.pending}/retry"),
    f"PATCH {JOBS}/{{job_id}}": Case(lambda has: f"{JOBS}/{has.done}", json=lambda _: {"description": "mine now"}),
    f"DELETE {JOBS}/{{job_id}}": Case(lambda has: f"{JOBS}/{has.done}"),
    f"GET {JOBS}/{{job_id}}/attempts": Case(lambda has: f"{JOBS}/{has.done}/attempts"),
    f"GET {JOBS}/{{job_id}}/transcript": Case(lambda has: f"{JOBS}/{has.done}/transcript"),
    f"GET {JOBS}/{{job_id}}/events": Case(lambda has: f"{JOBS}/{has.done}/events"),
    f"GET {JOBS}/events": Case(lambda has: f"{JOBS}/events?job={has.pending}&job={has.done}", stranger=200),
    f"WS {JOBS}/ws/{{job_id}}": Case(lambda has: f"{JOBS}/ws/{has.done}", stranger=4404),
    f"WS {JOBS}/ws": Case(
        lambda _: f"{JOBS}/ws", says=lambda has: {"type": "subscribe", "job_id": has.done}, stranger=1000
    ),
    f"GET {DEAD}": ADMIN(lambda _: DEAD),
    f"GET {DEAD}/{{job_id}}": ADMIN(lambda has: f"{DEAD}/{has.dead}"),
    f"DELETE {DEAD}/{{job_id}}": ADMIN(lambda has: f"{DEAD}/{has.dead}"),
    f"POST {DEAD}/{{job_id}}/requeue": ADMIN(lambda has: f"{DEAD}/{has.dead}/requeue"),
    f"POST {BATCHES}": Case(
        lambda _: BATCHES, json=lambda has: {"jobs": [{"filename": "a.wav", "url": has.upload_url}]}, stranger=400
    ),
    f"GET {BATCHES}": LIST(lambda _: BATCHES),
    f"GET {BATCHES}/{{batch_id}}": Case(lambda has: f"{BATCHES}/{has.batch}"),
    f"POST {BATCHES}/{{batch_id}}/cancel": Case(lambda has: f"{BATCHES}/{has.batch}/cancel"),
    f"GET {BATCHES}/{{batch_id}}/transcripts": Case(lambda has: f"{BATCHES}/{has.batch}/transcripts"),
    "GET /api/v1/usage": LIST(lambda _: "/api/v1/usage"),
    f"POST {HOOKS}": LIST(lambda _: HOOKS, json=lambda _: {"url": "https://93.184.216.34/bob"}, stranger=201),
    f"GET {HOOKS}": LIST(lambda _: HOOKS),
    f"GET {HOOKS}/{{webhook_id}}": Case(lambda has: f"{HOOKS}/{has.webhook}"),
    f"PATCH {HOOKS}/{{webhook_id}}": Case(
        lambda has: f"{HOOKS}/{has.webhook}", json=lambda _: {"url": "https://93.184.216.34/bob"}
    ),
    f"DELETE {HOOKS}/{{webhook_id}}": Case(lambda has: f"{HOOKS}/{has.webhook}"),
    f"GET {HOOKS}/{{webhook_id}}/deliveries": Case(lambda has: f"{HOOKS}/{has.webhook}/deliveries"),
    f"POST {HOOKS}/{{webhook_id}}/enable": Case(lambda has: f"{HOOKS}/{has.webhook}/enable"),
    f"POST {HOOKS}/{{webhook_id}}/rotate": Case(lambda has: f"{HOOKS}/{has.webhook}/rotate"),
    f"POST {HOOKS}/{{webhook_id}}/test": Case(lambda has: f"{HOOKS}/{has.webhook}/test"),
    "POST /api/v1/deliveries/{delivery_id}/replay": Case(lambda has: f"/api/v1/deliveries/{has.delivery}/replay"),
    f"GET {KEYS}": ADMIN(lambda _: KEYS),
    f"POST {KEYS}": ADMIN(lambda _: KEYS, json=lambda _: {"owner": "bob", "name": "more", "scopes": ["admin"]}),
    f"DELETE {KEYS}/{{key_id}}": ADMIN(lambda has: f"{KEYS}/{has.key}"),
    f"POST {KEYS}/{{key_id}}/rotate": ADMIN(lambda has: f"{KEYS}/{has.key}/rotate", json=lambda _: {}),
    "POST /api/v1/tickets": LIST(lambda _: "/api/v1/tickets", stranger=201),
    "POST /v1/audio/transcriptions": LIST(lambda _: "/v1/audio/transcriptions", request=form("heard"), stranger=202),
    "POST /v1/audio/translations": LIST(lambda _: "/v1/audio/translations", request=form("said"), stranger=202),
    "GET /v1/models": LIST(lambda _: "/v1/models"),
    "GET /v1/models/{model}": LIST(lambda _: "/v1/models/whisper-1"),
}

ROUTES = [
    route
    for route in routes_of(create_app(make_settings({"store.kind": "disk", "api.docs": True})))
    if route.access not in {Access.public, Access.signed}
]
every_route = pytest.mark.parametrize("route", ROUTES, ids=[route.name for route in ROUTES])


@pytest.fixture(scope="module")
def server(shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with api_process(without_open_mode(shared_api_settings), tmp_path_factory.mktemp("server")) as process:
        yield process


@pytest.fixture(scope="module")
async def service(server: ApiProcess) -> AsyncIterator[Tenants]:
    async with in_one_task(tenants(server)) as service:
        yield service


@pytest.fixture(scope="module")
async def has(service: Tenants) -> Belongings:
    """What Ada has, for all who must not reach it: refusals change nothing."""
    return await service.ada_has()


def expected(route: Route, status: int) -> int:
    return 4_000 + status if route.method == "WS" else status


def leaked(told: Answer, case: Case, has: Belongings) -> list[str]:
    """What of Ada's was told to somebody who had not said it first."""
    return [word for word in has.words if word in told.body + told.headers and word not in case.asked(has)]


def test_every_route_that_takes_a_key_has_a_case_and_every_case_a_route() -> None:
    assert sorted(CASES) == sorted(route.name for route in ROUTES)


@every_route
async def test_a_stranger_gets_what_is_got_for_what_does_not_exist(
    service: Tenants, has: Belongings, route: Route
) -> None:
    case = CASES[route.name]
    told = await service.call(route.name, case, has, who="bob")
    unknown = await service.call(route.name, case, has.unknown, who="bob")
    assert told.status == case.stranger
    assert leaked(told, case, has) == []
    if case.asked(has) != case.asked(has.unknown):
        assert told.same_as(unknown, has, has.unknown)
    assert (await service.resources.jobs.get(has.done)).description == SECRET
    for job_id, status in ((has.pending, "pending"), (has.done, "completed"), (has.dead, "failed")):
        assert (await service.resources.jobs.get(job_id)).status == status


@every_route
async def test_its_owner_is_let_in(service: Tenants, route: Route) -> None:
    case, has = CASES[route.name], await service.ada_has()
    who = "ada admin" if route.access is Access.admin else "ada"
    told = await service.call(route.name, case, has, who=who)
    assert told.status not in {400, 401, 403, 4401, 4403, 4404}
    # Of what is made up here, only the recordings are missing.
    assert told.status != 404 or "upload_missing" in told.body


@every_route
async def test_a_key_of_the_owner_without_the_scope_is_told_which_it_lacks(
    service: Tenants, has: Belongings, route: Route
) -> None:
    case = CASES[route.name]
    assert route.access is not None
    for who in {"ada submit", "ada read", "ada admin"} - {f"ada {route.access.value}"}:
        told = await service.call(route.name, case, has, who=who)
        assert (told.status, f"missing_scope_{route.access.value}" in told.body) == (expected(route, 403), True)
        assert SECRET not in told.body + told.headers


async def test_a_key_that_only_brings_work_is_never_told_what_was_said(service: Tenants) -> None:
    has = await service.ada_has()
    asked = {
        "PATCH": (f"{JOBS}/{has.done}", {"metadata": {"seen": "yes"}, "description": None}),
        "POST": (f"{JOBS}/{has.done}/email", {"email": "bob@example.org"}),
    }
    async with service.client("ada submit") as client:
        noted, mailed = [await client.request(method, path, json=body) for method, (path, body) in asked.items()]
    assert (noted.status_code, noted.json()["status"], noted.json()["result_text"]) == (200, "completed", None)
    assert (mailed.status_code, mailed.json()["code"]) == (403, "missing_scope_read")
    async with service.client("ada") as client:
        method, (path, body) = "PATCH", asked["PATCH"]
        assert (await client.request(method, path, json=body)).json()["result_text"] == SECRET


@every_route
@pytest.mark.parametrize("who", [None, "unknown"])
async def test_without_a_key_that_is_known_nothing_is_told(
    service: Tenants, has: Belongings, route: Route, who: str | None
) -> None:
    case = CASES[route.name]
    told = await service.call(route.name, case, has, who=who)
    assert told.status == expected(route, 401)
    assert leaked(told, case, has) == []
    code = "invalid_api_key" if "/v1/" in route.name and "/api/v1" not in route.name else "unauthorized"
    assert f'"{code}"' in told.body
    if route.method != "WS":
        assert "b'www-authenticate', b'bearer'" in told.headers.lower()
