"""`audio-text up`."""

import asyncio
import json
import os
import shlex
import sys
from pathlib import Path

import click

from audio_text import logs
from audio_text.errors import StoppedError
from audio_text.local.child import Output
from audio_text.local.stack import Stack, embedded_stack
from audio_text.local.state import default_folder
from audio_text.settings import Settings, WorkerMode, from_environment, is_loopback

DEMO_MODEL = "demo"
NAME_WIDTH = 16
"""As long as the longest of the tiers' names."""


@click.command()
@click.option(
    "--data",
    "folder",
    envvar="AUDIO_TEXT_FOLDER",
    show_envvar=True,
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where everything is kept.  [default: ~/.local/share/audio-text; for root /var/lib/audio-text]",
)
@click.option("--port", type=click.IntRange(1, 65_535), help="The API's port.  [default: api.port, 3203]")
@click.option(
    "--mode",
    type=click.Choice([mode.value for mode in WorkerMode]),
    help="One worker on all queues, or one for each tier.  [default: worker.mode]",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    help="Have this model in memory from the start; the first one named is what jobs get that name none. Repeatable.",
)
def up(folder: Path | None, *, port: int | None, mode: str | None, models: tuple[str, ...]) -> int:
    """Run the whole service here until Ctrl-C: PostgreSQL, Redis, API, workers.

    Needs nothing installed and no network, and keeps its data for the next time. A database or a Redis of your own,
    named in AUDIO_TEXT_DATABASE_HOST or REDIS_URL, is used instead. Exit codes: 0 stopped in good order, 1 a part did
    not start, 2 unusable settings, 137 a part had to be killed.
    """
    environ = dict(os.environ)  # noqa: TID251 -- handed on to the children
    environ.setdefault("AUDIO_TEXT_LOG_FORMAT", "console")
    if port is not None:
        environ["AUDIO_TEXT_API_PORT"] = str(port)
    if mode is not None:
        environ["AUDIO_TEXT_WORKER_MODE"] = mode
    if models:
        environ["AUDIO_TEXT_JOB_DEFAULT_MODEL"] = models[0]
        environ["AUDIO_TEXT_ENGINE_PRELOAD"] = json.dumps(models)
    log = from_environment().settings.log
    logs.configure(log.level, "console")
    return asyncio.run(_run(folder or default_folder(environ), environ))


async def _run(folder: Path, environ: dict[str, str]) -> int:
    try:
        async with embedded_stack(folder, environ, Output(sys.stdout.buffer, name_width=NAME_WIDTH)) as stack:
            click.echo(welcome(stack))
            await stack.supervisor.wait()
    except StoppedError as stopped:
        return stopped.exit_code
    return 0


def command_line() -> str:
    """Spell this program so that it can be typed in another terminal, whose path may not have it."""
    installed, here = Path(sys.executable).with_name("audio-text"), Path.cwd()
    if not installed.exists():
        return shlex.join((sys.executable, "-m", "audio_text"))
    return shlex.quote(str(installed.relative_to(here) if installed.is_relative_to(here) else installed))


def access_line(settings: Settings) -> str:
    """Say who may come in."""
    if not settings.access.open:
        return "with keys only; `audio-text keys create` makes one"
    reach = "who is on this machine" if is_loopback(settings.api.host) else f"who reaches {settings.api.host}"
    return f"OPEN: no keys; everybody {reach} sees and may do everything (AUDIO_TEXT_ACCESS_OPEN=false)"


def welcome(stack: Stack) -> str:
    """Say where everything is and what to type next."""
    database, redis = stack.settings.database, stack.settings.redis
    return f"""
audio-text is running; Ctrl-C stops it.

  API         {stack.url}
  docs        {stack.url}/docs and {stack.url}/redoc
  data        {stack.folder}
  PostgreSQL  {database.host}:{database.port}, database {database.name}, user {database.user}
  Redis       {redis.host}:{redis.port}
  passwords   {stack.folder / "secrets.json"}
  logs        here, from level {stack.settings.log.level} on (AUDIO_TEXT_LOG_LEVEL)
  access      {access_line(stack.settings)}

Transcribe something, in another terminal:

  {command_line()} transcribe RECORDING --model {DEMO_MODEL} --server {stack.url}

The built-in model `{DEMO_MODEL}` knows 123 English words in two synthetic voices: it is there to try things out.
For real recordings say --model base, or a larger one; it is downloaded when it is first used.
"""
