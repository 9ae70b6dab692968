"""What stays open: how much of it one caller may have at once, in this process, and that it ends with the caller's key.

A guard takes a place for each, once it is known who calls; an ASGI application around the routes gives it back when the
connection ends, however it does.
"""

from collections import Counter
from collections.abc import Coroutine, Generator
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar, cast

from litestar import WebSocket
from litestar.handlers.base import BaseRouteHandler
from litestar.types import ASGIApp, Receive, Scope, Send

from audio_text.api.access import DOWNLOAD_OPTION, TICKET_OPTION
from audio_text.api.authentication import Connection, caller_of, credential_of
from audio_text.api.client_address import address_of
from audio_text.api.presence import unless
from audio_text.bootstrap import ApiServices
from audio_text.domain.access import ANYBODY
from audio_text.errors import TooManyConnectionsError, UnauthorizedError
from audio_text.services.key_watch import Standing
from audio_text.services.limiting import who
from audio_text.settings import Settings

_STAY, _STANDING = "stay", "standing"
"""Where a request's state has what ends with the connection, and whether its key holds."""

_OPEN = "open_connections"

_LIVE = "At most {} sockets and event streams may be open at once: close some, or follow many jobs over one."
_DOWNLOAD = "At most {} transcripts and archives may be on their way at once: take some of them to their end first."
"""What is told to who has too many. Each kind has places of its own: who follows jobs may read what became of them."""

DOWNLOAD_SECONDS = 1.0
"""When a caller is asked back that has too many downloads: some of them are over by then."""

T = TypeVar("T")


async def take_connection(connection: Connection, handler: BaseRouteHandler) -> None:
    """Take a place for what stays open, and have its key watched. Raises TooManyConnectionsError."""
    if isinstance(connection, WebSocket) or handler.opt.get(TICKET_OPTION):
        kind = _LIVE
    elif handler.opt.get(DOWNLOAD_OPTION):
        kind = _DOWNLOAD
    else:
        return
    state = connection.scope["state"]
    stay = state[_STAY] = ExitStack()
    stay.enter_context(_place(connection, kind))
    if (credential := credential_of(connection.scope)) is not None:
        services = cast("ApiServices", connection.app.state.services)
        state[_STANDING] = stay.enter_context(services.access.watch.watched(credential))


async def while_key_holds(scope: Scope, work: Coroutine[Any, Any, T]) -> T:
    """Do the work, and cancel it when the key that it came with holds no more: UnauthorizedError."""
    standing = cast("Standing | None", scope["state"].get(_STANDING))
    return await (work if standing is None else unless(standing.lost(), work, error=UnauthorizedError))


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
            if stay := state.get(_STAY):
                stay.close()


@contextmanager
def _place(connection: Connection, kind: str) -> Generator[None]:
    settings = cast("Settings", connection.app.state.settings)
    most = settings.limits.connections_per_key
    whose = kind, who(caller_of(connection.scope) or ANYBODY, address_of(connection))
    counts = cast("Counter[tuple[str, str]]", connection.app.state.setdefault(_OPEN, Counter()))
    if most and counts[whose] >= most:
        # Downloads come to an end by themselves, sockets and streams when their client wants it.
        raise TooManyConnectionsError(
            kind.format(most), retry_after_seconds=DOWNLOAD_SECONDS if kind == _DOWNLOAD else None
        )
    counts[whose] += 1
    try:
        yield
    finally:
        counts[whose] -= 1
        if not counts[whose]:
            del counts[whose]
