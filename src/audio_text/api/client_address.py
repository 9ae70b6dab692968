"""Who really calls: the peer of the connection, or whom proxies that are trusted say that they had as theirs."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, cast

from litestar.connection import ASGIConnection

from audio_text.settings import Settings

Address = IPv4Address | IPv6Address

MOST_HOPS = 32
"""Entries that are looked at from the right: nobody has more proxies, and anybody can write more."""

_HEADER = b"x-forwarded-for"


def client_address(scope: Any, trusted_proxies: tuple[str, ...]) -> str:  # noqa: ANN401 -- litestar's scopes are a union
    """Give the address of whoever sent a request or opened a socket; empty where the connection has none.

    `trusted_proxies` are networks (10.0.0.0/8, ::1). Each proxy adds its own peer at the right end of
    X-Forwarded-For: read from there, everything is true up to the first address that is no trusted proxy's, and
    everything before that is hearsay. An IPv4 address in IPv6's clothes is told as the IPv4 address that it is.
    """
    host = str((scope.get("client") or ("",))[0])
    peer = _address(host)
    if peer is None:
        return host
    networks = _networks(trusted_proxies)
    found = peer
    for entry in _hops(scope["headers"]):
        if not any(found in network for network in networks):
            break
        # A proxy that is trusted and yet names nobody is the last that is known of the way.
        if (hop := _address(_without_port(entry))) is None:
            break
        found = hop
    return str(found)


def address_of(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """Give the address of whoever sent this request, or opened this socket, as the settings let it be told."""
    settings = cast("Settings", connection.app.state.settings)
    return client_address(connection.scope, settings.access.trusted_proxies)


def _hops(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[str]:
    """Give the entries from the right; several lines of the header are one list."""
    lines = [value for name, value in headers if name == _HEADER]
    left = MOST_HOPS
    for line in reversed(lines):
        for entry in reversed(line.rsplit(b",", left)[-left:]):
            yield entry.decode("latin-1").strip()
            left -= 1
            if not left:
                return


def _without_port(entry: str) -> str:
    """`192.0.2.7:4711` and `[2001:db8::7]:4711` have one; `2001:db8::7` has none."""
    if entry.startswith("["):
        host, closing, port = entry[1:].partition("]")
        return host if closing and (not port or _is_port(port)) else ""
    if entry.count(":") == 1:
        host, _, port = entry.partition(":")
        return host if _is_port(f":{port}") else ""
    return entry


def _is_port(text: str) -> bool:
    return text.startswith(":") and text[1:].isascii() and text[1:].isdecimal()


def _address(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        # The name of a network card, as in fe80::1%eth0, is the client's own affair.
        return address.ipv4_mapped or IPv6Address(int(address))
    return address


@lru_cache(maxsize=16)
def _networks(written: tuple[str, ...]) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(network, strict=False) for network in written)
