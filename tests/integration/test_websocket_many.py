"""One live socket for several jobs, over a real network."""

from collections.abc import Iterator

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection

from audio_text.settings import Settings
from services.api import ApiProcess, api_process
from services.live import Worker, following, following_many, receive, segment_ids, to_the_end

UNKNOWN = "6d8b1f6e-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
def server(shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    """One that follows no more than three jobs per connection."""
    events = msgspec.structs.replace(shared_api_settings.events, jobs_per_connection=3, ping_seconds=0.5)
    settings = msgspec.structs.replace(shared_api_settings, events=events)
    with api_process(settings, tmp_path_factory.mktemp("server")) as process:
        yield process


async def say(socket: ClientConnection, kind: str, **fields: object) -> None:
    await socket.send(msgspec.json.encode({"type": kind, **fields}), text=True)


async def news(socket: ClientConnection) -> dict:
    """The next message that is no ping."""
    while (message := await receive(socket))["type"] == "ping":
        pass
    return message


async def test_a_client_is_told_of_each_job_it_subscribes_to(server: ApiProcess, worker: Worker) -> None:
    jobs = [await worker.submitted() for _ in range(2)]
    async with following_many(server) as socket:
        greeting = await receive(socket)
        assert greeting.keys() == {"type", "connection_id", "message", "timestamp", "request_id"}
        for job in jobs:
            await say(socket, "subscribe", job_id=job.id)
            state = await news(socket)
            assert (state["type"], state["job_id"], state["status"]) == ("job_update", job.id, "pending")
        told = []
        for job in jobs:
            claim = await worker.claim(job)
            await worker.decode(claim, 0)
            await worker.complete(claim)
            told.append([await news(socket) for _ in range(3)])
    for job, messages in zip(jobs, told, strict=True):
        assert {message["job_id"] for message in messages} == {job.id}
        assert segment_ids(messages) == [0]
        assert (messages[-1]["status"], messages[-1]["result"]) == ("completed", "good morning")


async def test_a_client_that_subscribes_before_it_was_greeted_is_heard(server: ApiProcess, worker: Worker) -> None:
    job = await worker.submitted()
    async with following_many(server) as socket:
        await say(socket, "subscribe", job_id=job.id)
        assert {(await news(socket))["type"] for _ in range(2)} == {"connected", "job_update"}


async def test_a_client_that_comes_back_gets_only_what_it_missed(server: ApiProcess, worker: Worker) -> None:
    job = await worker.submitted()
    claim = await worker.claim(job)
    async with following(server, job.id) as socket:
        await receive(socket)
        await receive(socket)
        await worker.decode(claim, 0)
        seen = await receive(socket)
    await worker.decode(claim, 1)
    async with following_many(server) as socket:
        await receive(socket)
        await say(socket, "subscribe", job_id=job.id, last_event_id=seen["event_id"])
        told = [await news(socket), await news(socket)]
        await worker.complete(claim)
        told.append(await news(socket))
    assert segment_ids(told) == [1]
    assert told[-1]["status"] == "completed"


async def test_nothing_more_is_told_of_a_job_after_unsubscribed(server: ApiProcess, worker: Worker) -> None:
    one, other = await worker.submitted(), await worker.submitted()
    async with following_many(server) as socket:
        await receive(socket)
        for job in (one, other):
            await say(socket, "subscribe", job_id=job.id)
            await news(socket)
        await say(socket, "unsubscribe", job_id=one.id)
        assert (await news(socket)) == {"type": "unsubscribed", "job_id": one.id}
        await worker.complete(await worker.claim(one))
        await worker.complete(await worker.claim(other))
        assert {(await news(socket))["job_id"] for _ in range(2)} == {other.id}


async def test_a_job_that_is_subscribed_to_again_begins_anew(server: ApiProcess, worker: Worker) -> None:
    job = await worker.submitted()
    claim = await worker.claim(job)
    await worker.decode(claim, 0)
    async with following_many(server) as socket:
        await receive(socket)
        for _ in range(4):
            await say(socket, "subscribe", job_id=job.id)
            assert segment_ids([await news(socket)]) == [0]


async def test_an_unknown_job_is_said_so_and_the_others_go_on(server: ApiProcess, worker: Worker) -> None:
    job = await worker.submitted()
    async with following_many(server) as socket:
        await receive(socket)
        for unknown in (UNKNOWN, "\0", ""):
            await say(socket, "subscribe", job_id=unknown)
            error = await news(socket)
            assert (error["type"], error["error"], error["job_id"]) == ("error", "job_not_found", unknown)
        await say(socket, "subscribe", job_id=job.id)
        assert (await news(socket))["job_id"] == job.id


async def test_more_jobs_than_a_connection_may_follow_are_refused_until_one_is_over(
    server: ApiProcess, worker: Worker
) -> None:
    jobs = [await worker.submitted() for _ in range(4)]
    async with following_many(server) as socket:
        await receive(socket)
        for job in jobs[:3]:
            await say(socket, "subscribe", job_id=job.id)
            await news(socket)
        await say(socket, "subscribe", job_id=jobs[3].id)
        error = await news(socket)
        assert (error["type"], error["error"], error["job_id"]) == ("error", "too_many_jobs", jobs[3].id)
        await worker.complete(await worker.claim(jobs[0]))
        assert [(await news(socket))["status"] for _ in range(2)] == ["processing", "completed"]
        await say(socket, "subscribe", job_id=jobs[3].id)
        assert (await news(socket))["job_id"] == jobs[3].id


@pytest.mark.parametrize("fields", [{}, {"job_id": 5}, {"job_id": "x", "last_event_id": 5}])
async def test_a_subscription_that_cannot_be_read_is_refused(server: ApiProcess, fields: dict) -> None:
    async with following_many(server) as socket:
        await receive(socket)
        await say(socket, "subscribe", **fields)
        error = await news(socket)
        assert (error["type"], error["error"]) == ("error", "invalid_request")
        assert "job_id" not in error


async def test_a_client_is_pinged_while_nothing_happens_and_its_own_ping_is_answered(
    server: ApiProcess, worker: Worker
) -> None:
    job = await worker.submitted()
    async with following_many(server) as socket:
        await receive(socket)
        assert (await receive(socket))["type"] == "ping"
        await say(socket, "subscribe", job_id=job.id)
        await news(socket)
        assert (await receive(socket))["type"] == "ping"
        for noise in ("ping", "hello", '{"type": "dance"}', '{"type": "ping"}'):
            await socket.send(noise)
        assert [(await news(socket))["type"] for _ in range(2)] == ["pong", "pong"]


async def test_a_flood_of_frames_closes_the_connection(server: ApiProcess) -> None:
    async with following_many(server) as socket:
        for _ in range(150):
            await say(socket, "unsubscribe", job_id="x")
        _, code = await to_the_end(socket)
    assert code == 1008
