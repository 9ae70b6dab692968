"""Every route that an application answers, read from its own table."""

from typing import Any, NamedTuple

from litestar import Litestar
from litestar.routes import HTTPRoute, WebSocketRoute

from audio_text.api.access import OPTION, Access


class Route(NamedTuple):
    """One method of one address; sockets have the method `WS`."""

    method: str
    path: str
    access: Access | None

    @property
    def name(self) -> str:
        """How tables of tests call it, such as `GET /api/v1/job/read`."""
        return f"{self.method} {self.path}"


def routes_of(app: Litestar) -> list[Route]:
    """List all routes, but for OPTIONS: the framework answers it, from the table alone."""
    found = list[Route]()
    for route in app.routes:
        match route:
            case HTTPRoute():
                pairs = [(method, handler) for handler in route.route_handlers for method in handler.http_methods]
            case WebSocketRoute():
                pairs = [("WS", route.route_handler)]
            case _:
                raise AssertionError(f"{route.path_format} is neither HTTP nor a socket: what may call it?")
        found += [
            Route(method, route.path_format, _access(handler)) for method, handler in pairs if method != "OPTIONS"
        ]
    return sorted(found)


def _access(handler: Any) -> Access | None:
    return handler.opt.get(OPTION)
