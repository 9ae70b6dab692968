"""What the server itself bounds, before the application hears of a request."""

import socket
from collections.abc import Iterator

import msgspec
import pytest

from audio_text.settings import Settings
from services.api import ApiProcess, api_process

LINE = b"GET /health/live HTTP/1.1\r\nHost: api.test\r\n"
PATIENCE = 20.0
"""Longest wait of these tests for what the server does within a second."""


@pytest.fixture(scope="module")
def server(shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    replace = msgspec.structs.replace
    api = replace(shared_api_settings.api, max_header_bytes=16_384, header_seconds=1.0)
    with api_process(replace(shared_api_settings, api=api), tmp_path_factory.mktemp("server")) as process:
        yield process


def connected(server: ApiProcess) -> socket.socket:
    host, port = server.settings.api.host, server.settings.api.port
    return socket.create_connection((host, port), timeout=PATIENCE)


def answer(server: ApiProcess, sent: bytes) -> bytes:
    with connected(server) as connection:
        connection.sendall(sent)
        return connection.recv(65_536).partition(b"\r\n")[0]


def test_headers_up_to_the_limit_are_served(server: ApiProcess) -> None:
    assert answer(server, LINE + b"X-Long: " + b"a" * 16_000 + b"\r\n\r\n") == b"HTTP/1.1 200 OK"


@pytest.mark.parametrize(
    "sent",
    [
        LINE + b"X-Long: " + b"a" * 20_000 + b"\r\n\r\n",
        LINE + b"X-Endless: " + b"a" * 200_000,
        LINE + b"".join(b"X-%d: a\r\n" % number for number in range(2_000)) + b"\r\n",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: api.test\r\n\r\n",
    ],
    ids=["one long header", "one without end", "many headers", "a long address"],
)
def test_longer_headers_are_refused(server: ApiProcess, sent: bytes) -> None:
    assert answer(server, sent) == b"HTTP/1.1 431 Request Header Fields Too Large"


@pytest.mark.parametrize("sent", [b"", b"G", LINE, LINE + b"\r\n"], ids=["nothing", "one byte", "half", "idle"])
def test_a_connection_on_which_no_request_arrives_is_closed(server: ApiProcess, sent: bytes) -> None:
    with connected(server) as connection:
        connection.sendall(sent)
        while connection.recv(65_536):  # a timeout of the test fails it
            pass


def test_a_client_that_drips_its_headers_is_cut_off(server: ApiProcess) -> None:
    with connected(server) as connection:
        connection.settimeout(0.1)
        connection.sendall(LINE)
        is_open = True
        for number in range(int(PATIENCE * 10)):
            try:
                connection.sendall(b"X-%d: a\r\n" % number)
                is_open = bool(connection.recv(65_536))
            except TimeoutError:
                continue
            except ConnectionError:
                is_open = False
            if not is_open:
                break
    assert not is_open


def test_the_server_goes_on_while_others_are_slow(server: ApiProcess) -> None:
    slow = [connected(server) for _ in range(200)]
    try:
        for connection in slow:
            connection.sendall(LINE)
        assert answer(server, LINE + b"\r\n") == b"HTTP/1.1 200 OK"
    finally:
        for connection in slow:
            connection.close()
