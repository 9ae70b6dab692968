"""The live socket as its clients see it, over a real network."""

from collections.abc import Iterator

import msgspec
import pytest

from audio_text.settings import Settings
from services.api import ApiProcess, api_process
from services.live import OUTCOME, Worker, following, receive, segment_ids, to_the_end, updates


@pytest.fixture(scope="module")
def server(shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with api_process(shared_api_settings, tmp_path_factory.mktemp("server")) as process:
        yield process


@pytest.fixture(scope="module")
def impatient_server(shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    """One that pings after a fifth of a second."""
    events = msgspec.structs.replace(shared_api_settings.events, ping_seconds=0.2)
    settings = msgspec.structs.replace(shared_api_settings, events=events)
    with api_process(settings, tmp_path_factory.mktemp("impatient")) as process:
        yield process


async def test_a_client_is_greeted_and_told_the_state_at_once(server: ApiProcess, worker: Worker) -> None:
    job = await worker.submitted()
    async with following(server, job.id) as socket:
        greeting, state = await receive(socket), await receive(socket)
    assert greeting["type"] == "connected"
    assert greeting.keys() == {"type", "job_id", "connection_id", "request_id", "message", "timestamp"}
    assert greeting["job_id"] == job.id
    told = {"type", "job_id", "status", "progress", "message", "event_id", "segments", "queue_position", "eta_seconds"}
    assert state.keys() == told
    assert (state["queue_position"], state["eta_seconds"]) == (0, None)
    assert (state["type"], state["status"], state["progress"], state["segments"]) == ("job_update", "pending", 0, [])


async def test_a_client_sees_every_segment_as_it_is_decoded_and_the_result_at_the_end(
    server: ApiProcess, worker: Worker
) -> None:
    job = await worker.submitted()
    async with following(server, job.id) as socket:
        await receive(socket)
        await receive(socket)
        claim = await worker.claim(job)
        assert (await receive(socket))["status"] == "processing"
        await worker.decode(claim, 0)
        update = await receive(socket)
        assert update["progress"] == 20.0
        (segment,) = update["segments"]
        assert (segment["id"], segment["start"], segment["end"], segment["text"]) == (0, 0.0, 2.0, " Sentence 0.")
        assert segment["words"] == [{"start": 0.0, "end": 1.0, "word": " Hi", "probability": 0.9}]
        assert {"avg_logprob", "no_speech_prob", "compression_ratio", "temperature"} <= segment.keys()
        await worker.decode(claim, 1)
        await worker.complete(claim)
        rest, code = await to_the_end(socket)
    assert code == 1000
    assert segment_ids(rest) == [1]
    last = rest[-1]
    assert (last["status"], last["progress"], last["result"]) == ("completed", 100, "good morning")
    assert (last["language"], last["language_probability"], last["processing_time"]) == ("en", 0.98, 2.5)


async def test_a_failure_is_told_with_its_reason(server: ApiProcess, worker: Worker) -> None:
    job = await worker.submitted()
    async with following(server, job.id) as socket:
        await worker.fail(await worker.claim(job))
        messages, code = await to_the_end(socket)
    assert code == 1000
    assert (messages[-1]["status"], messages[-1]["error"]) == ("failed", "It is damaged.")
    assert messages[-1]["error_code"] == "invalid_audio"
    assert "result" not in messages[-1]


async def test_a_client_that_connects_to_a_job_that_is_over_learns_it_at_once(
    server: ApiProcess, worker: Worker
) -> None:
    job = await worker.submitted()
    claim = await worker.claim(job)
    await worker.decode(claim, 0)
    await worker.complete(claim)
    async with following(server, job.id) as socket:
        messages, code = await to_the_end(socket)
    assert code == 1000
    assert [message["type"] for message in messages] == ["connected", "job_update"]
    assert messages[-1]["result"] == "good morning"
    assert segment_ids(messages) == [0]


async def test_a_client_that_comes_back_gets_only_what_it_missed(server: ApiProcess, worker: Worker) -> None:
    job = await worker.submitted()
    claim = await worker.claim(job)
    async with following(server, job.id) as socket:
        await receive(socket)
        await receive(socket)
        await worker.decode(claim, 0)
        seen = await receive(socket)
    await worker.decode(claim, 1)
    async with following(server, job.id, last_event_id=seen["event_id"]) as socket:
        await receive(socket)
        await worker.decode(claim, 2)
        await worker.complete(claim)
        messages, code = await to_the_end(socket)
    assert code == 1000
    assert segment_ids(messages) == [1, 2]
    progress = [update["progress"] for update in updates(messages)]
    assert progress == sorted(progress)


@pytest.mark.parametrize("nonsense", ["nonsense", "1-1-1", "-", "9" * 30 + "-1", "0-0", "%00"])
async def test_a_client_with_a_cursor_that_is_not_ours_starts_anew(
    server: ApiProcess, worker: Worker, nonsense: str
) -> None:
    job = await worker.submitted()
    claim = await worker.claim(job)
    await worker.decode(claim, 0)
    await worker.complete(claim)
    async with following(server, job.id, last_event_id=nonsense) as socket:
        messages, code = await to_the_end(socket)
    assert code == 1000
    assert segment_ids(messages) == [0]


async def test_watchers_on_two_api_processes_see_the_same(
    server: ApiProcess, impatient_server: ApiProcess, worker: Worker
) -> None:
    job = await worker.submitted()
    async with following(server, job.id) as here, following(impatient_server, job.id) as there:
        for socket in (here, there):
            await receive(socket)
            await receive(socket)
        claim = await worker.claim(job)
        for number in range(5):
            await worker.decode(claim, number)
        await worker.complete(claim)
        seen = [await to_the_end(here), await to_the_end(there)]
    for messages, code in seen:
        assert code == 1000
        assert segment_ids(messages) == [0, 1, 2, 3, 4]
    assert updates(seen[0][0]) == updates(seen[1][0])


@pytest.mark.parametrize("job_id", ["6d8b1f6e-0000-4000-8000-000000000000", "nonsense", "%00", "%ff", "a" * 300])
async def test_an_unknown_job_is_an_error_and_close_code_4404(server: ApiProcess, job_id: str) -> None:
    async with following(server, job_id) as socket:
        messages, code = await to_the_end(socket)
    assert code == 4404
    assert [message["type"] for message in messages] == ["connected", "error"]
    error = messages[-1]
    assert error.keys() == {"type", "job_id", "message", "error", "timestamp"}
    assert (error["error"], error["message"]) == ("job_not_found", "There is no job with this id.")


async def test_a_client_is_pinged_while_nothing_happens_and_its_own_ping_is_answered(
    impatient_server: ApiProcess, worker: Worker
) -> None:
    job = await worker.submitted()
    async with following(impatient_server, job.id) as socket:
        await receive(socket)
        await receive(socket)
        ping = await receive(socket)
        assert ping.keys() == {"type", "connection_id", "timestamp", "message"}
        assert ping["type"] == "ping"
        await socket.send(msgspec.json.encode({"type": "pong", "timestamp": ping["timestamp"]}), text=True)
        for own in ("ping", '{"type": "ping"}'):
            await socket.send(own)
            types = {(await receive(socket))["type"]}
            while "pong" not in types:
                types.add((await receive(socket))["type"])
            assert types <= {"pong", "ping"}


@pytest.mark.parametrize("noise", ["", "hello", "{", "[]", '{"type": 5}', '{"type": "dance"}', b"\xff\x00", "pong"])
async def test_what_a_client_says_beyond_that_is_ignored(
    server: ApiProcess, worker: Worker, noise: str | bytes
) -> None:
    job = await worker.submitted()
    async with following(server, job.id) as socket:
        await receive(socket)
        await receive(socket)
        await socket.send(noise)
        await socket.send("ping")
        assert (await receive(socket))["type"] == "pong"


async def test_an_end_that_was_never_published_is_learnt_from_the_row(
    impatient_server: ApiProcess, worker: Worker
) -> None:
    job = await worker.submitted()
    async with following(impatient_server, job.id) as socket:
        claim = await worker.claim(job)
        assert await worker.jobs.complete(claim, OUTCOME)
        messages, code = await to_the_end(socket)
    assert code == 1000
    assert messages[-1]["result"] == "good morning"


async def test_a_frame_that_is_too_long_closes_the_connection(server: ApiProcess, worker: Worker) -> None:
    job = await worker.submitted()
    async with following(server, job.id) as socket:
        await socket.send("a" * 5_000)
        _, code = await to_the_end(socket)
    assert code == 1009


async def test_a_flood_of_frames_closes_the_connection(server: ApiProcess, worker: Worker) -> None:
    job = await worker.submitted()
    async with following(server, job.id) as socket:
        for _ in range(150):
            await socket.send("hello")
        _, code = await to_the_end(socket)
    assert code == 1008
