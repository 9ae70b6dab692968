"""Who gets in at all, before anything else is looked at; and what browsers are told about every answer."""

from collections.abc import Callable, Iterable
from hmac import compare_digest
from typing import Any

import structlog
from litestar import Request, Response
from litestar.types import ASGIApp, Receive, Scope, Send

from audio_text.api.client_address import client_address
from audio_text.api.refused_sockets import refuse
from audio_text.api.request_log import PROBES
from audio_text.domain.origins import origin_of, origin_of_page
from audio_text.errors import AudioTextError, EdgeRefusedError, OriginRefusedError
from audio_text.settings import Settings

Render = Callable[[Request[Any, Any, Any], Exception], Response[bytes]]

SIGNED = "/api/v1/audio/upload/"
"""Under it a signature is asked for, which is only given to callers who passed here."""

_SHOWN = 200
"""Characters of a header that the log repeats."""

_POLICY = "default-src 'none'; frame-ancestors 'none'"
"""For answers that are no pages; pages name a policy of their own."""

log = structlog.get_logger(__name__)


class Doors:
    """ASGI application around another one, for requests and sockets alike."""

    def __init__(self, app: ASGIApp, settings: Settings, *, pages: Iterable[str], render: Render) -> None:
        """`pages` are paths of pages and their files, which a browser asks for without naming where it is."""
        access = settings.access
        self._app = app
        self._render = render
        self._trusted_proxies = access.trusted_proxies
        self._edge_header = access.edge_header.lower().encode()
        self._edge_secrets = tuple(secret.encode() for secret in settings.secrets.edge_secrets)
        self._origins = frozenset(filter(None, map(origin_of, access.allowed_origins)))
        self._pages = frozenset(pages)
        self._demands_key = not access.open
        self._headers = _headers(settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or socket, or refuse it."""

        async def send_with_headers(message: Any) -> None:  # noqa: ANN401 -- ASGI's messages are a union of TypedDicts
            if message["type"] in {"http.response.start", "websocket.http.response.start"}:
                sent = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(header for header in self._headers if header[0] not in sent),
                ]
            await send(message)

        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, receive, send_with_headers)
            return
        error, reason = refusal
        address = client_address(scope, self._trusted_proxies)
        log.warning("request_refused", code=error.code, reason=reason, address=address, path=scope["path"])
        await self._answer(scope, receive, send_with_headers, error=error)

    def _refusal(self, scope: Scope) -> tuple[AudioTextError, str] | None:
        """Say why this may not come in, to the client and to the log; None: it may."""
        path = scope["path"].rstrip("/") or "/"
        if path in PROBES:
            return None
        if self._edge_secrets and not self._came_through_the_edge(scope):
            return EdgeRefusedError(), f"{self._edge_header.decode()} is missing or wrong"
        if not self._origins or path in self._pages:
            return None
        reason = self._mistrust(scope)
        return (OriginRefusedError(), reason) if reason else None

    def _came_through_the_edge(self, scope: Scope) -> bool:
        given = _values(scope, self._edge_header)
        return len(given) == 1 and any(compare_digest(given[0], secret) for secret in self._edge_secrets)

    def _mistrust(self, scope: Scope) -> str:
        """Say what is wrong with the origin; empty: nothing."""
        origins, referers = _values(scope, b"origin"), _values(scope, b"referer")
        if origins:
            is_allowed = len(origins) == 1 and origin_of(origins[0].decode("latin-1")) in self._origins
            return "" if is_allowed else f"Origin {_shown(origins)} is not allowed"
        if referers:
            is_allowed = len(referers) == 1 and origin_of_page(referers[0].decode("latin-1")) in self._origins
            return "" if is_allowed else f"Referer {_shown(referers)} is not of an allowed origin"
        # A program sends neither. It has to show a key, which is checked where keys are; in open mode nobody would.
        shows_key = self._demands_key and _values(scope, b"authorization")
        return "" if shows_key or scope["path"].startswith(SIGNED) else "neither Origin nor Referer"

    async def _answer(self, scope: Scope, receive: Receive, send: Send, *, error: AudioTextError) -> None:
        """Tell the client; a socket is answered before it is one."""
        if scope["type"] == "http":
            request = Request[Any, Any, Any](scope, receive, send)
            answer = self._render(request, error).to_asgi_response(None, request)  # pyright: ignore[reportUnknownMemberType] -- a bare Request in litestar
            await answer(scope, receive, send)
        else:
            await refuse(scope, send, error)


def _headers(settings: Settings) -> tuple[tuple[bytes, bytes], ...]:
    """What browsers are told with every answer that does not say it itself."""
    seconds = settings.access.hsts_seconds
    told = [(b"strict-transport-security", f"max-age={seconds}".encode())] if seconds else []
    if settings.access.security_headers:
        told += [
            (b"x-content-type-options", b"nosniff"),
            (b"content-security-policy", _POLICY.encode()),
            # Not no-referrer: pages of this service call it, and say where they are by Referer alone in a GET.
            (b"referrer-policy", b"same-origin"),
        ]
    return tuple(told)


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for header, value in scope["headers"] if header == name]


def _shown(values: list[bytes]) -> str:
    return b", ".join(values)[:_SHOWN].decode("latin-1")
