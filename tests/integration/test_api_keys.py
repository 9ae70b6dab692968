"""Keys over HTTP: what an admin does with them, against a real database and Redis."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from audio_text.domain.access import Scope
from audio_text.errors import UnauthorizedError
from audio_text.settings import Settings
from services.api import Api, in_one_task, running

TOKEN = "the operator's token"
PATH = "/api/v1/keys"
NOBODY = f"{PATH}/6d8b1f6e-0000-4000-8000-000000000000"
ASKED = {"owner": "acme", "name": "nightly import", "scopes": ["submit", "read"]}


@pytest.fixture
async def api(api_settings: Settings) -> AsyncIterator[Api]:
    settings = replace(api_settings, secrets=replace(api_settings.secrets, operator_token=TOKEN))
    async with in_one_task(running(settings)) as api:
        yield api


async def ask(api: Api, method: str, path: str = PATH, token: str = TOKEN, **arguments: Any) -> httpx.Response:
    return await api.client.request(method, path, headers={"Authorization": f"Bearer {token}"}, **arguments)


async def make(api: Api, **changes: Any) -> dict[str, Any]:
    answer = await ask(api, "POST", json=ASKED | changes)
    return answer.raise_for_status().json()


async def test_an_admin_gives_out_a_key_and_sees_its_secret_once(api: Api) -> None:
    limits = {"requests_per_minute": 5, "concurrent_jobs": 2}
    answer = await ask(api, "POST", json=ASKED | {"expires_in": 3_600, "limits": limits})
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    made = answer.json()
    secret = made.pop("secret")
    assert re.fullmatch(r"atk_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}", secret)
    assert secret.startswith(made["prefix"] + "_")
    assert (
        made["limits"] == {"requests_per_hour": None, "audio_seconds_per_day": None, "highest_priority": None} | limits
    )
    assert (made["owner"], made["name"], made["scopes"]) == ("acme", "nightly import", ["read", "submit"])
    life = datetime.fromisoformat(made["expires_at"]) - datetime.fromisoformat(made["created_at"])
    assert life == timedelta(hours=1)
    assert (await ask(api, "GET")).json() == [made]
    caller = await api.services.access.caller(secret)
    assert (caller.owner, caller.key_id, caller.scopes) == ("acme", made["id"], {Scope.submit, Scope.read})
    assert (caller.limits.requests_per_minute, caller.limits.requests_per_hour) == (5, None)


async def test_the_use_of_a_key_is_seen_on_the_list(api: Api) -> None:
    made = await make(api)
    assert made["last_used_at"] is None
    await api.services.access.caller(made["secret"])
    await api.services.access.known.write_last_uses()
    [listed] = (await ask(api, "GET")).json()
    assert datetime.now(UTC) - datetime.fromisoformat(listed["last_used_at"]) < timedelta(minutes=1)


async def test_a_rotated_key_has_two_secrets_for_as_long_as_it_was_said(api: Api) -> None:
    made = await make(api)
    answer = await ask(api, "POST", f"{PATH}/{made['id']}/rotate")
    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    first, second = made["secret"], answer.json()["secret"]
    access = api.services.access
    assert await access.caller(first) == await access.caller(second)
    third = (await ask(api, "POST", f"{PATH}/{made['id']}/rotate", json={"overlap_seconds": 0})).json()["secret"]
    assert (await access.caller(third)).key_id == made["id"]
    for secret in (first, second):
        with pytest.raises(UnauthorizedError):
            await access.caller(secret)


async def test_a_revoked_key_is_refused_and_stays_on_the_list(api: Api) -> None:
    made = await make(api)
    await api.services.access.caller(made["secret"])
    for _ in range(2):
        answer = await ask(api, "DELETE", f"{PATH}/{made['id']}")
        assert (answer.status_code, answer.content) == (204, b"")
    with pytest.raises(UnauthorizedError, match="revoked"):
        await api.services.access.caller(made["secret"])
    [listed] = (await ask(api, "GET")).json()
    assert listed["revoked_at"] is not None
    answer = await ask(api, "POST", f"{PATH}/{made['id']}/rotate")
    assert (answer.status_code, answer.json()["code"]) == (409, "key_state")


async def test_an_unknown_key_is_not_found(api: Api) -> None:
    for path in (NOBODY, f"{PATH}/%00", f"{PATH}/{'x' * 200}"):
        for method, end in (("DELETE", ""), ("POST", "/rotate")):
            answer = await ask(api, method, path + end)
            assert (answer.status_code, answer.json()["code"]) == (404, "key_not_found"), path


@pytest.mark.parametrize(
    "changes",
    [
        {"owner": ""},
        {"owner": " "},
        {"owner": "a\n"},
        {"owner": "a" * 129},
        {"name": "\0"},
        {"name": None},
        {"scopes": []},
        {"scopes": ["root"]},
        {"scopes": ["read"] * 4},
        {"expires_in": 0},
        {"expires_in": 10**12},
        {"limits": {"concurrent_jobs": 0}},
        {"limits": {"requests_per_minute": 2**31}},
        {"limits": {"unknown": 1}},
        {"secret": "mine"},
    ],
    ids=str,
)
async def test_a_key_that_cannot_be_is_a_bad_request(api: Api, changes: dict[str, Any]) -> None:
    answer = await ask(api, "POST", json=ASKED | changes)
    assert answer.status_code == 400, answer.text
    assert (await ask(api, "GET")).json() == []


async def test_an_overlap_that_cannot_be_is_a_bad_request(api: Api) -> None:
    made = await make(api)
    for overlap in (-1, 2_592_001, "x"):
        answer = await ask(api, "POST", f"{PATH}/{made['id']}/rotate", json={"overlap_seconds": overlap})
        assert answer.status_code == 400
    assert (await api.services.access.caller(made["secret"])).key_id == made["id"]


async def test_the_list_is_read_by_owner_and_a_page_at_a_time(api: Api) -> None:
    ids = [(await make(api, owner=("a", "b")[number % 2]))["id"] for number in range(5)][::-1]
    for path, wanted, page_count in ((f"{PATH}?limit=2", ids, 3), (f"{PATH}?limit=2&owner=a", ids[::2], 2)):
        found, pages = [], 0
        next_page = path
        while next_page:
            answer = await ask(api, "GET", next_page)
            found += [key["id"] for key in answer.raise_for_status().json()]
            next_page = answer.links.get("next", {}).get("url")
            pages += 1
        assert (found, pages) == (wanted, page_count)
    cursor = (await ask(api, "GET", f"{PATH}?limit=2")).links["next"]["url"]
    assert (await ask(api, "GET", f"{cursor}&owner=a")).status_code == 400


async def test_who_is_no_admin_learns_nothing_about_keys(api: Api) -> None:
    made = await make(api)
    for method, path in (("GET", PATH), ("POST", PATH), ("DELETE", f"{PATH}/{made['id']}"), ("DELETE", NOBODY)):
        for token in ("", "wrong"):
            answer = await ask(api, method, path, token, json=ASKED if method == "POST" else None)
            assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
            assert made["id"] not in answer.json()["detail"]
    assert len((await ask(api, "GET")).json()) == 1


async def test_a_ticket_opens_one_connection_and_no_second(api: Api) -> None:
    key = await make(api)
    answer = await ask(api, "POST", "/api/v1/tickets", key["secret"])
    assert (answer.status_code, answer.headers["Cache-Control"]) == (201, "no-store")
    told = answer.json()
    assert datetime.fromisoformat(told["expires_at"]) > datetime.now(UTC)
    assert Scope.read in (await api.services.access.redeem(told["ticket"])).scopes
    with pytest.raises(UnauthorizedError):
        await api.services.access.redeem(told["ticket"])


async def test_a_key_that_was_revoked_by_one_process_is_refused_by_the_others_in_time(api: Api) -> None:
    made = await make(api)
    settings = replace(api.settings, access=replace(api.settings.access, cache_seconds=0.0))
    async with running(settings) as other:
        await other.services.access.caller(made["secret"])
        await ask(api, "DELETE", f"{PATH}/{made['id']}")
        with pytest.raises(UnauthorizedError):
            await other.services.access.caller(made["secret"])
