"""Every route says who may call it; the list is read from the application itself."""

import pytest

from audio_text.api.access import Access
from audio_text.api.app import create_app
from factories import make_settings
from services.routes import Route, routes_of


def routes(kind: str) -> list[Route]:
    return routes_of(create_app(make_settings({"store.kind": kind, "api.docs": True})))


@pytest.mark.parametrize("kind", ["disk", "s3"])
def test_every_route_and_socket_says_who_may_call_it(kind: str) -> None:
    undecided = [route.name for route in routes(kind) if not isinstance(route.access, Access)]
    assert undecided == [], 'give each of them opt={"access": Access.…}'


def test_only_these_routes_are_open_to_everybody() -> None:
    open_routes = {route.name: route.access for route in routes("disk") if route.access in {"public", "signed"}}
    assert open_routes == {
        "GET /": Access.public,
        "GET /api/v1": Access.public,
        "GET /health/live": Access.public,
        "GET /health/ready": Access.public,
        "GET /docs": Access.public,
        "GET /docs/assets/{name}": Access.public,
        "GET /openapi.json": Access.public,
        "GET /redoc": Access.public,
        "PUT /api/v1/audio/upload/{key}": Access.signed,
    }


def test_what_changes_something_takes_more_than_the_right_to_read() -> None:
    readers = [route.name for route in routes("disk") if route.access is Access.read]
    others = [name for name in readers if not name.startswith(("GET ", "WS "))]
    assert others == ["POST /api/v1/tickets"]  # which is the right to read, once, in another's hand
