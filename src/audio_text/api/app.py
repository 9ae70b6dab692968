"""The API as an ASGI application. Neither importing this nor `create_app` opens anything: the lifespan does."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from importlib.metadata import version

import structlog
from litestar import Litestar, Router
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.types import ControllerRouterHandler

from audio_text.api import audio, docs, health, jobs, websocket
from audio_text.api.decoding import JsonRequest, refuse_broken_query
from audio_text.api.dependencies import PROVIDERS
from audio_text.api.problems import render
from audio_text.api.request_log import HEADER, RequestLog
from audio_text.bootstrap import ApiServices, open_api_services
from audio_text.errors import TransientError
from audio_text.ports import AudioStore
from audio_text.settings import Settings, StoreKind

LARGEST_BODY_BYTES = 65_536
"""JSON bodies hold names, options and two prompts; uploads have a limit of their own."""

PREPARE_DELAYS_SECONDS = (1.0, 2.0, 5.0, 10.0, 30.0)
"""Between attempts to prepare a store that does not answer; the last one again and again."""

OpenServices = Callable[[Settings], AbstractAsyncContextManager[ApiServices]]

log = structlog.get_logger(__name__)


def create_app(settings: Settings, *, open_services: OpenServices = open_api_services) -> Litestar:
    """Build the application; the services are opened when it starts, and none of what they need has to be up."""

    @asynccontextmanager
    async def lifespan(app: Litestar) -> AsyncGenerator[None]:
        async with open_services(settings) as services, asyncio.TaskGroup() as background:
            app.state.services = services
            preparation = background.create_task(_prepare(services.resources.store))
            yield
            preparation.cancel()

    routes = partial(_routes, settings)
    app = Litestar(
        [*routes(), *(docs.routes(routes, version("audio-text")) if settings.api.docs else [])],
        before_request=refuse_broken_query,
        cors_config=CORSConfig(
            allow_origins=list(settings.api.cors_origins),
            expose_headers=["Link", "Location", "Retry-After", HEADER],
        ),
        dependencies=PROVIDERS,
        exception_handlers={Exception: render},
        lifespan=[lifespan],
        logging_config=None,
        openapi_config=None,
        request_class=JsonRequest,
        request_max_body_size=LARGEST_BODY_BYTES,
        state=State({"settings": settings}),
    )
    app.asgi_handler = RequestLog(app.asgi_handler)
    return app


def _routes(settings: Settings) -> list[ControllerRouterHandler]:
    resources = [
        audio.presign,
        audio.presign_by_query,
        *([audio.receive_upload] if settings.store.kind is StoreKind.disk else []),
        jobs.transcribe,
        jobs.read_job,
        jobs.read_jobs,
        jobs.mail_transcript,
        jobs.cancel_job,
        jobs.retry_job,
        jobs.delete_job,
        jobs.read_attempts,
        websocket.follow_job,
    ]
    return [health.alive, health.ready, Router("/api/v1", route_handlers=resources)]


async def _prepare(store: AudioStore) -> None:
    """Have bucket or folder ready as soon as the store answers."""
    attempt = 0
    while True:
        try:
            await store.prepare()
        except TransientError as error:
            delay = PREPARE_DELAYS_SECONDS[min(attempt, len(PREPARE_DELAYS_SECONDS) - 1)]
            log.warning("store_not_prepared", reason=error.detail, next_attempt_in_seconds=delay)
            await asyncio.sleep(delay)
            attempt += 1
        else:
            return
