"""How a caller shows who it is: by header, subprotocol or ticket, and never in a URL."""

import base64
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import urlencode

import msgspec
import pytest
from msgspec.structs import replace
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from audio_text.settings import Settings
from services.api import Api, ApiProcess, api_process, in_one_task, running
from services.tenants import Belongings, Tenants, tenants, without_open_mode

TOKEN = "the operator's token"


@pytest.fixture(scope="module")
def server(shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    settings = without_open_mode(shared_api_settings)
    settings = replace(settings, secrets=replace(settings.secrets, operator_token=TOKEN))
    with api_process(settings, tmp_path_factory.mktemp("server")) as process:
        yield process


@pytest.fixture(scope="module")
async def service(server: ApiProcess) -> AsyncIterator[Tenants]:
    async with in_one_task(tenants(server)) as service:
        yield service


@pytest.fixture(scope="module")
async def has(service: Tenants) -> Belongings:
    return await service.ada_has()


async def ticket(service: Tenants, who: str = "ada") -> str:
    async with service.client(who) as client:
        return (await client.post("/api/v1/tickets")).raise_for_status().json()["ticket"]


async def told_by_socket(
    service: Tenants, path: str, *, protocols: list[str] | None = None
) -> tuple[list[dict[str, Any]], int, str | None]:
    """What a socket says to its end, its close code, and the subprotocol that it speaks."""
    url = f"ws://{service.server.address}{path}"
    chosen = [Subprotocol(protocol) for protocol in protocols] if protocols else None
    messages: list[dict[str, Any]] = []
    async with connect(url, subprotocols=chosen, proxy=None, open_timeout=30) as socket:
        try:
            while True:
                messages.append(msgspec.json.decode(await socket.recv()))
        except ConnectionClosed as closed:
            return messages, closed.rcvd.code if closed.rcvd else 0, socket.subprotocol


def offered(key: str) -> list[str]:
    return ["audio-text", f"bearer.{base64.urlsafe_b64encode(key.encode()).decode().rstrip('=')}"]


async def test_a_browsers_socket_shows_its_key_as_a_subprotocol_and_hears_only_of_the_other(
    service: Tenants, has: Belongings
) -> None:
    path = f"/api/v1/job/ws/{has.done}"
    messages, code, spoken = await told_by_socket(service, path, protocols=offered(service.keys["ada"]))
    assert ([message["type"] for message in messages], code, spoken) == (
        ["connected", "job_update"],
        1000,
        "audio-text",
    )


@pytest.mark.parametrize(
    "protocols", [["audio-text"], ["audio-text", "bearer."], ["audio-text", "bearer.%%%"], offered("sk-unknown")]
)
async def test_a_socket_without_a_good_key_is_told_so_in_a_way_that_a_browser_can_read(
    service: Tenants, has: Belongings, protocols: list[str]
) -> None:
    messages, code, spoken = await told_by_socket(service, f"/api/v1/job/ws/{has.done}", protocols=protocols)
    assert [(message["type"], message["error"]) for message in messages] == [("error", "unauthorized")]
    assert (code, spoken) == (4401, "audio-text")


async def test_a_ticket_opens_one_socket_and_no_second_one(service: Tenants, has: Belongings) -> None:
    path = f"/api/v1/job/ws/{has.done}?ticket={await ticket(service)}"
    assert (await told_by_socket(service, path))[1] == 1000
    assert (await told_by_socket(service, path))[1] == 4401


async def test_a_ticket_opens_an_event_stream_once_and_no_other_address(service: Tenants, has: Belongings) -> None:
    text = await ticket(service)
    async with service.client(None) as client:
        refused = await client.get(f"/api/v1/job/status/{has.done}", params={"ticket": text})
        opened = await client.get(f"/api/v1/job/{has.done}/events", params={"ticket": text})
        again = await client.get(f"/api/v1/job/{has.done}/events", params={"ticket": text})
    assert [answer.status_code for answer in (refused, opened, again)] == [401, 200, 401]


async def test_a_ticket_shows_what_its_owner_may_see_and_no_more(service: Tenants, has: Belongings) -> None:
    async with service.client(None) as client:
        path, query = f"/api/v1/job/{has.done}/events", {"ticket": await ticket(service, "bob")}
        assert (await client.get(path, params=query)).status_code == 404
    assert (await told_by_socket(service, f"/api/v1/job/ws/{has.done}?ticket={await ticket(service, 'bob')}"))[
        1
    ] == 4404


@pytest.mark.parametrize("name", ["api_key", "access_token", "ticket", "anything"])
async def test_a_key_in_a_url_is_refused_even_when_it_is_good(service: Tenants, has: Belongings, name: str) -> None:
    query = {name: service.keys["ada"]}
    async with service.client("ada") as client:
        answer = await client.get(f"/api/v1/job/status/{has.done}", params=query)
    assert (answer.status_code, answer.json()["code"]) == (400, "key_in_url")
    assert service.keys["ada"] not in answer.text
    messages, code, _ = await told_by_socket(service, f"/api/v1/job/ws/{has.done}?{urlencode(query)}")
    assert (messages[-1]["error"], code) == ("key_in_url", 4400)


@pytest.mark.parametrize("sent", [[], ["Basic {}"], ["{}"], ["Bearer"], ["Bearer {}", "Bearer {}"]])
async def test_only_one_bearer_is_a_key(service: Tenants, sent: list[str]) -> None:
    headers = [("Authorization", value.format(service.keys["ada"])) for value in sent]
    async with service.client(None) as client:
        answer = await client.get("/api/v1/job/read", headers=headers)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")


async def test_the_operators_token_is_good_for_what_is_an_operators_alone(service: Tenants, has: Belongings) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with service.client(None) as client:
        dead = await client.get(f"/api/v1/dead-letters/{has.dead}", headers=headers)
        read = await client.get(f"/api/v1/job/status/{has.done}", headers=headers)
    assert (dead.status_code, read.status_code, read.json()["code"]) == (200, 403, "missing_scope_read")


async def test_a_revoked_key_opens_nothing_any_more(service: Tenants) -> None:
    async with service.client(None) as client:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        asked = {"owner": "carol", "name": "short", "scopes": ["read"]}
        made = (await client.post("/api/v1/keys", json=asked, headers=headers)).raise_for_status().json()
        carol = {"Authorization": f"Bearer {made['secret']}"}
        assert (await client.get("/api/v1/job/read", headers=carol)).json() == []
        (await client.delete(f"/api/v1/keys/{made['id']}", headers=headers)).raise_for_status()
        assert (await client.get("/api/v1/job/read", headers=carol)).status_code == 401


async def test_an_address_that_does_not_exist_says_nothing_of_keys(service: Tenants) -> None:
    async with service.client(None) as client:
        assert (await client.get("/api/v1/nothing")).status_code == 404
        assert (await client.options("/api/v1/job/read")).status_code == 204


async def test_in_open_mode_keys_are_not_looked_at_but_for_what_is_an_operators(api_settings: Settings) -> None:
    settings = replace(api_settings, secrets=replace(api_settings.secrets, operator_token=TOKEN))
    async with running(settings) as api:
        assert (await asked(api, "/api/v1/job/read", "nonsense")).status_code == 200
        assert (await api.client.get("/api/v1/job/read?api_key=x")).status_code == 200
        assert (await asked(api, "/api/v1/dead-letters", "nonsense")).status_code == 401
        assert (await asked(api, "/api/v1/dead-letters", TOKEN)).status_code == 200


async def asked(api: Api, path: str, key: str) -> Any:
    return await api.client.get(path, headers={"Authorization": f"Bearer {key}"})


def test_an_open_service_says_so_when_it_starts_and_another_does_not(
    server: ApiProcess, shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert server.logged("service_is_open") == []
    with api_process(shared_api_settings, tmp_path_factory.mktemp("open")) as open_server:
        [warning] = open_server.logged("service_is_open")
    assert (warning["level"], warning["host"]) == ("warning", "127.0.0.1")
