"""Web origins (RFC 6454): scheme, host and port, written in one way only, so that equal means equal."""

import re
from ipaddress import AddressValueError, IPv6Address

_DEFAULT_PORTS = {"http": 80, "https": 443}
_MOST_PORT = 65_535
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<host>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.?|\[[0-9a-f:.]+\])(?::(?P<port>[0-9]{1,5}))?",
    re.IGNORECASE | re.ASCII,
)
_REST = re.compile(r"[/?#][\x21-\x7e]*", re.ASCII)


def origin_of(text: str) -> str | None:
    """Read an origin as a browser sends it, and nothing more; None: it is none, as `null` is.

    Schemes and hosts are the same in capital letters, and a default port goes without saying. Names in other scripts
    have to come as browsers send them, xn--….
    """
    match = _ORIGIN.fullmatch(text)
    return _canonical(match) if match else None


def origin_of_page(url: str) -> str | None:
    """Read the origin of a page by its address, as a Referer gives it; None: it has none."""
    match = _ORIGIN.match(url)
    if match is None:
        return None
    rest = url[match.end() :]
    return _canonical(match) if not rest or _REST.fullmatch(rest) else None


def _canonical(match: re.Match[str]) -> str | None:
    scheme, host, port = match["scheme"].lower(), match["host"].lower(), int(match["port"] or 0)
    if host.startswith("["):
        try:
            host = f"[{IPv6Address(host[1:-1])}]"
        except AddressValueError:
            return None
    if port > _MOST_PORT or (match["port"] and not port):
        return None
    shown = f":{port}" if port and port != _DEFAULT_PORTS.get(scheme) else ""
    return f"{scheme}://{host}{shown}"
