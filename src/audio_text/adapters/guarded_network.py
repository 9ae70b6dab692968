"""Connections to hosts that clients name: resolved here, every address checked, and none other connected to."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address
from typing import cast

import httpcore
import structlog

from audio_text.domain.addresses import Network, is_reachable
from audio_text.errors import PrivateAddressError, RemoteUnavailableError, RemoteUrlError

log = structlog.get_logger(__name__)

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""(host, port) to IP addresses. Raises RemoteUrlError when there are none, RemoteUnavailableError for now."""

RESOLVERS = 8
"""Threads that wait for names: the system's resolver cannot be interrupted, and a client may name a slow one."""

UNKNOWN = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


class SystemResolver:
    """Asks the resolver of the system, on threads of its own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=RESOLVERS, thread_name_prefix="resolver")

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """All addresses of the host, in the system's order of preference."""
        look_up = partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        except socket.gaierror as error:
            if error.errno in UNKNOWN:
                raise RemoteUrlError(f"There is no host named {host}.") from error
            raise RemoteUnavailableError(f"The name {host} cannot be resolved just now.") from error
        except UnicodeError as error:
            raise RemoteUrlError from error
        return [str(place[0]) for *_, place in found]

    def close(self) -> None:
        """Let no more names be resolved; does not wait for those that are."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Where httpcore gets its connections: the name is resolved once, and what was checked is what is connected to.

    TLS goes by the name all the same, since that is left to httpcore.
    """

    def __init__(self, resolve: Resolve, *, allowed: Iterable[Network], connect_seconds: float) -> None:
        self._resolve = resolve
        self._allowed = tuple(allowed)
        self._connect_seconds = connect_seconds
        # typed as what it implements: httpcore hides it from whoever may lack anyio
        self._network = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(  # noqa: PLR0917 -- httpcore's signature
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 -- httpcore's signature
        local_address: str | None = None,  # noqa: ARG002 -- httpcore's signature
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 -- httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address that answers. Raises PrivateAddressError when any of them is not public."""
        try:
            async with asyncio.timeout(self._connect_seconds):
                addresses = await self.checked_addresses(host, port)
                return await self._connect(addresses, port, seconds=timeout or self._connect_seconds)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout from error

    async def checked_addresses(self, host: str, port: int) -> list[str]:
        """Where the host may be reached. Raises RemoteUrlError, PrivateAddressError, RemoteUnavailableError."""
        addresses = [ip_address(text) for text in await self._resolve(host, port)]
        if not addresses:
            raise RemoteUrlError(f"There is no host named {host}.")
        refused = [str(address) for address in addresses if not is_reachable(address, self._allowed)]
        if refused:
            # Which ones they are is for the operator: a client could map the network by it.
            log.warning("private_address_refused", host=host, port=port, addresses=refused)
            raise PrivateAddressError
        return [str(address) for address in addresses]

    async def _connect(self, addresses: Sequence[str], port: int, *, seconds: float) -> httpcore.AsyncNetworkStream:
        *others, last = addresses
        for address in others:
            try:
                return await self._network.connect_tcp(address, port, timeout=seconds / len(addresses))
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                log.debug("address_not_reached", address=address, port=port, error=repr(error))
        return await self._network.connect_tcp(last, port, timeout=seconds)

    async def connect_unix_socket(
        self,
        path: str,  # noqa: ARG002 -- httpcore's signature
        timeout: float | None = None,  # noqa: ARG002, ASYNC109 -- httpcore's signature
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,  # noqa: ARG002 -- httpcore's signature
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: no client may name a socket of this machine."""
        raise PrivateAddressError

    async def sleep(self, seconds: float) -> None:
        """Wait, for httpcore."""
        await asyncio.sleep(seconds)
