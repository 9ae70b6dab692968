"""What a process stands on, and the watch that says in the log what it waits for and when that is back."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import NoReturn

import msgspec
import structlog

from audio_text.errors import AudioTextError
from audio_text.ports import Resources
from audio_text.settings import Settings, StoreKind

log = structlog.get_logger(__name__)

LOOK_SECONDS = 10.0
"""How often a dependency that is there is looked at, so that an outage is in the log also when nobody asks."""

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 5.0
"""Between two looks for one that is missing, doubled each time."""

REPEAT_SECONDS = 30.0
"""How often the log says again what is missing."""

CHECK_SECONDS = 30.0
"""Longest wait for one look; the parts themselves give up sooner."""

Check = Callable[[], Awaitable[None]]


class Dependency(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a process stands on: where it is, and what an operator does when it is missing.

    `prepare` is what is done in place of a check while it is missing, so that it comes back usable.
    """

    name: str
    place: str
    advice: str
    check: Check
    prepare: Check | None = None


def dependencies(resources: Resources, settings: Settings, *, prepare: bool = False) -> list[Dependency]:
    """Name what this process stands on; with `prepare`, it makes the store's bucket or folder where that is missing."""
    database, redis = settings.database, settings.redis
    redis_place, redis_advice = f"Redis at {redis.host}:{redis.port}", _advice("REDIS")
    return [
        Dependency(
            name="database",
            place=f"PostgreSQL at {database.host}:{database.port}, database {database.name}",
            advice=_advice("DATABASE"),
            check=resources.jobs.check,
        ),
        Dependency(
            name="queue",
            place=f"{redis_place}, database {redis.queue_db}",
            advice=redis_advice,
            check=resources.queue.check,
        ),
        Dependency(
            name="events",
            place=f"{redis_place}, database {redis.events_db}",
            advice=redis_advice,
            check=resources.events.check,
        ),
        _store(resources, settings, prepare=prepare),
    ]


def _store(resources: Resources, settings: Settings, *, prepare: bool) -> Dependency:
    place = f"the folder {settings.disk.folder}"
    advice = "make it a folder that this user may write to, or name another in AUDIO_TEXT_DISK_FOLDER"
    if settings.store.kind is StoreKind.s3:
        place = f"the bucket {settings.s3.bucket} at {settings.s3.endpoint or 'Amazon S3'}"
        advice = "start the server, or check AUDIO_TEXT_S3_ENDPOINT, AUDIO_TEXT_S3_BUCKET and the keys"
    store = resources.store
    return Dependency(
        name="store", place=place, advice=advice, check=store.check, prepare=store.prepare if prepare else None
    )


def _advice(section: str) -> str:
    prefix = f"AUDIO_TEXT_{section}"
    return f"start it, or check {prefix}_HOST, {prefix}_PORT and {prefix}_PASSWORD"


@asynccontextmanager
async def watching(watched: Sequence[Dependency]) -> AsyncGenerator[None]:
    """Look at each of them, now and for as long as the block runs. What the block raises comes in a group."""
    async with asyncio.TaskGroup() as group:
        watches = [group.create_task(_watch(dependency)) for dependency in watched]
        yield
        for task in watches:
            task.cancel()


async def _watch(dependency: Dependency) -> NoReturn:
    while True:
        await _until_there(dependency)
        while await _problem(dependency.check) is None:
            await _sleep(LOOK_SECONDS)


async def _until_there(dependency: Dependency) -> None:
    began, pause = time.monotonic(), FIRST_PAUSE_SECONDS
    told: float | None = None
    while (problem := await _problem(dependency.prepare or dependency.check)) is not None:
        now = time.monotonic()
        if told is None or now - told >= REPEAT_SECONDS:
            told = now
            log.warning(
                "dependency_missing",
                dependency=dependency.name,
                message=f"Waiting for {dependency.place}: {dependency.advice}.",
                reason=problem,
                missing_seconds=round(now - began, 1),
            )
        await _sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
    if told is not None:
        log.info("dependency_back", dependency=dependency.name, missing_seconds=round(time.monotonic() - began, 1))


async def _problem(look: Check) -> str | None:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await look()
    except TimeoutError:
        return "It does not answer."
    except AudioTextError as error:
        return f"{error.detail} ({error.__cause__!r})" if error.__cause__ else error.detail
    return None


async def _sleep(seconds: float) -> None:
    # The spread keeps processes that started together from knocking together.
    await asyncio.sleep(seconds * random.uniform(0.5, 1.0))  # noqa: S311 -- nothing to guess here
