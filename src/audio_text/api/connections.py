"""Sockets and event streams stay open: how many of them one caller may have at once, in this process.

A guard takes a place for each, once it is known who calls; an ASGI application around the routes gives it back when the
connection ends, however it does.
"""

from collections import Counter
from typing import Any, cast

from litestar import WebSocket
from litestar.connection import ASGIConnection
from litestar.handlers.base import BaseRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from audio_text.api.access import TICKET_OPTION
from audio_text.api.authentication import caller_of
from audio_text.api.client_address import address_of
from audio_text.domain.access import ANYBODY
from audio_text.errors import TooManyConnectionsError
from audio_text.services.limiting import who
from audio_text.settings import Settings

_PLACE = "connection_of"
"""Where a request's state says whose place it has."""

_OPEN = "open_connections"

Connection = ASGIConnection[Any, Any, Any, Any]


async def take_connection(connection: Connection, handler: BaseRouteHandler) -> None:
    """Take a place for a socket or an event stream. Raises TooManyConnectionsError."""
    settings = cast("Settings", connection.app.state.settings)
    most = settings.limits.connections_per_key
    if not most or not (isinstance(connection, WebSocket) or handler.opt.get(TICKET_OPTION)):
        return
    address = address_of(connection)
    whose = who(caller_of(connection.scope) or ANYBODY, address)
    counts = cast("Counter[str]", connection.app.state.setdefault(_OPEN, Counter()))
    if counts[whose] >= most:
        raise TooManyConnectionsError(
            f"At most {most} sockets and event streams may be open at once: close some, or follow many jobs over one."
        )
    counts[whose] += 1
    connection.scope["state"][_PLACE] = whose


class Connections:
    """ASGI application around another one: whoever took a place gives it back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""
        try:
            await self._app(scope, receive, send)
        finally:
            state = scope["state"] if "state" in scope else {}  # noqa: SIM401 -- its type is known so
            if whose := state.get(_PLACE):
                counts = cast("Counter[str]", scope["litestar_app"].state[_OPEN])
                counts[whose] -= 1
                if not counts[whose]:
                    del counts[whose]
