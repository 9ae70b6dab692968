"""The API as an ASGI application. Neither importing this nor `create_app` opens anything: the lifespan does."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any

from litestar import Litestar, Request, Response, Router
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.types import ControllerRouterHandler

from audio_text.api import (
    audio,
    batches,
    dead_letters,
    docs,
    events,
    health,
    job_list,
    jobs,
    keys,
    openai,
    problems,
    transcripts,
    uploads,
    usage,
    webhooks,
    websocket,
)
from audio_text.api.allowed import allowed
from audio_text.api.authentication import authenticated, authorized
from audio_text.api.connections import Connections, take_connection
from audio_text.api.decoding import JsonRequest, refuse_broken_query
from audio_text.api.dependencies import PROVIDERS
from audio_text.api.doors import Doors
from audio_text.api.idempotency import REPLAYED_HEADER
from audio_text.api.limits import HEADERS, RateHeaders, count_request, is_limiting
from audio_text.api.openai import refusals
from audio_text.api.refused_sockets import Handshake, RefusedSockets, remember_refusal
from audio_text.api.request_log import HEADER, RequestLog
from audio_text.bootstrap import ApiServices, open_api_services
from audio_text.services.dependencies import dependencies, watching
from audio_text.settings import Settings, StoreKind

LARGEST_BODY_BYTES = 65_536
"""JSON bodies hold names, options and two prompts; uploads have a limit of their own."""

EXPOSED = ("ETag", REPLAYED_HEADER, "Link", "Location", "Retry-After", "Transcript-Status", HEADER)
"""Headers of answers that a browser shows to pages of other origins."""

OpenServices = Callable[[Settings], AbstractAsyncContextManager[ApiServices]]


def create_app(settings: Settings, *, open_services: OpenServices = open_api_services) -> Litestar:
    """Build the application; the services are opened when it starts, and none of what they need has to be up."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncGenerator[None]:
        async with (
            open_services(settings) as services,
            watching(dependencies(services.resources, settings, prepare=True)),
        ):
            app.state.services = services
            yield

    routes = partial(_routes, settings)
    app = Litestar(
        [*routes(), *(docs.routes(routes, version("audio-text")) if settings.api.docs else [])],
        after_exception=[remember_refusal],
        before_request=_before_request,
        cors_config=CORSConfig(
            allow_origins=list(settings.api.cors_origins),
            expose_headers=[*EXPOSED, *HEADERS],
        ),
        dependencies=PROVIDERS,
        exception_handlers={Exception: _render},
        guards=[authenticated, *([count_request] if is_limiting(settings) else []), authorized, take_connection],
        lifespan=[lifespan],
        logging_config=None,
        openapi_config=None,
        request_class=JsonRequest,
        request_max_body_size=LARGEST_BODY_BYTES,
        state=State({"settings": settings, "closing": asyncio.Event()}),
    )
    app.asgi_handler = Connections(RefusedSockets(Handshake(app.asgi_handler)))
    if is_limiting(settings):
        app.asgi_handler = RateHeaders(app.asgi_handler)
    doors = Doors(app.asgi_handler, settings, pages=docs.PATHS, render=_render)
    app.asgi_handler = RequestLog(doors, trusted_proxies=settings.access.trusted_proxies)
    return app


def _routes(settings: Settings) -> list[ControllerRouterHandler]:
    resources = [
        audio.presign,
        audio.presign_by_query,
        uploads.router,
        *([audio.receive_upload] if settings.store.kind is StoreKind.disk else []),
        jobs.transcribe,
        jobs.read_job,
        job_list.read_jobs,
        jobs.mail_transcript,
        jobs.cancel_job,
        jobs.retry_job,
        jobs.annotate_job,
        jobs.delete_job,
        jobs.read_attempts,
        batches.router,
        dead_letters.router,
        keys.router,
        keys.issue_ticket,
        usage.read_usage,
        webhooks.router,
        webhooks.replay_delivery,
        transcripts.read_transcript,
        events.stream_job,
        events.stream_jobs,
        websocket.follow_job,
        websocket.follow_jobs,
    ]
    return [
        health.alive,
        health.ready,
        Router("/api/v1", route_handlers=resources),
        Router("/v1", route_handlers=openai.ROUTES),
    ]


async def _before_request(request: Request[Any, Any, Any]) -> Response[None] | None:
    refuse_broken_query(request)
    return allowed(request)


def _render(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Answer an exception in the shape that the address has for errors."""
    if (answer := events.interrupted(request, error)) is not None:
        return answer
    shape = refusals if request.scope["path"].startswith(refusals.PREFIX) else problems
    return shape.render(request, error)
