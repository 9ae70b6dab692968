"""Rates of requests at the door: a guard counts each, and what is left stands in the headers of its answer.

The headers are those of draft 6 of the IETF's "RateLimit Fields for HTTP": the last one with a field for each number,
which is what clients know.
"""

import math
from typing import Any, cast

from litestar.handlers.base import BaseRouteHandler
from litestar.types import ASGIApp, Message, Receive, Scope, Send

from audio_text.api.access import OPTION, Access
from audio_text.api.authentication import Connection, caller_of
from audio_text.api.client_address import address_of
from audio_text.bootstrap import ApiServices
from audio_text.domain.access import ANYBODY
from audio_text.domain.usage import Hit
from audio_text.errors import RateLimitedError
from audio_text.settings import Settings

HEADERS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy")

_HIT = "rate_hit"
"""Where the guard leaves in a request's state what the headers say."""

_STARTS = frozenset({"http.response.start", "websocket.http.response.start"})

_UNCOUNTED = frozenset({Access.public, Access.signed})
"""Decisions of routes that do not count: whoever watches over the service, and uploads by a link that was counted."""


def is_limiting(settings: Settings) -> bool:
    """Whether anybody's requests may have to be counted; where not, nothing stands in their way."""
    return not settings.access.open or bool(settings.limits.requests_per_minute or settings.limits.requests_per_hour)


async def count_request(connection: Connection, handler: BaseRouteHandler) -> None:
    """Count a request or the opening of a socket. Raises RateLimitedError, LimitsUnavailableError."""
    if handler.opt.get(OPTION) in _UNCOUNTED or cast("Any", connection.scope).get("method") == "OPTIONS":
        return
    services = cast("ApiServices", connection.app.state.services)
    caller = caller_of(connection.scope) or ANYBODY
    hit = await services.limiting.count(caller, address=address_of(connection))
    if hit is None:
        return
    connection.scope["state"][_HIT] = hit
    if not hit.is_within:
        raise _refusal(hit)


class RateHeaders:
    """ASGI application around another one: answers say what is left."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket."""

        async def send_with_rates(message: Message) -> None:
            if message["type"] in _STARTS and (hit := scope["state"].get(_HIT)):
                start = cast("dict[str, Any]", message)
                start["headers"] = [*start["headers"], *_headers(hit)]
            await send(message)

        await self._app(scope, receive, send_with_rates)


def _headers(hit: Hit) -> list[tuple[bytes, bytes]]:
    window = hit.tightest
    policy = ", ".join(f"{each.rate.limit};w={each.rate.seconds}" for each in hit.windows)
    values = (str(window.rate.limit), str(window.remaining), str(math.ceil(window.reset_seconds)), policy)
    return [(name.lower().encode(), value.encode()) for name, value in zip(HEADERS, values, strict=True)]


def _refusal(hit: Hit) -> RateLimitedError:
    window = hit.tightest
    return RateLimitedError(
        f"More than {window.rate.limit} requests within {window.rate.seconds} seconds: wait as long as Retry-After "
        "says, and send fewer.",
        retry_after_seconds=window.reset_seconds,
    )
