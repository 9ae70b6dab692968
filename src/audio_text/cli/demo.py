"""`audio-text demo`."""

import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import click
import msgspec

from audio_text import logs
from audio_text.cli.up import DEMO_MODEL, NAME_WIDTH, access_line, command_line
from audio_text.errors import AudioTextError, StoppedError
from audio_text.local.child import Output
from audio_text.local.environment import REDIS_URL
from audio_text.local.process import Command, free_port
from audio_text.local.stack import embedded_stack
from audio_text.local.state import open_to_servers
from audio_text.settings import resource
from audio_text.settings.keys import PREFIX

RECORDING = "recordings/memo_35s.wav"
INTERRUPTED = 130
TAIL_LINES = 40
TRANSCRIBE_SECONDS = 120.0
"""It takes about one; more means that no worker comes up."""


class Heard(msgspec.Struct):
    """What the client told: the transcript, and seconds from its start to each step."""

    transcript: str = ""
    uploaded: float | None = None
    first_segment: float | None = None
    done: float | None = None

    def note(self, line: str, seconds: float) -> None:
        """Take the time of a line of the client's."""
        if self.uploaded is None and ": job " in line:
            self.uploaded = seconds
        if self.first_segment is None and line.startswith("["):
            self.first_segment = seconds


@click.command()
@click.option(
    "--data",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep everything there.  [default: a temporary folder, removed at the end]",
)
@click.option("--port", type=click.IntRange(1, 65_535), help="The API's port.  [default: a free one]")
def demo(folder: Path | None, *, port: int | None) -> int:
    """See it work: start everything, transcribe a short recording, show the text and the times, stop everything.

    Needs no network, and takes no notice of your settings and servers. Exit code 0 only when the transcript came.
    """
    environ = _without_settings(os.environ) | {  # noqa: TID251 -- handed on to the children
        "AUDIO_TEXT_API_PORT": str(port or free_port()),
        "AUDIO_TEXT_JOB_DEFAULT_MODEL": DEMO_MODEL,
        "AUDIO_TEXT_ENGINE_PRELOAD": f'["{DEMO_MODEL}"]',
        "AUDIO_TEXT_ENGINE_OFFLINE": "true",
    }
    logs.configure("warning", "console")
    with _folder(folder) as place:
        log = place / "demo.log"
        try:
            return asyncio.run(_run(place, environ, log))
        except StoppedError:
            return INTERRUPTED
        except (AudioTextError, ExceptionGroup):
            _show_tail(log)
            raise


def _without_settings(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if not name.startswith(PREFIX) and name != REDIS_URL}


@contextmanager
def _folder(folder: Path | None) -> Generator[Path, None, None]:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    temporary = Path(tempfile.mkdtemp(prefix="audio-text-demo-"))
    try:
        open_to_servers(temporary)
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


async def _run(folder: Path, environ: dict[str, str], log: Path) -> int:
    recording = resource(RECORDING)
    click.echo("Starting PostgreSQL, Redis, the API and a worker …")
    began_at = time.monotonic()
    with log.open("ab") as file:
        async with embedded_stack(folder, environ, Output(file, name_width=NAME_WIDTH)) as stack:
            up_after = time.monotonic() - began_at
            click.echo(f"ready after {up_after:.1f} s at {stack.url}; access: {access_line(stack.settings)}\n")
            click.echo(f"$ {command_line()} transcribe {recording.name} --model {DEMO_MODEL} --server {stack.url}")
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(stack.supervisor.wait())
                heard = await _transcribe(recording, stack.url)
                watch.cancel()
    if not heard.transcript.strip():
        _show_tail(log)
        click.echo("No transcript came.", err=True)
        return 1
    click.echo(_report(heard, up_after))
    return 0


async def _transcribe(recording: Path, url: str) -> Heard:
    """Run the same command that a person would; its messages pass through."""
    heard = Heard()
    arguments = ("transcribe", str(recording), "--model", DEMO_MODEL, "--server", url, "--output", "-")
    command = Command(
        arguments=(sys.executable, "-P", "-m", "audio_text", *arguments),
        environment=_without_settings(os.environ),  # noqa: TID251 -- handed on to a child
    )
    began_at = time.monotonic()
    client = await asyncio.create_subprocess_exec(
        *command.tethered(),
        env=command.environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        process_group=0,
    )
    assert client.stdout is not None  # noqa: S101 -- a pipe, as asked for
    assert client.stderr is not None  # noqa: S101 -- a pipe, as asked for
    try:
        async with asyncio.timeout(TRANSCRIBE_SECONDS), asyncio.TaskGroup() as tasks:
            transcript = tasks.create_task(client.stdout.read())
            async for raw in client.stderr:
                line = raw.decode(errors="replace").rstrip()
                heard.note(line, time.monotonic() - began_at)
                click.echo(f"  {line}")
        if await client.wait() == 0:
            heard.transcript = transcript.result().decode()
            heard.done = time.monotonic() - began_at
    except TimeoutError:
        click.echo(f"  nothing came for {TRANSCRIBE_SECONDS:.0f} seconds", err=True)
    finally:
        if client.returncode is None:
            client.kill()
            await client.wait()
    return heard


def _report(heard: Heard, up_after: float) -> str:
    steps = {
        "to start PostgreSQL, Redis, the API and a worker; then, from the client's start:": up_after,
        "uploaded and submitted": heard.uploaded,
        "first segment": heard.first_segment,
        "done": heard.done,
    }
    times = "\n".join(f"{seconds:6.1f} s  {step}" for step, seconds in steps.items() if seconds is not None)
    return f"""
{heard.transcript.strip()}

{times}

This was the built-in model `{DEMO_MODEL}`: 123 English words in two synthetic voices, for trying things out.
Run `{command_line()} up` and transcribe with --model base, or a larger one, for real recordings.
"""


def _show_tail(log: Path) -> None:
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    if lines:
        click.echo("\n".join(["The last lines of the children's logs:", *lines[-TAIL_LINES:]]), err=True)
