"""The only door to the outside: network, clock and files. There is one transport that awaits and one that blocks."""

import ipaddress
import ssl
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Protocol, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from audio_text.client.refusals import refusal
from audio_text.errors import (
    AudioTextError,
    JobNotFoundError,
    MissingScopeError,
    ServerUnreachableError,
    UnauthorizedError,
)

T = TypeVar("T")

LARGEST_MESSAGE_BYTES = 64 * 1024 * 1024
"""A late follower gets all stored segments in one message: about 8 MB for three hours with words."""

CLOSE_SECONDS = 1.0
"""How long a farewell over a socket may take."""

FAREWELLS: Mapping[int, type[AudioTextError]] = {
    4401: UnauthorizedError,
    4403: MissingScopeError,
    4404: JobNotFoundError,
}
"""The close codes that coming back cannot help."""

SERVER_ERRORS = 500
"""HTTP's begin here."""


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """What both transports are told: seconds for a connection to open, and for any other wait."""

    base_url: str
    connect_seconds: float
    wait_seconds: float
    ssl_context: ssl.SSLContext | None = None

    @property
    def timeout(self) -> httpx.Timeout:
        """The same for httpx."""
        return httpx.Timeout(self.wait_seconds, connect=self.connect_seconds)

    @property
    def trusts_environment(self) -> bool:
        """Whether a proxy of the environment may stand between: not between this machine and itself."""
        host = urlsplit(self.base_url).hostname or ""
        try:
            return not ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host != "localhost"

    def verify(self) -> ssl.SSLContext | bool:
        """Give what certificates are checked with, for httpx."""
        return self.ssl_context or True


class Socket(Protocol):
    """A live connection. Both methods raise ServerUnreachableError when it breaks."""

    async def receive(self, seconds: float) -> str | bytes | None:
        """Wait so long for a message; None: the server has closed. Raises what it said of key or job."""
        ...

    async def send(self, message: bytes) -> None:
        """Say something, as text."""
        ...


class Transport(Protocol):
    """Raises ServerUnreachableError, and OSError for files of this machine; answers of any status are returned."""

    async def request(
        self, method: str, url: str, *, headers: Mapping[str, str], content: bytes | Iterable[bytes] | None
    ) -> httpx.Response:
        """Ask, and read the whole answer."""
        ...

    def connect(self, url: str, *, headers: Mapping[str, str]) -> AbstractAsyncContextManager[Socket]:
        """Open a live connection. Raises the refusal, where the server answers with one."""
        ...

    async def run(self, function: Callable[[], T]) -> T:
        """Call what may wait for a disk."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Do nothing for so long."""
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...


@contextmanager
def vendor_errors(url: str) -> Generator[None]:
    """Turn what httpx and websockets raise into this project's errors: the only place that knows."""
    place = "{0.scheme}://{0.netloc}".format(urlsplit(url))
    try:
        yield
    except InvalidStatus as error:
        answer = error.response
        if answer.status_code < SERVER_ERRORS:
            raise refusal(answer.status_code, bytes(answer.body or b""), answer.headers) from error
        raise ServerUnreachableError(f"{place} does not open a live connection just now.") from error
    except (httpx.RequestError, httpx.InvalidURL, WebSocketException, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        raise ServerUnreachableError(f"{place} cannot be reached ({reason}).") from error


@contextmanager
def opening(url: str) -> Generator[None]:
    """The same while a socket opens, where the operating system's errors are the network's."""
    try:
        with vendor_errors(url):
            yield
    except OSError as error:
        place = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        raise ServerUnreachableError(f"{place} cannot be reached ({error}).") from error


def check_farewell(closed: ConnectionClosed) -> None:
    """Raise what the server closed for, if it is the key or the job."""
    if closed.rcvd is not None and (kind := FAREWELLS.get(closed.rcvd.code)):
        raise kind(closed.rcvd.reason) from closed
