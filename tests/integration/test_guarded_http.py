"""Requests to addresses that clients name, against servers that try everything."""

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpcore
import pytest

from audio_text.adapters.guarded_http import GuardedHttp, open_guarded_http, remote_errors
from audio_text.errors import (
    AudioTextError,
    ConfigurationError,
    PrivateAddressError,
    RemoteAnswerError,
    RemoteUnavailableError,
    RemoteUrlError,
    UploadTooLargeError,
)
from audio_text.ports import RemoteLimits
from factories import make_settings
from services.outside import Outside, answer, certificate_for, head, raw, serve_outside

NAME = "recordings.test"
LIMITS = RemoteLimits(seconds=10.0, max_bytes=1_000_000, redirects=3)


class Names:
    """A resolver: answers in turn, the last one for ever; `asked` are the hosts that were looked up."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers or [["127.0.0.1"]])
        self.asked: list[str] = []

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@asynccontextmanager
async def opened(names: Names | None = None, **settings: Any) -> AsyncIterator[GuardedHttp]:
    """A client that may reach 127.0.0.1 and nothing else of this machine."""
    defaults = {"allow_http": True, "allowed_networks": ["127.0.0.1/32"], "read_seconds": 1.0, "connect_seconds": 1.0}
    overrides = {f"remote.{key}": value for key, value in (defaults | settings).items()}
    async with open_guarded_http(make_settings(overrides).remote, resolve=names or Names()) as http:
        yield http


async def fetch(outside: Outside, path: str = "/a", *, limits: RemoteLimits = LIMITS, **settings: Any) -> bytes:
    names = settings.pop("names", None)
    ports = settings.pop("ports", [outside.port])
    async with opened(names, ports=ports, **settings) as http:
        return await read(http, f"http://{NAME}:{outside.port}{path}", limits=limits)


async def read(http: GuardedHttp, url: str, *, limits: RemoteLimits = LIMITS) -> bytes:
    async with http.stream(url, limits=limits) as response:
        assert response.status == 200
        return b"".join([piece async for piece in response.pieces])


@pytest.fixture
async def outside() -> AsyncIterator[Outside]:
    async with serve_outside() as server:
        server.pages["/a"] = answer(200, b"audio" * 1_000)
        yield server


async def test_a_file_comes_as_it_is_and_the_server_learns_nothing_but_the_address(outside: Outside) -> None:
    assert await fetch(outside) == b"audio" * 1_000
    [request] = outside.requests
    lines = sorted(request.decode().lower().split("\r\n"))
    assert lines == sorted(
        [
            "get /a http/1.1",
            f"host: {NAME}:{outside.port}",
            "user-agent: audio-text",
            "accept: */*",
            "accept-encoding: identity",
            "connection: close",
            "",
            "",
        ]
    )


async def test_a_query_goes_to_the_server_as_it_was_given(outside: Outside) -> None:
    outside.pages["/a?sig=a%2Bb&x=1"] = answer(200, b"signed")
    assert await fetch(outside, "/a?sig=a%2Bb&x=1") == b"signed"


async def test_over_tls_the_name_is_what_is_asked_for_and_proved_though_the_address_is_pinned(tmp_path: Path) -> None:
    context, trusted = certificate_for(NAME, tmp_path)
    async with serve_outside(context) as outside:
        outside.pages["/a"] = answer(200, b"sealed")
        names = Names()
        async with opened(names, ports=[outside.port], allow_http=False, ca_file=str(trusted)) as http:
            assert await read(http, f"https://{NAME}:{outside.port}/a") == b"sealed"
        assert outside.sni == [NAME]
        assert names.asked == [NAME]


async def test_a_certificate_of_somebody_else_is_refused(tmp_path: Path) -> None:
    context, trusted = certificate_for(NAME, tmp_path)
    async with serve_outside(context) as outside:
        async with opened(ports=[outside.port], ca_file=str(trusted)) as http:
            with pytest.raises(RemoteAnswerError, match="certificate"):
                await read(http, f"https://other.test:{outside.port}/a")
        async with opened(ports=[outside.port]) as http:
            with pytest.raises(RemoteAnswerError, match="certificate"):
                await read(http, f"https://{NAME}:{outside.port}/a")
        assert outside.requests == []


async def test_a_name_that_answers_otherwise_the_second_time_is_asked_once() -> None:
    async with serve_outside() as outside, serve_outside(host="127.0.0.2", port=outside.port) as inside:
        for server, text in ((outside, b"public"), (inside, b"private")):
            server.pages["/a"] = answer(200, text)
        names = Names(["127.0.0.1"], ["127.0.0.2"])
        async with opened(names, ports=[outside.port]) as http:
            url = f"http://{NAME}:{outside.port}/a"
            assert await read(http, url) == b"public"
            assert names.asked == [NAME]
            with pytest.raises(PrivateAddressError):
                await read(http, url)
        assert inside.requests == []


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1", "127.0.0.2"], ["127.0.0.2", "127.0.0.1"], ["127.0.0.1", "::1"], ["127.0.0.1", "169.254.169.254"]],
)
async def test_one_private_address_among_those_of_a_name_is_enough(outside: Outside, addresses: list[str]) -> None:
    with pytest.raises(PrivateAddressError) as caught:
        await fetch(outside, names=Names(addresses))
    assert outside.requests == []
    assert not any(address in caught.value.detail for address in addresses)


@pytest.mark.parametrize("host", ["127.0.0.2", "[::1]", "[::ffff:127.0.0.2]", "10.0.0.1", "169.254.169.254", "0.0.0.0"])
async def test_a_private_address_itself_is_refused_without_a_connection(outside: Outside, host: str) -> None:
    async with open_guarded_http(
        make_settings({"remote.allow_http": True, "remote.ports": [outside.port]}).remote
    ) as http:
        with pytest.raises(PrivateAddressError):
            await read(http, f"http://{host}:{outside.port}/a")


@pytest.mark.parametrize("host", ["localhost", "localhost.", "ip6-localhost"])
async def test_this_machine_is_private_by_its_names_too(outside: Outside, host: str) -> None:
    async with open_guarded_http(
        make_settings({"remote.allow_http": True, "remote.ports": [outside.port]}).remote
    ) as http:
        with pytest.raises((PrivateAddressError, RemoteUrlError, RemoteUnavailableError)):
            await read(http, f"http://{host}:{outside.port}/a")
    assert outside.requests == []


async def test_an_address_that_does_not_answer_is_passed_over_for_the_next(outside: Outside) -> None:
    names = Names(["127.0.0.3", "127.0.0.1"])
    assert await fetch(outside, names=names, allowed_networks=["127.0.0.0/8"]) == b"audio" * 1_000


@pytest.mark.parametrize(
    ("location", "error"),
    [
        ("http://127.0.0.2:{port}/a", PrivateAddressError),
        ("http://169.254.169.254:{port}/latest/meta-data/", PrivateAddressError),
        ("http://[::1]:{port}/a", PrivateAddressError),
        ("http://0x7f.1:{port}/a", RemoteUrlError),
        ("http://recordings.test:1/a", RemoteUrlError),
        ("file:///etc/passwd", RemoteUrlError),
        ("gopher://recordings.test:{port}/a", RemoteUrlError),
        ("http://user:secret@recordings.test:{port}/a", RemoteUrlError),
    ],
)
async def test_a_redirect_is_checked_like_the_first_address(
    outside: Outside, location: str, error: type[AudioTextError]
) -> None:
    outside.pages["/r"] = answer(302, b"", "Location: " + location.format(port=outside.port))
    async with serve_outside(host="127.0.0.2", port=outside.port) as inside:

        class ByAddress(Names):
            async def __call__(self, host: str, port: int) -> Sequence[str]:
                return [host.strip("[]")] if host[0] in "0123456789:" else ["127.0.0.1"]

        with pytest.raises(error):
            await fetch(outside, "/r", names=ByAddress())
        assert inside.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed_and_each_is_resolved_anew(outside: Outside, status: int) -> None:
    outside.pages["/r"] = answer(status, b"", "Location: /a")
    names = Names()
    assert await fetch(outside, "/r", names=names) == b"audio" * 1_000
    assert names.asked == [NAME, NAME]


async def test_a_redirect_in_plain_utf8_is_understood(outside: Outside) -> None:
    outside.pages["/r"] = raw("HTTP/1.1 302 Found\r\nLocation: /Gespräch\r\nContent-Length: 0\r\n\r\n".encode())
    outside.pages["/Gespr%C3%A4ch"] = answer(200, b"talk")
    assert await fetch(outside, "/r") == b"talk"


async def test_redirects_without_end_end(outside: Outside) -> None:
    outside.pages["/r"] = answer(302, b"", "Location: /r")
    with pytest.raises(RemoteAnswerError, match="more than 3 times"):
        await fetch(outside, "/r")
    assert len(outside.requests) == 4


async def test_a_redirect_from_https_to_http_is_not_followed(tmp_path: Path, outside: Outside) -> None:
    context, trusted = certificate_for(NAME, tmp_path)
    async with serve_outside(context) as sealed:
        sealed.pages["/r"] = answer(302, b"", f"Location: http://{NAME}:{outside.port}/a")
        async with opened(ports=[outside.port, sealed.port], ca_file=str(trusted)) as http:
            with pytest.raises(RemoteUrlError, match="https to http"):
                await read(http, f"https://{NAME}:{sealed.port}/r")
    assert outside.requests == []


async def test_a_post_takes_a_redirect_for_an_answer(outside: Outside) -> None:
    outside.pages["/hook"] = answer(307, b"go there", "Location: /a")
    async with opened(ports=[outside.port]) as http:
        said = await http.post(
            f"http://{NAME}:{outside.port}/hook", headers={"webhook-id": "x"}, body=b"{}", limits=LIMITS
        )
    assert (said.status, said.body, said.headers["location"]) == (307, b"go there", "/a")
    assert outside.paths == ["/hook"]
    assert outside.requests[0].endswith(b"\r\n\r\n{}")
    assert b"webhook-id: x" in outside.requests[0]


async def test_of_a_long_answer_to_a_post_only_the_beginning_is_read(outside: Outside) -> None:
    async def for_ever(writer: asyncio.StreamWriter) -> None:
        writer.write(head(200))
        while True:
            writer.write(b"x" * 10_000)
            await writer.drain()

    outside.pages["/hook"] = for_ever
    limits = RemoteLimits(seconds=10.0, max_bytes=25_000)
    async with opened(ports=[outside.port]) as http:
        said = await http.post(f"http://{NAME}:{outside.port}/hook", headers={}, body=b"", limits=limits)
    assert len(said.body) == 25_000


@pytest.mark.parametrize(
    "url",
    ["http://recordings.test:443/a", "https://recordings.test:22/a", "https://recordings.test:8443/a"],
)
async def test_without_a_setting_it_is_https_on_its_own_port_alone(url: str) -> None:
    names = Names()
    async with open_guarded_http(make_settings().remote, resolve=names) as http:
        with pytest.raises(RemoteUrlError):
            await read(http, url)
        with pytest.raises(RemoteUrlError):
            await http.post(url, headers={}, body=b"", limits=LIMITS)
    assert names.asked == []


@pytest.mark.parametrize("length", ["Content-Length: 5000", "X-Nothing: said"])
async def test_a_file_that_is_too_large_is_not_read_to_its_end(outside: Outside, length: str) -> None:
    outside.pages["/a"] = raw(head(200, length) + b"x" * 5_000)
    with pytest.raises(UploadTooLargeError, match="4999"):
        await fetch(outside, limits=RemoteLimits(seconds=10.0, max_bytes=4_999))
    assert len(await fetch(outside, limits=RemoteLimits(seconds=10.0, max_bytes=5_000))) == 5_000


async def test_a_file_without_end_is_left_when_it_is_too_large(outside: Outside) -> None:
    async def for_ever(writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, "Transfer-Encoding: chunked"))
        while True:
            writer.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
            await writer.drain()

    outside.pages["/a"] = for_ever
    with pytest.raises(UploadTooLargeError):
        await fetch(outside)


async def test_a_server_that_promises_more_than_it_sends_may_be_asked_again(outside: Outside) -> None:
    outside.pages["/a"] = raw(head(200, "Content-Length: 5000") + b"x" * 4_999)
    with pytest.raises(RemoteUnavailableError):
        await fetch(outside)


async def test_of_a_server_that_sends_more_than_it_promises_the_promise_is_taken(outside: Outside) -> None:
    outside.pages["/a"] = raw(head(200, "Content-Length: 5") + b"12345" + b"HTTP/1.1 200 OK\r\n\r\n")
    assert await fetch(outside) == b"12345"


async def test_a_slow_drip_ends_with_the_time_for_all_of_it(outside: Outside) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, "Content-Length: 5000"))
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    outside.pages["/a"] = drip
    with pytest.raises(RemoteUnavailableError, match=r"longer than 0\.3 seconds"):
        await fetch(outside, limits=RemoteLimits(seconds=0.3, max_bytes=10_000))


async def test_a_drip_of_redirects_ends_with_the_time_for_all_of_them(outside: Outside) -> None:
    async def late(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        await answer(302, b"", "Location: /a")(writer)

    outside.pages["/a"] = late
    with pytest.raises(RemoteUnavailableError, match=r"longer than 0\.3 seconds"):
        await fetch(outside, limits=RemoteLimits(seconds=0.3, max_bytes=10_000, redirects=20))


async def test_a_silent_server_is_not_waited_for(outside: Outside) -> None:
    async def silent(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(30)

    outside.pages["/a"] = silent
    with pytest.raises(RemoteUnavailableError, match="too long"):
        await fetch(outside, read_seconds=0.2)


async def test_a_name_that_is_not_resolved_in_time_is_not_waited_for(outside: Outside) -> None:
    class Slow(Names):
        async def __call__(self, host: str, port: int) -> Sequence[str]:
            await asyncio.sleep(30)
            return []

    with pytest.raises(RemoteUnavailableError):
        await fetch(outside, names=Slow(), connect_seconds=0.2)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, identity"])
async def test_what_comes_compressed_is_refused_and_never_unpacked(outside: Outside, encoding: str) -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    outside.pages["/a"] = answer(200, bomb, f"Content-Encoding: {encoding}")
    with pytest.raises(RemoteAnswerError, match="compressed"):
        await fetch(outside)


async def test_a_gzip_file_is_only_bytes(outside: Outside) -> None:
    bomb = gzip.compress(b"\0" * 10_000_000)
    outside.pages["/a"] = answer(200, bomb, "Content-Type: application/gzip")
    assert await fetch(outside) == bomb


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"+OK Redis\r\n",
        b"",
        b"\x16\x03\x01\x00\x00",
        head(200, "X-Long: " + "x" * 200_000),
        b"".join((b"HTTP/1.1 200 OK\r\n", *(b"X-%d: y\r\n" % number for number in range(50_000)), b"\r\n")),
        head(200, "Content-Length: -1"),
        head(200, "Content-Length: 5", "Content-Length: 6") + b"12345",
        head(200, "Transfer-Encoding: chunked") + b"zzz\r\n",
        head(200, "Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_an_error_of_ours(outside: Outside, data: bytes) -> None:
    outside.pages["/a"] = raw(data)
    with pytest.raises(RemoteUnavailableError):
        await fetch(outside)


async def test_a_closed_port_may_be_tried_again() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        async with opened(ports=[port]) as http:
            with pytest.raises(RemoteUnavailableError):
                await read(http, f"http://{NAME}:{port}/a")


async def test_proxies_and_certificates_of_the_environment_are_not_used(
    outside: Outside, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:1")
    assert await fetch(outside) == b"audio" * 1_000


async def test_errors_of_who_takes_the_file_are_not_taken_for_the_servers(outside: Outside) -> None:
    async with opened(ports=[outside.port]) as http:
        with pytest.raises(TimeoutError, match="mine"):
            async with http.stream(f"http://{NAME}:{outside.port}/a", limits=LIMITS):
                raise TimeoutError("mine")


async def test_a_name_that_nobody_has_is_told_from_one_that_cannot_be_resolved_now() -> None:
    async with open_guarded_http(make_settings().remote) as http:
        with pytest.raises((RemoteUrlError, RemoteUnavailableError)):
            await read(http, "https://nobody.invalid/a")


async def test_certificates_that_cannot_be_read_are_said_at_the_start(tmp_path: Path) -> None:
    for text in ("", "no certificate"):
        (tmp_path / "ca.pem").write_text(text)
        with pytest.raises(ConfigurationError, match=r"remote\.ca_file"):
            async with opened(ca_file=str(tmp_path / "ca.pem")):
                pass


def _errors_of_httpcore() -> list[Callable[[], Exception]]:
    found = [getattr(httpcore, name) for name in httpcore.__all__]
    return [kind for kind in found if isinstance(kind, type) and issubclass(kind, Exception)]


@pytest.mark.parametrize("kind", _errors_of_httpcore())
def test_no_error_of_httpcore_escapes(kind: Callable[[], Exception]) -> None:
    with pytest.raises(AudioTextError), remote_errors(NAME):
        raise kind()
