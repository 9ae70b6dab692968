"""Addresses on the web that clients name: read by one strict reader, so that nobody else reads them otherwise."""

import re
from collections.abc import Collection
from ipaddress import IPv6Address
from urllib.parse import quote, urljoin, urlsplit

import msgspec

from audio_text.errors import RemoteUrlError

DEFAULT_PORTS = {"https": 443, "http": 80}

LONGEST = 4_096
"""Characters: signed URLs of object stores have some 2,000."""

_UNUSABLE = re.compile(r"[\x00-\x20\x7f\\]")
_NAME = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.?"
)
_NUMBER = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")
_DOTTED = re.compile(r"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!\Z)|\Z)){4}")
_TARGET_SAFE = "!$%&'()*+,/:;=?@[]~-._|"


class WebUrl(msgspec.Struct, frozen=True, kw_only=True):
    """Where a request goes. `host` is a name in lower case or an IP address, without brackets; `target` is ASCII."""

    scheme: str
    host: str
    port: int
    target: str

    @classmethod
    def parse(cls, text: str) -> "WebUrl":
        """Read an absolute http or https URL; what follows a # is left out.

        Raises RemoteUrlError, also for one that holds credentials, and for numbers that only some take for an address.
        """
        if len(text) > LONGEST:
            raise RemoteUrlError(f"The url has more than {LONGEST} characters.")
        if _UNUSABLE.search(text):
            raise RemoteUrlError("The url holds a space, a backslash or a control character: percent-encode it.")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError as error:
            raise RemoteUrlError from error
        if parts.scheme not in DEFAULT_PORTS or not parts.netloc:
            raise RemoteUrlError
        if "@" in parts.netloc:
            raise RemoteUrlError("The url holds credentials: leave them out, or sign the url instead.")
        try:
            target = quote((parts.path or "/") + (f"?{parts.query}" if parts.query else ""), safe=_TARGET_SAFE)
        except UnicodeEncodeError as error:  # half of a surrogate pair
            raise RemoteUrlError from error
        return cls(
            scheme=parts.scheme,
            host=_host(parts.hostname or "", is_bracketed=parts.netloc.startswith("[")),
            port=DEFAULT_PORTS[parts.scheme] if port is None else port,
            target=target,
        )

    def join(self, location: str) -> "WebUrl":
        """Where a redirect from here leads. Raises RemoteUrlError."""
        try:
            return WebUrl.parse(urljoin(str(self), location))
        except ValueError as error:
            raise RemoteUrlError from error

    def check(self, *, ports: Collection[int], allow_http: bool) -> None:
        """Raise RemoteUrlError for a scheme or a port that is not allowed."""
        if self.scheme == "http" and not allow_http:
            raise RemoteUrlError("The address has to begin with https://.")
        if self.port not in ports:
            allowed = ", ".join(map(str, ports)) or "none"
            raise RemoteUrlError(f"The address names the port {self.port}; allowed here: {allowed}.")

    @property
    def authority(self) -> str:
        """The host as a Host header has it, with a port that is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def path(self) -> str:
        """Without the query, which may hold a secret."""
        return self.target.partition("?")[0]

    @property
    def shown(self) -> str:
        """The URL without its query, for everybody's eyes."""
        return f"{self.scheme}://{self.authority}{self.path}"

    def __str__(self) -> str:
        """All of it, with what may be secret."""
        return f"{self.scheme}://{self.authority}{self.target}"


def _host(text: str, *, is_bracketed: bool) -> str:
    """The host, if everybody understands the same by it. Raises RemoteUrlError."""
    if is_bracketed:
        try:
            address = IPv6Address(text)
        except ValueError as error:
            raise RemoteUrlError from error
        if address.scope_id is not None:
            raise RemoteUrlError("The url holds an address with a zone.")
        return str(address)
    if not text.isascii():
        raise RemoteUrlError("The host of the url has letters beyond ASCII: spell it as xn--...")
    host = text.lower()
    if not _NAME.fullmatch(host):
        raise RemoteUrlError
    if _NUMBER.fullmatch(host.rstrip(".").rpartition(".")[2]) and not _DOTTED.fullmatch(host):
        raise RemoteUrlError("The host of the url is a number that is no plain IPv4 address.")
    return host
