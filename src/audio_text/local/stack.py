"""The whole service on one machine: PostgreSQL, Redis, migrations, API and workers as children of this process."""

import asyncio
import http.client
import signal
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec

from audio_text.errors import ConfigurationError
from audio_text.local.child import Child, Output
from audio_text.local.environment import plan
from audio_text.local.postgres import EmbeddedPostgres
from audio_text.local.process import Command, is_port_free
from audio_text.local.redis import EmbeddedRedis
from audio_text.local.state import open_state
from audio_text.local.supervisor import Supervisor, open_supervisor
from audio_text.settings import ApiSettings, Role, Settings, load
from audio_text.worker.groups import WorkerGroup, owner_name, worker_groups

API_PROBE_SECONDS = 3.0
MIGRATION_SECONDS = 600.0
RECOVERY_SECONDS = 300.0
"""A database or a queue that was killed reads its log again before it answers."""

PATIENCE_SECONDS = 3_600.0
"""A database or a Redis of the user's own may come so late; until then the log says what is waited for."""

GRACE_SECONDS = 10.0
"""For a child that was asked to end, on top of what its own settings allow it, before it is killed."""

ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104 -- recognised, not listened on
"""Where a server that listens on every address is reached from here."""


class Stack(msgspec.Struct, frozen=True, kw_only=True):
    """A running stack: where it is, and what it runs with."""

    url: str
    folder: Path
    settings: Settings
    supervisor: Supervisor


@asynccontextmanager
async def embedded_stack(folder: Path, environ: Mapping[str, str], output: Output) -> AsyncGenerator[Stack, None]:
    """Run the stack on a folder until the block ends; the API is ready when the block begins.

    `environ` is the caller's: a database or a Redis that it names is used instead of ours. Raises ConfigurationError,
    ChildFailedError, and StoppedError when a signal ended the block or the start.
    """
    with open_state(folder) as state:
        servers, environment = plan(state, environ)
        settings = load(environment, role=Role.api).settings
        groups = worker_groups(load(environment, role=Role.worker).settings)
        _check_port(settings.api)
        async with open_supervisor(output) as supervisor:
            await asyncio.gather(*(asyncio.to_thread(server.prepare) for server in servers))
            await supervisor.start(*map(_server, servers))
            await supervisor.run(_migration(environment))
            workers = [_worker(group, environment, settings, is_only=len(groups) == 1) for group in groups]
            await supervisor.start(_api(environment, settings), *workers)
            yield Stack(url=_url(settings.api), folder=state.folder, settings=settings, supervisor=supervisor)


def _server(server: EmbeddedPostgres | EmbeddedRedis) -> Child:
    return Child(
        name=server.name,
        command=server.command(),
        is_ready=partial(asyncio.to_thread, server.is_ready),
        ready_seconds=RECOVERY_SECONDS,
        grace_seconds=3 * GRACE_SECONDS,
    )


def _program(*arguments: str, environment: Mapping[str, str]) -> Child:
    # -P: a file in the working folder must not stand in for a library's module.
    command = Command(arguments=(sys.executable, "-P", "-m", "audio_text", *arguments), environment=environment)
    return Child(name=arguments[0], command=command)


def _migration(environment: Mapping[str, str]) -> Child:
    program = _program("migrate", "--wait", f"{PATIENCE_SECONDS:.0f}", environment=environment)
    return msgspec.structs.replace(program, ready_seconds=PATIENCE_SECONDS + MIGRATION_SECONDS)


def _api(environment: Mapping[str, str], settings: Settings) -> Child:
    program = _program("api", environment=environment)
    return msgspec.structs.replace(
        program,
        # Killed outright, the server would leave its own processes behind.
        command=msgspec.structs.replace(program.command, death_signal=signal.SIGTERM),
        is_ready=partial(asyncio.to_thread, _is_api_ready, settings.api),
        ready_seconds=PATIENCE_SECONDS,
        grace_seconds=settings.api.drain_seconds + GRACE_SECONDS,
    )


def _worker(group: WorkerGroup, environment: Mapping[str, str], settings: Settings, *, is_only: bool) -> Child:
    tiers = () if is_only else group.tiers
    return msgspec.structs.replace(
        _program("worker", "--name", owner_name(group), *tiers, environment=environment),
        name="worker" if is_only else group.name,
        grace_seconds=settings.worker.shutdown_seconds + GRACE_SECONDS,
    )


def _is_api_ready(api: ApiSettings) -> bool:
    host = ANY_ADDRESS.get(api.host, api.host)
    connection = http.client.HTTPConnection(host, api.port, timeout=API_PROBE_SECONDS)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _url(api: ApiSettings) -> str:
    host = ANY_ADDRESS.get(api.host, api.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{api.port}"


def _check_port(api: ApiSettings) -> None:
    try:
        if not is_port_free(api.port, api.host):
            raise ConfigurationError(
                f"Port {api.port} on {api.host} is taken by another program: stop it, or choose another with --port."
            )
    except OSError as error:
        raise ConfigurationError(
            f"The API cannot listen on {api.host}, port {api.port} ({error.strerror}): choose another port with "
            "--port, or another address in AUDIO_TEXT_API_HOST."
        ) from error
