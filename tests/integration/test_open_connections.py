"""What is open already when its key ends: sockets, event streams and downloads, over a real network."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from msgspec.structs import replace
from websockets.asyncio.client import ClientConnection, connect

from audio_text.bootstrap import open_keys
from audio_text.domain.access import Scope
from audio_text.settings import Settings
from factories import make_job
from services.api import ApiProcess, api_process, in_one_task
from services.database import Database
from services.live import following, receive, streaming, to_the_end
from services.relay import Relay
from services.tenants import Tenants, tenants, without_open_mode
from services.waiting import until


def looking_often(settings: Settings) -> Settings:
    """Keys are remembered for half a second: what is open is looked at every second."""
    return replace(settings, access=replace(settings.access, cache_seconds=0.5))


def impatient(settings: Settings) -> Settings:
    """The same, and keys are asked for."""
    return looking_often(without_open_mode(settings))


@pytest.fixture(scope="module")
def server(shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with api_process(impatient(shared_api_settings), tmp_path_factory.mktemp("server")) as process:
        yield process


@pytest.fixture(scope="module")
async def service(server: ApiProcess) -> AsyncIterator[Tenants]:
    """What is done to keys here is done in another process than the API's."""
    async with in_one_task(tenants(server)) as service:
        yield service


async def job_of(service: Tenants) -> str:
    """A job of a new owner that goes on."""
    job = make_job(owner=uuid4().hex, tier=f"tier_{uuid4().hex}")
    await service.resources.jobs.add(job)
    return job.id


async def key_to(service: Tenants, job_id: str) -> tuple[str, dict[str, str]]:
    """The id of a new key that may follow the job, and the headers that show it."""
    owner = (await service.resources.jobs.get(job_id)).owner or ""
    key, secret = await service.access.create(owner=owner, name="short", scopes=frozenset({Scope.read}))
    return key.id, {"Authorization": f"Bearer {secret}"}


def socket_of(service: Tenants, job_id: str, headers: dict[str, str], *, ticket: str = "") -> connect:
    path = f"ws://{service.server.address}/api/v1/job/ws"
    url = f"{path}/{job_id}?ticket={ticket}" if ticket else f"{path}/{job_id}"
    return connect(url, additional_headers={} if ticket else headers, proxy=None, open_timeout=30)


async def ticket_of(service: Tenants, headers: dict[str, str]) -> str:
    async with httpx.AsyncClient(base_url=f"http://{service.server.address}", timeout=30) as client:
        return (await client.post("/api/v1/tickets", headers=headers)).raise_for_status().json()["ticket"]


async def told_of_the_job(socket: ClientConnection) -> None:
    while (await receive(socket))["type"] != "job_update":
        pass


async def is_open(socket: ClientConnection) -> bool:
    await socket.send("ping")
    while (message := await receive(socket))["type"] == "ping":
        pass
    return message["type"] == "pong"


@pytest.mark.parametrize("way", ["header", "ticket", "many"])
async def test_a_socket_ends_with_its_key_and_says_so_and_others_go_on(service: Tenants, way: str) -> None:
    job_id = await job_of(service)
    key_id, headers = await key_to(service, job_id)
    _, others = await key_to(service, job_id)
    ticket = await ticket_of(service, headers) if way == "ticket" else ""
    opening = socket_of(service, job_id, headers, ticket=ticket)
    if way == "many":
        opening = connect(f"ws://{service.server.address}/api/v1/job/ws", additional_headers=headers, proxy=None)
    async with opening as socket, socket_of(service, job_id, others) as other:
        if way == "many":
            await socket.send(f'{{"type": "subscribe", "job_id": "{job_id}"}}')
        await told_of_the_job(socket)
        await told_of_the_job(other)
        await service.access.revoke(key_id)
        messages, code = await to_the_end(socket)
        assert ([(message["type"], message["error"]) for message in messages], code) == (
            [("error", "unauthorized")],
            4401,
        )
        assert "revoked" in messages[0]["message"]
        assert await is_open(other)
    async with socket_of(service, job_id, headers) as again:
        assert (await to_the_end(again))[1] == 4401


@pytest.mark.parametrize("count", [1, 2])
async def test_an_event_stream_ends_with_its_key_after_an_event_that_says_so(service: Tenants, count: int) -> None:
    job_id = await job_of(service)
    key_id, headers = await key_to(service, job_id)
    async with streaming(service.server, *[job_id] * count, headers=headers) as source:
        assert (await source.next())["type"] == "job_update"
        await service.access.revoke(key_id)
        [event] = await source.rest()
    assert (event["type"], event["error"]) == ("error", "unauthorized")
    async with streaming(service.server, job_id, last_event_id=source.event_id, headers=headers) as again:
        assert again.response.status_code == 401, "upon which browsers stay away"


async def test_what_is_open_with_a_secret_ends_when_it_was_rotated_out(service: Tenants) -> None:
    job_id = await job_of(service)
    key_id, headers = await key_to(service, job_id)
    async with socket_of(service, job_id, headers) as old:
        await told_of_the_job(old)
        _, secret = await service.access.rotate(key_id, 3_600)
        async with socket_of(service, job_id, {"Authorization": f"Bearer {secret}"}) as new:
            await told_of_the_job(new)
            await asyncio.sleep(1.5)  # longer than it takes to look
            assert await is_open(old), "both secrets hold"
            await service.access.rotate(key_id, 3_600)
            assert (await to_the_end(old))[1] == 4401
            assert await is_open(new)


async def test_what_is_open_ends_when_its_key_expires(service: Tenants) -> None:
    job_id = await job_of(service)
    owner = (await service.resources.jobs.get(job_id)).owner or ""
    _, secret = await service.access.create(
        owner=owner, name="n", scopes=frozenset({Scope.read}), expires_in_seconds=2.0
    )
    async with socket_of(service, job_id, {"Authorization": f"Bearer {secret}"}) as socket:
        messages, code = await to_the_end(socket)
    assert code == 4401
    assert "expired" in messages[-1]["message"]


async def test_open_connections_stay_while_the_database_is_away_and_end_when_it_is_back(
    database: Database, api_settings: Settings, tmp_path: Path
) -> None:
    direct = impatient(api_settings)
    async with Relay(database) as relay:
        with api_process(replace(direct, database=relay.database.settings), tmp_path) as server:
            async with open_keys(direct) as access:
                key, secret = await access.create(owner="o", name="n", scopes=frozenset({Scope.read}))
                url, headers = f"ws://{server.address}/api/v1/job/ws", {"Authorization": f"Bearer {secret}"}
                async with connect(url, additional_headers=headers, proxy=None) as socket:
                    assert (await receive(socket))["type"] == "connected"
                    await relay.stop()
                    await access.revoke(key.id)
                    await until(lambda: server.logged("open_connections_not_looked_at"))
                    assert await is_open(socket)
                    await relay.start()
                    assert (await to_the_end(socket))[1] == 4401


async def test_in_open_mode_nothing_is_watched(shared_api_settings: Settings, service: Tenants, tmp_path: Path) -> None:
    job_id = await job_of(service)
    with api_process(looking_often(shared_api_settings), tmp_path) as server:
        async with following(server, job_id) as socket:
            await told_of_the_job(socket)
            await asyncio.sleep(1.5)  # longer than it takes to look
            assert await is_open(socket)
