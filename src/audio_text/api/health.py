"""Routes that tell whether the service lives, and whether it can work."""

import asyncio
from collections.abc import Awaitable

from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example

from audio_text.api.access import Access
from audio_text.api.dependencies import GivenServices
from audio_text.api.dto import Alive, Dependency, Readiness
from audio_text.api.problems import RETRY_AFTER_SECONDS
from audio_text.errors import AudioTextError

CHECK_SECONDS = 3.0
"""Longest wait for one dependency: orchestrators give a probe about five seconds."""


@get(
    ["/", "/api/v1", "/health/live"],
    opt={"access": Access.public},
    summary="Is it alive?",
    response_description="It is.",
    tags=["health"],
    sync_to_thread=False,
)
def alive() -> Alive:
    """Answer as long as the process can answer; nothing else is looked at."""
    return Alive(message="audio-text is running.")


_UNREADY = Example(
    id="unavailable",
    value={
        "status": "unavailable",
        "detail": "queue is down.",
        "dependencies": {
            "database": {"status": "up", "detail": None},
            "queue": {"status": "down", "detail": "Refused."},
        },
    },
)


@get(
    "/health/ready",
    opt={"access": Access.public},
    summary="Can it work?",
    response_description="Every dependency answers.",
    responses={503: ResponseSpec(Readiness, description="At least one does not.", examples=[_UNREADY])},
    tags=["health"],
)
async def ready(services: GivenServices) -> Response[Readiness]:
    """Ask every dependency at once, and name the state of each."""
    resources = services.resources
    checks = {
        "database": resources.jobs.check(),
        "queue": resources.queue.check(),
        "events": resources.events.check(),
        "store": resources.store.check(),
    }
    async with asyncio.TaskGroup() as group:
        tasks = {name: group.create_task(_state(check)) for name, check in checks.items()}
    dependencies = {name: task.result() for name, task in tasks.items()}
    down = [name for name, dependency in dependencies.items() if dependency.status == "down"]
    if not down:
        return Response(Readiness(status="ready", detail="Everything is up.", dependencies=dependencies))
    verb = "is" if len(down) == 1 else "are"
    return Response(
        Readiness(status="unavailable", detail=f"{', '.join(down)} {verb} down.", dependencies=dependencies),
        status_code=503,
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


async def _state(check: Awaitable[None]) -> Dependency:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check
    except AudioTextError as error:
        return Dependency(status="down", detail=error.detail)
    except TimeoutError:
        return Dependency(status="down", detail=f"No answer within {CHECK_SECONDS:.0f} seconds.")
    return Dependency(status="up")
