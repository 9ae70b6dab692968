"""HTTP to addresses that clients name: https to public addresses, within bounds of time and size (ADR 0012).

No proxy, cookie, credential or compression is used, and no connection is kept for a second request.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import cast

import httpcore

from audio_text.adapters.guarded_network import GuardedNetwork, Resolve, SystemResolver
from audio_text.domain.urls import WebUrl
from audio_text.errors import (
    ConfigurationError,
    RemoteAnswerError,
    RemoteUnavailableError,
    RemoteUrlError,
    UploadTooLargeError,
)
from audio_text.ports import RemoteAnswer, RemoteLimits, RemoteResponse
from audio_text.settings import RemoteSettings

CONNECTIONS = 100
"""At once, in one process; more wait for one of them, as long as for a connection."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})

UNCOMPRESSED = frozenset({"", "identity"})

OURS = {"user-agent": "audio-text", "accept": "*/*", "accept-encoding": "identity", "connection": "close"}


@asynccontextmanager
async def open_guarded_http(
    settings: RemoteSettings, *, resolve: Resolve | None = None
) -> AsyncGenerator["GuardedHttp", None]:
    """Make a client for all requests of one process. Raises ConfigurationError for certificates that cannot be read.

    `resolve` stands for the system's resolver.
    """
    system = SystemResolver()
    network = GuardedNetwork(resolve or system, allowed=settings.networks, connect_seconds=settings.connect_seconds)
    try:
        async with httpcore.AsyncConnectionPool(
            ssl_context=_trusted(settings.ca_file),
            max_connections=CONNECTIONS,
            # A kept connection would go to what a name meant before.
            max_keepalive_connections=0,
            network_backend=network,
        ) as pool:
            yield GuardedHttp(pool, settings, network=network)
    finally:
        system.close()


class GuardedHttp:
    """The `RemoteHttp` of production."""

    def __init__(
        self, pool: httpcore.AsyncConnectionPool, settings: RemoteSettings, *, network: GuardedNetwork
    ) -> None:
        self._pool = pool
        self._settings = settings
        self._network = network

    async def check(self, url: str) -> None:
        """Look whether something could be sent there now; a name that nobody can look up just now passes."""
        target = self._checked(WebUrl.parse(url))
        with suppress(RemoteUnavailableError, TimeoutError):
            async with asyncio.timeout(self._settings.connect_seconds):
                await self._network.checked_addresses(target.host, target.port)

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes, limits: RemoteLimits) -> RemoteAnswer:
        """Send a body; of the answer's, `max_bytes` are read. Redirects are answers like any other."""
        target = self._checked(WebUrl.parse(url))
        async with _within(limits.seconds), self._exchange(target, headers, post=body) as response:
            answer = bytearray()
            async with _body(response) as pieces:
                async for piece in pieces:
                    answer += piece[: limits.max_bytes - len(answer)]
                    if len(answer) >= limits.max_bytes:
                        break
            return RemoteAnswer(status=response.status, headers=_headers(response), body=bytes(answer))

    @asynccontextmanager
    async def stream(
        self, url: str, *, headers: Mapping[str, str] | None = None, limits: RemoteLimits
    ) -> AsyncGenerator[RemoteResponse, None]:
        """Get what is there; each redirect is checked as the first address was. `headers` go to all of them."""
        target = self._checked(WebUrl.parse(url))
        async with _within(limits.seconds):
            for _ in range(limits.redirects + 1):
                async with self._exchange(target, headers or {}) as response:
                    found = _headers(response)
                    if response.status not in REDIRECTS or "location" not in found:
                        async with aclosing(_bounded(response, found, limits.max_bytes)) as pieces:
                            yield RemoteResponse(url=target, status=response.status, headers=found, pieces=pieces)
                        return
                    target = self._redirected(target, found["location"])
            raise RemoteAnswerError(f"The server redirects more than {limits.redirects} times.")

    @asynccontextmanager
    async def _exchange(
        self, target: WebUrl, headers: Mapping[str, str], *, post: bytes | None = None
    ) -> AsyncGenerator[httpcore.Response, None]:
        host = target.host.encode()
        connect, read = self._settings.connect_seconds, self._settings.read_seconds
        timeouts = {"connect": connect, "read": read, "write": read, "pool": connect}
        with remote_errors(target.authority):
            async with self._pool.stream(
                "GET" if post is None else "POST",
                httpcore.URL(scheme=target.scheme.encode(), host=host, port=target.port, target=target.target.encode()),
                headers={**OURS, **headers, "host": target.authority},
                content=post,
                extensions={"timeout": timeouts},
            ) as response:
                yield response

    def _checked(self, target: WebUrl) -> WebUrl:
        target.check(ports=self._settings.ports, allow_http=self._settings.allow_http)
        return target

    def _redirected(self, target: WebUrl, location: str) -> WebUrl:
        # Some servers send UTF-8 where they should have percent-encoded it.
        following = self._checked(target.join(location.encode("latin-1").decode(errors="replace")))
        if target.scheme == "https" and following.scheme == "http":
            raise RemoteUrlError("The server redirects from https to http.")
        return following


@contextmanager
def remote_errors(host: str) -> Generator[None]:
    """Map what httpcore raises to ours; nothing tells more of the other side than its name."""
    try:
        yield
    except httpcore.ConnectError as error:
        if _is_about_certificate(error):
            raise RemoteAnswerError(f"The certificate of {host} is not valid for it.") from error
        raise RemoteUnavailableError(f"{host} cannot be reached just now.") from error
    except httpcore.TimeoutException as error:
        raise RemoteUnavailableError(f"{host} took too long to answer.") from error
    except (httpcore.LocalProtocolError, httpcore.UnsupportedProtocol) as error:
        raise RemoteUrlError from error
    except httpcore.ProtocolError as error:
        raise RemoteUnavailableError(f"{host} broke off, or did not speak HTTP.") from error
    except (httpcore.NetworkError, httpcore.ProxyError, httpcore.ConnectionNotAvailable, ssl.SSLError) as error:
        raise RemoteUnavailableError(f"The connection to {host} broke.") from error


def _is_about_certificate(error: BaseException) -> bool:
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


@asynccontextmanager
async def _within(seconds: float) -> AsyncGenerator[None, None]:
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise RemoteUnavailableError(f"The server needed longer than {seconds:g} seconds.") from error


async def _bounded(response: httpcore.Response, headers: Mapping[str, str], most: int) -> AsyncGenerator[bytes, None]:
    """The body. Raises UploadTooLargeError, RemoteAnswerError for one that would have to be decompressed."""
    if headers.get("content-encoding", "").strip().lower() not in UNCOMPRESSED:
        raise RemoteAnswerError("The server sends the file compressed, though it was asked not to.")
    too_large = UploadTooLargeError(f"The file has more than {most} bytes, the most that this service accepts.")
    declared = headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most:
        raise too_large
    size = 0
    async with _body(response) as pieces:
        async for piece in pieces:
            size += len(piece)
            if size > most:
                raise too_large
            yield piece


def _body(response: httpcore.Response) -> AbstractAsyncContextManager[AsyncGenerator[bytes, None]]:
    """What comes, for as long as the context is open: a generator that is merely dropped ends when it likes."""
    return aclosing(cast("AsyncGenerator[bytes, None]", response.aiter_stream()))


def _headers(response: httpcore.Response) -> dict[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}


def _trusted(ca_file: str) -> ssl.SSLContext:
    context = httpcore.default_ssl_context()
    if ca_file:
        try:
            context.load_verify_locations(cafile=Path(ca_file))
        except OSError as error:  # ssl.SSLError is one
            raise ConfigurationError(f"remote.ca_file cannot be read: {error}") from error
    return context
