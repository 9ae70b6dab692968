"""Hostile clients and a real API process: what they send is bounded, and others are answered meanwhile."""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from attacks.idle import IdleSockets
from audio_text.settings import Settings
from media import wav
from services.api import ApiProcess, api_process
from services.waiting import until

MEGABYTE = 1024 * 1024
PATIENCE = 30.0
SOCKETS = 300


@pytest.fixture(scope="module")
def server(shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with api_process(shared_api_settings, tmp_path_factory.mktemp("server")) as process:
        yield process


@pytest.fixture
def client(server: ApiProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://{server.address}", timeout=PATIENCE) as client:
        yield client
        assert client.get("/health/live").status_code == 200


def memory(server: ApiProcess) -> int:
    return sum(worker.memory_info().rss for worker in server.workers())


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"filename":' * 50_000,
        b'{"filename": "' + b"a" * 900_000 + b'"}',
        b'{"metadata": {' + b",".join(b'"%d": 1' % number for number in range(60_000)) + b"}}",
        b"1e400" * 1_000,
        b"\xff\xfe" * 1_000,
        b'{"filename": "\\ud800"}',
        b"-" * 500_000,
    ],
    ids=["deep lists", "deep objects", "a long text", "many keys", "numbers", "no UTF-8", "half a letter", "dashes"],
)
@pytest.mark.parametrize("path", ["/api/v1/job/transcribe", "/api/v1/audio/presigned-url"])
def test_json_that_no_client_means_is_refused(client: httpx.Client, path: str, body: bytes) -> None:
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 413}, answer.text
    assert answer.headers["Content-Type"].startswith("application/problem+json")


def test_json_of_any_size_takes_no_more_memory_than_is_allowed(server: ApiProcess, client: httpx.Client) -> None:
    before = memory(server)

    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield b"[" * MEGABYTE

    with contextlib.suppress(httpx.TransportError):  # the server may hang up on what it does not want to read
        answer = client.post("/api/v1/job/transcribe", content=endless(), headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
    assert memory(server) - before < 100 * MEGABYTE


def raw(server: ApiProcess) -> socket.socket:
    host, _, port = server.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=PATIENCE)


def live(server: ApiProcess) -> socket.socket:
    """A live connection right after its handshake."""
    connection = raw(server)
    connection.sendall(
        b"GET /api/v1/job/ws HTTP/1.1\r\nHost: api.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += connection.recv(1)
    assert b" 101 " in head
    return connection


def frame(opcode: int, content: bytes = b"", *, is_last: bool = True, length: int | None = None) -> bytes:
    """A client's frame, masked with zeros; `length` is what it says it holds."""
    size = len(content) if length is None else length
    head = bytes([opcode | 0x80 * is_last])
    if size < 126:
        head += bytes([0x80 | size])
    else:
        head += bytes([0x80 | 127]) + struct.pack(">Q", size)
    return head + bytes(4) + content


TEXT, BINARY, CONTINUED, PING, RESERVED = 1, 2, 0, 9, 3


@pytest.mark.parametrize(
    "sent",
    [
        frame(BINARY, bytes(range(256)) * 8) * 200,
        frame(TEXT, b"\xff\xfe\xfd"),
        frame(TEXT, b"a" * 10_000),
        frame(TEXT, b"{}") * 500,
        frame(TEXT, b"[" * 4_000) * 200,
        frame(RESERVED, b"?"),
        frame(CONTINUED, b"of nothing"),
        frame(PING, bytes(125), length=126),
        b"\x81\x02{}" * 10,
        frame(TEXT, b"x", length=2**63),
        frame(TEXT, b"a", is_last=False) + frame(CONTINUED, b"a" * 5_000, is_last=False) * 2_000,
        b"GET / HTTP/1.1\r\n\r\n" * 100,
    ],
    ids=[
        "junk",
        "no UTF-8",
        "too long",
        "too many",
        "deep",
        "reserved",
        "a continuation",
        "a long ping",
        "unmasked",
        "exabytes",
        "endless fragments",
        "HTTP",
    ],
)
def test_frames_out_of_protocol_end_their_connection_and_no_other(
    server: ApiProcess, client: httpx.Client, sent: bytes
) -> None:
    before = memory(server)
    with live(server) as connection, live(server) as other:
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65_536):  # a timeout of the test fails it
                pass
        other.sendall(frame(TEXT, b'{"type": "ping"}'))
        assert other.recv(65_536)
    assert memory(server) - before < 64 * MEGABYTE


def test_a_flood_of_pings_does_not_keep_others_waiting(server: ApiProcess, client: httpx.Client) -> None:
    before = memory(server)
    with live(server) as connection:
        connection.settimeout(0.2)
        with contextlib.suppress(OSError):  # the pongs are not read: the server may have had enough
            for _ in range(200):
                connection.sendall(frame(PING, b"p" * 100) * 100)
        assert client.get("/health/live").status_code == 200
    assert memory(server) - before < 64 * MEGABYTE


async def test_idle_sockets_keep_nobody_waiting_and_cost_little(server: ApiProcess, client: httpx.Client) -> None:
    before = memory(server)
    host, _, port = server.address.rpartition(":")
    sockets = IdleSockets(host, int(port))
    opened, refused = await sockets.open(SOCKETS)
    try:
        assert opened + refused == SOCKETS
        assert opened > 0
        assert (memory(server) - before) / SOCKETS < 0.25 * MEGABYTE
        assert await asyncio.to_thread(client.get, "/health/live")
    finally:
        await sockets.close()


async def test_uploads_that_drip_or_stop_leave_nothing_behind(
    server: ApiProcess, client: httpx.Client, shared_api_settings: Settings
) -> None:
    folder = Path(shared_api_settings.disk.folder)

    def files() -> set[Path]:
        return {path for path in folder.rglob("*") if path.is_file()}

    before = files()
    await asyncio.to_thread(drip, server, client, wav(2.0))
    await until(lambda: files() == before)


def drip(server: ApiProcess, client: httpx.Client, data: bytes) -> None:
    """Begin thirty uploads, send a byte of each now and then, and hang up."""
    wanted = {"filename": "talk.wav", "content_type": "audio/wav", "file_size": len(data)}
    dripping = []
    for _ in range(30):
        target = client.post("/api/v1/audio/presigned-url", json=wanted).raise_for_status().json()
        address = httpx.URL(target["url"])
        connection = raw(server)
        headers = "".join(f"{name}: {value}\r\n" for name, value in target["headers"].items())
        head = f"PUT {address.raw_path.decode()} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n{headers}\r\n"
        connection.sendall(head.encode() + data[:1_000])
        dripping.append(connection)
    for _ in range(5):
        for connection in dripping:
            connection.sendall(b"\0")
        assert client.get("/health/live").status_code == 200
    for connection in dripping:
        connection.close()
