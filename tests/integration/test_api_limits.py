"""Limits at the door: what is counted and what is not, what answers say, and that two processes count as one."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from msgspec import toml
from msgspec.structs import replace
from structlog.testing import capture_logs
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

import media
from audio_text.domain.key_secrets import new_secret, new_ticket
from audio_text.settings import Settings
from factories import SETTINGS_FILE, make_settings
from services.api import ApiProcess, api_process, running
from services.redis import RedisServer
from services.tenants import without_open_mode

TOKEN = "the operator's token"
OPERATOR = {"Authorization": f"Bearer {TOKEN}"}

ANSWER_NAMES = ["ratelimit-limit", "ratelimit-remaining", "ratelimit-reset", "ratelimit-policy"]


def limited(settings: Settings, *, trusted: tuple[str, ...] = ("127.0.0.0/8",), **limits: Any) -> Settings:
    """Settings with these limits; a test's client is who it says in X-Forwarded-For."""
    return replace(
        settings,
        limits=replace(settings.limits, **limits),
        access=replace(settings.access, trusted_proxies=trusted),
    )


def guarded(settings: Settings, **limits: Any) -> Settings:
    """The same, where keys are asked for, and the operator has a token."""
    settings = limited(without_open_mode(settings), **limits)
    return replace(settings, secrets=replace(settings.secrets, operator_token=TOKEN))


def caller(number: int) -> dict[str, str]:
    return {"X-Forwarded-For": f"198.51.100.{number}"}


async def made_key(client: httpx.AsyncClient, number: int, *, url: str = "/api/v1/keys", **asked: Any) -> str:
    """Have the operator make a key, one to read unless something else is asked for; its secret."""
    key = {"owner": "o", "name": "n", "scopes": ["read"]} | asked
    answer = await client.post(url, json=key, headers=OPERATOR | caller(number))
    return answer.raise_for_status().json()["secret"]


def told(answer: httpx.Response) -> list[str | None]:
    return [answer.headers.get(name) for name in ANSWER_NAMES]


async def test_answers_tell_what_is_left_and_a_refusal_when_to_come_back(shared_api_settings: Settings) -> None:
    settings = limited(shared_api_settings, requests_per_minute=2, requests_per_hour=1_000)
    async with running(settings) as api:
        answers = [await api.client.get("/api/v1/job/read", headers=caller(1)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    limits, remaining, reset, policy = zip(*map(told, answers), strict=True)
    assert set(limits) == {"2"}
    assert remaining == ("1", "0", "0")
    assert all(0 < int(seconds or 0) <= 60 for seconds in reset)
    assert set(policy) == {"2;w=60, 1000;w=3600"}
    problem = answers[-1].json()
    assert (problem["code"], problem["status"]) == ("rate_limited", 429)
    assert answers[-1].headers["Retry-After"] == reset[-1]


async def test_openai_clients_are_refused_in_their_own_words(shared_api_settings: Settings) -> None:
    async with running(limited(shared_api_settings, requests_per_minute=1)) as api:
        answers = [await api.client.get("/v1/models", headers=caller(2)) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert answers[-1].json()["error"]["code"] == "rate_limited"
    assert answers[-1].headers["x-should-retry"] == "true"
    assert int(answers[-1].headers["Retry-After"]) > 0


async def test_health_and_options_and_uploads_by_link_and_unknown_addresses_do_not_count(
    shared_api_settings: Settings,
) -> None:
    data = media.wav(1.0)
    async with running(limited(shared_api_settings, requests_per_minute=2)) as api:
        client = api.client
        client.headers.update(caller(3))
        target = (
            await client.post("/api/v1/audio/presigned-url", json={"filename": "a.wav", "file_size": len(data)})
        ).json()
        uncounted = [
            await client.put(target["url"], content=data, headers=target["headers"]),
            await client.get("/health/live"),
            await client.get("/health/ready"),
            await client.get("/"),
            await client.options("/api/v1/job/read"),
            await client.get("/nowhere"),
        ]
        assert [answer.status_code for answer in uncounted] == [200, 200, 200, 200, 204, 404]
        assert all(told(answer) == [None] * 4 for answer in uncounted)
        assert told(await client.get("/api/v1/job/read"))[:2] == ["2", "0"]


async def test_without_limits_in_open_mode_nobody_asks_redis(
    shared_api_settings: Settings, redis_server: RedisServer
) -> None:
    with redis_server.frozen():
        async with running(limited(shared_api_settings, requests_per_minute=0, requests_per_hour=0)) as api:
            answer = await api.client.get("/api/v1/job/read")
    assert answer.status_code == 200
    assert told(answer) == [None] * 4


async def test_while_redis_is_away_requests_pass_and_the_log_says_so_once(
    shared_api_settings: Settings, redis_server: RedisServer
) -> None:
    async with running(limited(shared_api_settings, requests_per_minute=1)) as api:
        with redis_server.frozen(), capture_logs() as logs:
            answers = [await api.client.get("/api/v1/job/read", headers=caller(4)) for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 5
    assert [line["event"] for line in logs].count("limits_do_not_work") == 1


async def test_while_redis_is_away_requests_are_refused_where_the_settings_say_so(
    shared_api_settings: Settings, redis_server: RedisServer
) -> None:
    async with running(limited(shared_api_settings, requests_per_minute=9, fail_open=False)) as api:
        with redis_server.frozen():
            answer = await api.client.get("/api/v1/job/read", headers=caller(5))
            alive = await api.client.get("/health/live")
    assert (answer.status_code, answer.json()["code"]) == (503, "limits_unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert alive.status_code == 200


async def test_two_processes_let_pass_as_many_as_one(shared_api_settings: Settings, tmp_path: Path) -> None:
    # On a machine that is starved a count may take too long: here it is refused then, and never let through.
    settings = limited(shared_api_settings, requests_per_minute=60, requests_per_hour=1_000, fail_open=False)
    with api_process(settings, tmp_path, wait=False) as one, api_process(settings, tmp_path) as other:
        await _until_up(one)
        statuses = await _at_once([one, other], count=150, number=6)
        assert statuses.get(200, 0) <= 60
        assert 503 in statuses or statuses == {200: 60, 429: 90}
        answers = await _at_once([one, other], count=20, number=7)
        assert answers.get(200, 0) + answers.get(503, 0) == 20


async def test_of_submissions_to_two_processes_at_once_exactly_as_many_are_taken_as_a_key_may_have(
    shared_api_settings: Settings, tmp_path: Path
) -> None:
    settings = guarded(shared_api_settings, unknown_audio_seconds=10)
    settings = replace(settings, remote=replace(settings.remote, enabled=True))
    with api_process(settings, tmp_path, wait=False) as one, api_process(settings, tmp_path) as other:
        await _until_up(one)
        both = [f"http://{api.address}/api/v1" for api in (one, other)]

        async def taken(limits: dict[str, int], url: str | None = None) -> tuple[dict[str, int], dict[str, Any]]:
            """Have a new key submit a recording of two seconds, or what lies elsewhere, 15 times to each of both."""
            async with httpx.AsyncClient(limits=httpx.Limits(max_connections=30), timeout=60) as client:
                secret = await made_key(client, 16, url=f"{both[0]}/keys", scopes=["submit", "read"], limits=limits)
                client.headers["Authorization"] = f"Bearer {secret}"
                jobs = [{"filename": "a.wav", "url": url or await _uploaded(client, api)} for api in both]
                answers = await asyncio.gather(
                    *(client.post(f"{both[turn % 2]}/job/transcribe", json=jobs[turn % 2]) for turn in range(30))
                )
                usage = (await client.get(f"{both[1]}/usage")).raise_for_status().json()
            outcomes = Counter(answer.json().get("code", "taken") for answer in answers)
            assert all("Retry-After" in answer.headers for answer in answers if answer.is_error)
            return dict(outcomes), usage

        outcomes, usage = await taken({"concurrent_jobs": 7})
        assert outcomes == {"taken": 7, "concurrent_jobs_exceeded": 23}
        assert usage["concurrent_jobs"]["used"] == 7
        outcomes, usage = await taken({"audio_seconds_per_day": 15})
        assert outcomes == {"taken": 7, "audio_quota_exceeded": 23}
        assert (usage["audio_seconds_today"]["used"], usage["audio_seconds_reserved"]) == (14, 0)
        outcomes, usage = await taken({"audio_seconds_per_day": 75}, "https://elsewhere.test/a.wav")
        assert outcomes == {"taken": 7, "audio_quota_exceeded": 23}
        assert (usage["audio_seconds_today"]["used"], usage["audio_seconds_reserved"]) == (70, 70)


async def test_the_opening_of_a_socket_counts_and_is_refused_with_the_reason(
    shared_api_settings: Settings, tmp_path: Path
) -> None:
    with api_process(limited(shared_api_settings, requests_per_minute=1), tmp_path) as api:
        address = f"ws://{api.address}/api/v1/job/ws"
        async with connect(address, additional_headers=caller(8), proxy=None) as socket:
            assert "connected" in str(await socket.recv())
            for _ in range(5):
                await socket.send('{"type": "ping"}')
                assert "pong" in str(await socket.recv())
        with pytest.raises(InvalidStatus) as refusal:
            await connect(address, additional_headers=caller(8), proxy=None)
    answer = refusal.value.response
    assert (answer.status_code, answer.headers["content-type"]) == (429, "application/problem+json")
    assert b"rate_limited" in (answer.body or b"")
    assert int(answer.headers["retry-after"]) > 0
    assert answer.headers["ratelimit-remaining"] == "0"


async def test_who_may_not_is_counted_and_then_refused_before_anything_is_looked_up(
    shared_api_settings: Settings,
) -> None:
    async with running(guarded(shared_api_settings, requests_per_minute=100)) as api:
        secret = await made_key(api.client, 12, limits={"requests_per_minute": 3})
        api.client.headers["Authorization"] = f"Bearer {secret}"
        answers = [await api.client.get(f"/api/v1/job/status/{uuid4()}") for _ in range(2)]
        answers.append(await api.client.delete(f"/api/v1/job/{uuid4()}"))
        answers += [
            await api.client.get(f"/api/v1/job/status/{uuid4()}"),
            await api.client.delete(f"/api/v1/job/{uuid4()}"),
        ]
    assert [answer.status_code for answer in answers] == [404, 404, 403, 429, 429]
    assert [told(answer)[1] for answer in answers] == ["2", "1", "0", "0", "0"]


async def test_invented_keys_are_refused_without_a_look_after_so_many_and_keys_in_use_go_on(
    shared_api_settings: Settings,
) -> None:
    async with running(guarded(shared_api_settings, refused_per_minute=3)) as api:

        async def asked(secret: str, number: int = 13) -> httpx.Response:
            headers = {"Authorization": f"Bearer {secret}"} | caller(number)
            return await api.client.get("/api/v1/job/read", headers=headers)

        used, fresh = [await made_key(api.client, 13) for _ in range(2)]
        assert (await asked(used)).status_code == 200
        first = await api.client.get("/api/v1/job/events", params={"job": "x", "ticket": "made up"}, headers=caller(13))
        answers = [first, *[await asked(new_secret()) for _ in range(4)]]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
        assert answers[-1].json()["code"] == "rate_limited"
        assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
        assert [(await asked(secret)).status_code for secret in (used, fresh)] == [200, 429]
        assert (await asked(fresh, 14)).status_code == 200
        assert (await asked(fresh)).status_code == 200, "it is known by now"
        assert (await api.client.get("/api/v1/keys", headers=OPERATOR | caller(13))).status_code == 200


async def test_invented_tickets_are_refused_like_invented_keys_and_good_ones_are_good_wherever_they_come_from(
    shared_api_settings: Settings,
) -> None:
    async with running(guarded(shared_api_settings, refused_per_minute=3)) as api:

        async def redeemed(ticket: str) -> httpx.Response:
            # No stream begins: the answer is that of a job that nobody has.
            return await api.client.get(f"/api/v1/job/{uuid4()}/events", params={"ticket": ticket}, headers=caller(15))

        key = {"Authorization": f"Bearer {await made_key(api.client, 15)}"} | caller(15)
        good = (await api.client.post("/api/v1/tickets", headers=key)).raise_for_status().json()["ticket"]
        answers = [await redeemed(text) for text in ["made up", *[new_ticket() for _ in range(4)]]]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
        assert answers[-1].json()["code"] == "rate_limited"
        assert 0 < int(answers[-1].headers["Retry-After"]) <= 60
        assert [(await redeemed(good)).status_code for _ in range(2)] == [404, 429]
        unused = {"Authorization": f"Bearer {new_secret()}"} | caller(15)
        assert (await api.client.get("/api/v1/job/read", headers=unused)).status_code == 429


async def test_so_many_sockets_and_streams_are_open_at_once_and_another_when_one_is_closed(
    shared_api_settings: Settings, tmp_path: Path
) -> None:
    settings = limited(shared_api_settings, connections_per_key=3)
    with api_process(settings, tmp_path) as api:
        address = f"ws://{api.address}/api/v1/job/ws"
        sockets = [await connect(address, additional_headers=caller(9), proxy=None) for _ in range(3)]
        for socket in sockets:
            assert "connected" in str(await socket.recv())
        with pytest.raises(InvalidStatus) as refusal:
            await connect(address, additional_headers=caller(9), proxy=None)
        assert b"too_many_connections" in (refusal.value.response.body or b"")
        url = f"http://{api.address}/api/v1/job/events"
        async with httpx.AsyncClient(timeout=30) as client:
            stream = await client.get(url, params={"job": "nobody"}, headers=caller(9))
            assert (stream.status_code, stream.json()["code"]) == (429, "too_many_connections")
            # other requests of the caller, and others' sockets, go on
            assert (await client.get(f"http://{api.address}/api/v1/job/read", headers=caller(9))).is_success
        async with connect(address, additional_headers=caller(10), proxy=None) as other:
            assert "connected" in str(await other.recv())
        await sockets.pop().close()
        await _until_let_in(address, caller(9))
        for socket in sockets:
            await socket.close()


async def test_connections_that_failed_give_their_places_back(shared_api_settings: Settings, tmp_path: Path) -> None:
    with api_process(limited(shared_api_settings, connections_per_key=1), tmp_path) as api:
        async with httpx.AsyncClient(timeout=30, headers=caller(11)) as client:
            for _ in range(3):
                answer = await client.get(f"http://{api.address}/api/v1/job/events", params={"job": "nobody"})
                assert answer.status_code in {200, 404}
        await _until_let_in(f"ws://{api.address}/api/v1/job/ws", caller(11))


def test_the_defaults_are_sixty_a_minute_and_a_thousand_an_hour() -> None:
    limits = toml.decode(SETTINGS_FILE.read_bytes())["limits"]
    assert (limits["requests_per_minute"], limits["requests_per_hour"], limits["fail_open"]) == (60, 1_000, True)
    assert make_settings({"limits.requests_per_minute": 60}).limits.requests_per_minute == 60


async def _at_once(processes: list[ApiProcess], *, count: int, number: int) -> dict[int, int]:
    """Ask all of them in turn, all at once; how many answers of each status came."""
    limits = httpx.Limits(max_connections=40)
    async with httpx.AsyncClient(headers=caller(number), limits=limits, timeout=60) as client:
        urls = [f"http://{processes[turn % len(processes)].address}/api/v1/job/read" for turn in range(count)]
        answers = await asyncio.gather(*(client.get(url) for url in urls))
    return dict(Counter(answer.status_code for answer in answers))


async def _uploaded(client: httpx.AsyncClient, api: str) -> str:
    """The address of an upload of two seconds that is the client's."""
    data = media.wav(2.0)
    answer = await client.post(f"{api}/audio/presigned-url", json={"filename": "a.wav", "file_size": len(data)})
    target = answer.raise_for_status().json()
    async with httpx.AsyncClient() as anybody:
        (await anybody.put(target["url"], content=data, headers=target["headers"])).raise_for_status()
    return target["url"]


async def _until_let_in(address: str, headers: dict[str, str]) -> None:
    """A place is free as soon as the service has noticed that a connection is closed."""
    async with asyncio.timeout(10):
        while True:
            try:
                async with connect(address, additional_headers=headers, proxy=None) as socket:
                    assert "connected" in str(await socket.recv())
                    return
            except InvalidStatus:
                await asyncio.sleep(0.05)


async def _until_up(api: ApiProcess) -> None:
    async with httpx.AsyncClient() as client:
        while True:
            try:
                await client.get(f"http://{api.address}/health/live")
            except httpx.HTTPError:
                await asyncio.sleep(0.05)
            else:
                return
