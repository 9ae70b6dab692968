"""Who gets in: origins, the secret of the edge, hidden documentation; each by setting, and all without them."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import msgspec
import pytest
import websockets
from structlog.testing import capture_logs

from audio_text.settings import Settings
from services.api import Api, ApiProcess, api_process, in_one_task, running

APP = "https://app.example"
SECRET = "a secret that only the edge knows"
NEXT = "the secret that it will know next"
EVERYWHERE = (
    ("GET", "/api/v1/job/read"),
    ("GET", "/api/v1/job/status/6d8b1f6e-0000-4000-8000-000000000000"),
    ("POST", "/api/v1/job/transcribe"),
    ("GET", "/api/v1/job/6d8b1f6e-0000-4000-8000-000000000000/events"),
    ("GET", "/v1/models"),
    ("POST", "/v1/audio/transcriptions"),
    ("GET", "/nothing"),
    ("GET", "//api/v1/job/read"),
    ("OPTIONS", "/api/v1/job/read"),
)
HEALTH = ("/", "/api/v1", "/health/live", "/health/ready")
PAGES = ("/docs", "/redoc", "/openapi.json", "/docs/assets/swagger.js")


def with_(settings: Settings, *, edge_secret: str = "", cors: tuple[str, ...] = (APP,), **access: Any) -> Settings:
    replace = msgspec.structs.replace
    return replace(
        settings,
        access=replace(settings.access, **access),
        api=replace(settings.api, cors_origins=cors),
        secrets=replace(settings.secrets, edge_secret=edge_secret),
    )


@pytest.fixture(scope="module")
async def open_doors(shared_api_settings: Settings) -> AsyncIterator[Api]:
    async with in_one_task(running(shared_api_settings)) as api:
        yield api


@pytest.fixture(scope="module")
async def origins(shared_api_settings: Settings) -> AsyncIterator[Api]:
    allowed = (APP, "http://localhost:3000")
    async with in_one_task(running(with_(shared_api_settings, allowed_origins=allowed, open=True))) as api:
        yield api


@pytest.fixture(scope="module")
async def edge(shared_api_settings: Settings) -> AsyncIterator[Api]:
    async with in_one_task(running(with_(shared_api_settings, edge_secret=f"{SECRET_WORD},{NEXT_WORD}"))) as api:
        yield api


SECRET_WORD = SECRET.replace(" ", "-")
NEXT_WORD = NEXT.replace(" ", "-")


@pytest.mark.parametrize(("method", "path"), EVERYWHERE)
async def test_without_settings_nobody_is_refused(open_doors: Api, method: str, path: str) -> None:
    answer = await open_doors.client.request(method, path, headers={"Origin": "https://evil.example"})
    assert answer.status_code != 403


@pytest.mark.parametrize(("method", "path"), EVERYWHERE)
async def test_a_page_of_another_origin_is_refused_everywhere_and_the_log_says_why(
    origins: Api, method: str, path: str
) -> None:
    with capture_logs() as logs:
        answer = await origins.client.request(method, path, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    told = answer.json()
    assert told.get("code", told.get("error", {}).get("code")) == "origin_refused"
    assert answer.headers["X-Request-ID"]
    (line,) = [line for line in logs if line["event"] == "request_refused"]
    assert (line["code"], line["address"], line["log_level"]) == ("origin_refused", "127.0.0.1", "warning")
    assert line["reason"] == "Origin https://evil.example is not allowed"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": APP},
        {"Origin": "HTTPS://APP.example:443"},
        {"Origin": "http://localhost:3000"},
        {"Referer": APP},
        {"Referer": f"{APP}/some/page?of=it"},
        {"Origin": APP, "Referer": "https://evil.example/"},
    ],
)
async def test_pages_of_allowed_origins_may_call(origins: Api, headers: dict[str, str]) -> None:
    assert (await origins.client.get("/api/v1/job/read", headers=headers)).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": ""},
        {"Origin": "null"},
        {"Origin": "http://app.example"},
        {"Origin": f"{APP}.evil.example"},
        {"Origin": f"{APP}:8443"},
        {"Origin": f"{APP}/"},
        {"Origin": "https://app.example@evil.example"},
        {"Origin": "https://evil.example/?https://app.example"},
        {"Origin": "null", "Referer": f"{APP}/"},
        {"Referer": "https://app.example.evil.example/"},
        {"Referer": "https://app.example@evil.example/"},
        {"Referer": "https://evil.example/https://app.example/"},
        {"Host": "app.example", "X-Forwarded-Host": "app.example"},
        {"Authorization": "Bearer at_that_nobody_checks_in_open_mode"},
    ],
)
async def test_nothing_that_resembles_an_allowed_origin_gets_in(origins: Api, headers: dict[str, str]) -> None:
    assert (await origins.client.get("/api/v1/job/read", headers=headers)).status_code == 403


async def test_two_origins_are_none(origins: Api) -> None:
    twice = [("Origin", APP), ("Origin", "https://evil.example")]
    assert (await origins.client.get("/api/v1/job/read", headers=twice)).status_code == 403
    assert (await origins.client.get("/api/v1/job/read", headers=list(reversed(twice)))).status_code == 403


async def test_a_program_that_shows_a_key_needs_no_origin_where_keys_are_checked(shared_api_settings: Settings) -> None:
    settings = with_(shared_api_settings, allowed_origins=(APP,), open=False)
    async with running(settings) as api:
        key = {"Authorization": "Bearer at_some_key"}
        assert (await api.client.get("/api/v1/job/read", headers=key)).status_code != 403
        foreign = key | {"Origin": "https://evil.example"}
        assert (await api.client.get("/api/v1/job/read", headers=foreign)).status_code == 403
        assert (await api.client.get("/api/v1/job/read")).status_code == 403


async def test_a_signed_link_is_as_good_as_a_key_but_not_for_foreign_pages(origins: Api) -> None:
    asked = {"filename": "talk.wav", "content_type": "audio/wav", "file_size": 4}
    target = (await origins.client.post("/api/v1/audio/presigned-url", json=asked, headers={"Origin": APP})).json()
    foreign = target["headers"] | {"Origin": "https://evil.example"}
    assert (await origins.client.put(target["url"], content=b"RIFF", headers=foreign)).status_code == 403
    assert (await origins.client.put(target["url"], content=b"RIFF", headers=target["headers"])).status_code == 200


@pytest.mark.parametrize("path", HEALTH)
async def test_health_is_always_public(origins: Api, edge: Api, path: str) -> None:
    for api in (origins, edge):
        assert (await api.client.get(path)).status_code == 200
        assert (await api.client.get(path, headers={"Origin": "https://evil.example"})).status_code == 200


@pytest.mark.parametrize("path", PAGES)
async def test_pages_of_documentation_are_there_for_whoever_types_their_address(origins: Api, path: str) -> None:
    assert (await origins.client.get(path)).status_code == 200


async def test_a_preflight_of_an_allowed_page_passes_and_of_another_does_not(origins: Api) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,content-type"}
    allowed = await origins.client.options("/api/v1/job/transcribe", headers=asked | {"Origin": APP})
    assert allowed.status_code == 204
    assert allowed.headers["Access-Control-Allow-Origin"] == APP
    assert allowed.headers["Vary"] == "Origin"
    assert "authorization" in allowed.headers["Access-Control-Allow-Headers"].lower()
    foreign = await origins.client.options("/api/v1/job/transcribe", headers=asked | {"Origin": "https://evil.example"})
    assert foreign.status_code == 403
    assert "Access-Control-Allow-Origin" not in foreign.headers


async def test_pages_may_read_answers_of_the_origins_they_are_listed_for_and_never_with_cookies(
    shared_api_settings: Settings, open_doors: Api
) -> None:
    async with running(with_(shared_api_settings, cors=(APP,))) as api:
        for origin, told in ((APP, APP), ("https://evil.example", None), (f"{APP}.evil.example", None)):
            for path in ("/api/v1/job/read", "/nothing"):
                answer = await api.client.get(path, headers={"Origin": origin, "Cookie": "a=b"})
                assert answer.headers.get("Access-Control-Allow-Origin") == told
                assert "Access-Control-Allow-Credentials" not in answer.headers
    answer = await open_doors.client.get("/api/v1/job/read", headers={"Origin": APP, "Cookie": "a=b"})
    assert "Access-Control-Allow-Credentials" not in answer.headers


@pytest.mark.parametrize(("method", "path"), [*EVERYWHERE, *(("GET", page) for page in PAGES)])
async def test_whoever_comes_past_the_edge_is_refused_everywhere(edge: Api, method: str, path: str) -> None:
    with capture_logs() as logs:
        answer = await edge.client.request(method, path)
    assert answer.status_code == 403
    told = answer.json()
    assert told.get("code", told.get("error", {}).get("code")) == "edge_refused"
    (line,) = [line for line in logs if line["event"] == "request_refused"]
    assert line["reason"] == "x-edge-secret is missing or wrong"


@pytest.mark.parametrize("secret", [SECRET_WORD, NEXT_WORD])
async def test_the_edge_gets_in_with_either_secret_while_it_is_changed(edge: Api, secret: str) -> None:
    answer = await edge.client.get("/api/v1/job/read", headers={"X-Edge-Secret": secret})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    "secrets",
    [[b""], [SECRET_WORD[:-1].encode()], [SECRET_WORD.encode() + b"x"], [b"\xff"], [SECRET_WORD.encode()] * 2],
)
async def test_nothing_but_the_secret_of_the_edge_will_do(edge: Api, secrets: list[bytes]) -> None:
    headers = [(b"X-Edge-Secret", secret) for secret in secrets]
    with capture_logs() as logs:
        assert (await edge.client.get("/api/v1/job/read", headers=headers)).status_code == 403
    assert SECRET_WORD[:-1] not in str(logs)


async def test_the_header_of_the_edge_has_the_name_that_settings_give_it(shared_api_settings: Settings) -> None:
    async with running(with_(shared_api_settings, edge_secret=SECRET_WORD, edge_header="X-From-Edge")) as api:
        for name, status in (("X-From-Edge", 200), ("X-Edge-Secret", 403)):
            answer = await api.client.get("/api/v1/job/read", headers={name: SECRET_WORD})
            assert answer.status_code == status


@pytest.mark.parametrize("path", ["/", "/api/v1/job/read", "/nothing", "/v1/nothing", "/openapi.json", "/docs"])
async def test_every_answer_tells_browsers_to_be_careful(open_doors: Api, path: str) -> None:
    headers = (await open_doors.client.get(path)).headers
    assert headers.get_list("X-Content-Type-Options") == ["nosniff"]
    (policy,) = headers.get_list("Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["Referrer-Policy"] == "same-origin"
    assert "Strict-Transport-Security" not in headers


async def test_refusals_and_preflights_tell_browsers_the_same(origins: Api) -> None:
    refusal = await origins.client.get("/api/v1/job/read")
    preflight = await origins.client.options(
        "/api/v1/job/read", headers={"Origin": APP, "Access-Control-Request-Method": "GET"}
    )
    for answer in (refusal, preflight):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_security_headers_can_be_left_to_the_proxy(shared_api_settings: Settings) -> None:
    async with running(with_(shared_api_settings, security_headers=False)) as api:
        headers = (await api.client.get("/api/v1/job/read")).headers
    assert not headers.keys() & {"x-content-type-options", "content-security-policy", "referrer-policy"}


async def test_browsers_are_held_to_https_where_settings_say_so(shared_api_settings: Settings) -> None:
    async with running(with_(shared_api_settings, hsts_seconds=31_536_000)) as api:
        for path in ("/", "/nothing"):
            assert (await api.client.get(path)).headers["Strict-Transport-Security"] == "max-age=31536000"


async def test_the_log_names_the_client_behind_proxies_that_are_trusted(shared_api_settings: Settings) -> None:
    async with running(with_(shared_api_settings, trusted_proxies=("127.0.0.0/8",))) as api:
        with capture_logs() as logs:
            await api.client.get("/nothing", headers={"X-Forwarded-For": "1.2.3.4, 198.51.100.7"})
    (line,) = [line for line in logs if line["event"] == "request"]
    assert line["address"] == "198.51.100.7"


@pytest.fixture(scope="module")
def server(shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    settings = with_(shared_api_settings, allowed_origins=(APP,), edge_secret=SECRET_WORD)
    with api_process(settings, tmp_path_factory.mktemp("server")) as process:
        yield process


@pytest.mark.parametrize("path", ["/api/v1/job/ws", "/api/v1/job/ws/6d8b1f6e-0000-4000-8000-000000000000"])
@pytest.mark.parametrize(
    ("origin", "secret", "code"),
    [
        ("https://app.example.evil.example", SECRET_WORD, "origin_refused"),
        ("null", SECRET_WORD, "origin_refused"),
        (None, SECRET_WORD, "origin_refused"),
        (APP, "wrong", "edge_refused"),
    ],
)
async def test_a_socket_is_refused_before_it_is_opened(
    server: ApiProcess, path: str, origin: Any, secret: str, code: str
) -> None:
    headers = {"X-Edge-Secret": secret, "X-Request-ID": "mine"}
    with pytest.raises(websockets.InvalidStatus) as caught:
        async with websockets.connect(f"ws://{server.address}{path}", origin=origin, additional_headers=headers):
            pass
    answer = caught.value.response
    assert answer.status_code == 403
    assert answer.headers["X-Request-ID"] == "mine"
    assert msgspec.json.decode(answer.body or b"")["code"] == code
    line = server.logged("request_refused")[-1]
    assert (line["code"], line["request_id"], line["address"]) == (code, "mine", "127.0.0.1")


async def test_a_socket_of_an_allowed_page_opens_and_names_its_request(server: ApiProcess) -> None:
    headers = {"X-Edge-Secret": SECRET_WORD, "X-Request-ID": "mine"}
    address: Any = f"ws://{server.address}/api/v1/job/ws"
    async with websockets.connect(address, origin=APP, additional_headers=headers) as socket:  # pyright: ignore[reportArgumentType] -- a NewType of str
        assert msgspec.json.decode(await socket.recv())["request_id"] == "mine"


def test_a_server_refuses_like_the_application(server: ApiProcess) -> None:
    address = f"http://{server.address}/api/v1/job/read"
    assert httpx.get(address).json()["code"] == "edge_refused"
    assert httpx.get(address, headers={"X-Edge-Secret": SECRET_WORD}).json()["code"] == "origin_refused"
    assert httpx.get(address, headers={"X-Edge-Secret": SECRET_WORD, "Origin": APP}).status_code == 200
    assert httpx.get(f"http://{server.address}/").status_code == 200


def test_a_body_that_is_refused_does_not_keep_the_refusal_from_its_sender(server: ApiProcess) -> None:
    address = f"http://{server.address}/v1/audio/transcriptions"
    answer = httpx.post(address, content=bytes(2_000_000), headers={"X-Edge-Secret": SECRET_WORD})
    assert answer.json()["error"]["code"] == "origin_refused"
