"""`audio-text transcribe FILE…`: upload to a running service, watch the text come, write it to a file."""

import os
import sys
from collections.abc import Sequence
from contextlib import closing
from enum import IntEnum
from pathlib import Path
from urllib.parse import urlsplit

import click
import msgspec

from audio_text.cli.display import Display
from audio_text.client import Client, Job, JobOptions
from audio_text.domain.formats import TranscriptFormat
from audio_text.domain.job import JobStatus
from audio_text.domain.options import Task
from audio_text.errors import AudioTextError, JobFailedError, ServerUnreachableError, UnauthorizedError

STDOUT = "-"


class ExitCode(IntEnum):
    """What scripts can trust; 2 is click's, for a command line that cannot be used."""

    done = 0
    job_failed = 1
    unreachable = 3
    interrupted = 130


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to become of every file: the job's options, and where its transcript goes (None: beside the file)."""

    job_options: JobOptions
    transcript_format: TranscriptFormat
    output: str | None

    def target(self, audio: Path) -> Path | None:
        """Where this file's transcript is written; None is standard output."""
        if self.output == STDOUT:
            return None
        folder = Path(self.output) if self.output else audio.parent
        return folder / f"{audio.stem}.{self.transcript_format.extension}"


def _server(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise click.BadParameter("an address such as http://127.0.0.1:3203 is needed.")
    return value


@click.command(epilog="Exit codes: 0 all done, 1 a file failed, 2 wrong usage, 3 service unreachable, 130 interrupted.")
@click.argument(
    "files", metavar="FILE...", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--model", help="One of the service's models.  [default: what the service prefers]")
@click.option("--language", help="The language spoken, such as en.  [default: detected]")
@click.option("--task", type=click.Choice(Task), help="Write down, or write down in English.")
@click.option("--words", "word_timestamps", is_flag=True, default=None, help="Time every word; --format json shows it.")
@click.option("--format", "transcript_format", type=click.Choice(TranscriptFormat), default="text", show_default=True)
@click.option(
    "--output", metavar="DIR|-", help="Folder of the transcripts; - is standard output.  [default: beside FILE]"
)
@click.option(
    "--server",
    metavar="URL",
    envvar="AUDIO_TEXT_SERVER",
    default="http://127.0.0.1:3203",
    show_default=True,
    show_envvar=True,
    callback=_server,
    help="Where the service runs.",
)
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def transcribe(
    files: tuple[Path, ...],
    server: str,
    *,
    output: str | None,
    transcript_format: TranscriptFormat,
    quiet: bool,
    **job_options: object,
) -> None:
    """Turn recordings into text with a running service, and watch it happen.

    Segments appear on standard error as they are decoded; the transcript of talk.mp3 is written to talk.txt. A service
    that asks for a key gets that of the variable AUDIO_TEXT_API_KEY.
    """
    chosen = {name: msgspec.to_builtins(value) for name, value in job_options.items() if value is not None}
    order = Order(job_options=msgspec.convert(chosen, JobOptions), transcript_format=transcript_format, output=output)
    _check_targets(files, order)
    try:
        exit_code = _transcribe_all(files, order, server=server, quiet=quiet)
    except KeyboardInterrupt:
        click.echo("Interrupted. A job that was already submitted goes on without this command.", err=True)
        exit_code = ExitCode.interrupted
    click.get_current_context().exit(exit_code)


def _transcribe_all(files: Sequence[Path], order: Order, *, server: str, quiet: bool) -> ExitCode:
    """Do one file after the other; one that fails does not stop the next."""
    exit_code = ExitCode.done
    # No option: others on this machine see the arguments of a command.
    api_key = os.environ.get("AUDIO_TEXT_API_KEY")  # noqa: TID251 -- the command line's own entry
    with Client(server, api_key=api_key) as client:
        for audio in files:
            try:
                with Display(quiet=quiet) as display:
                    _transcribe(client, audio, order, display=display)
            except ServerUnreachableError as error:
                _complain(audio, error.detail)
                return ExitCode.unreachable
            except UnauthorizedError as error:
                _complain(audio, f"{error.detail} It is taken from the variable AUDIO_TEXT_API_KEY.")
                return ExitCode.job_failed
            except AudioTextError as error:
                _complain(audio, error.detail)
                exit_code = ExitCode.job_failed
            except OSError as error:  # the recording or the transcript, on this machine
                _complain(audio, str(error))
                exit_code = ExitCode.job_failed
    return exit_code


def _transcribe(client: Client, audio: Path, order: Order, *, display: Display) -> None:
    display.begin(f"{click.format_filename(audio.name)}: uploading", total=audio.stat().st_size)
    upload = client.upload(audio, on_progress=display.advance_to)
    job = client.jobs.submit(upload, **order.job_options)
    display.say(f"{job.filename}: job {job.id}, model {job.whisper_model}")
    _watch(client, display, job)
    job = client.jobs.get(job.id)
    if job.status is not JobStatus.completed:
        raise JobFailedError(job.error_message or f"The job was {job.status}.", error_code=job.error_code)
    display.summary(job)
    target = order.target(audio)
    _write(target, client.jobs.document(job.id, order.transcript_format.value))
    if target is not None:
        display.say(f"written to {click.format_filename(target)}")


def _watch(client: Client, display: Display, job: Job) -> None:
    """Show the job's way to its end."""
    display.begin(f"{job.filename}: {job.status}", total=100)
    with closing(client.jobs.follow(job.id)) as updates:
        for update in updates:
            for segment in update.segments:
                display.segment(segment)
            display.advance_to(update.progress, description=f"{job.filename}: {update.status}")


def _check_targets(files: Sequence[Path], order: Order) -> None:
    """Refuse, before anything is uploaded, what could not be written or would overwrite something of this command."""
    taken = {audio.resolve(): audio for audio in files}
    for audio in files:
        target = order.target(audio)
        if target is None:
            continue
        other = taken.setdefault(target.resolve(), audio)
        if other is not audio or target.resolve() == audio.resolve():
            raise click.UsageError(f"The transcript of {audio} would overwrite that of {other}, or {other} itself.")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise click.UsageError(f"The folder of the transcripts cannot be made: {error}.") from error
        if not os.access(target.parent, os.W_OK):
            raise click.UsageError(f"Nothing may be written into {target.parent}: name another folder with --output.")


def _write(target: Path | None, text: str) -> None:
    if target is None:
        sys.stdout.buffer.write(text.encode())
    else:
        target.write_text(text, encoding="utf-8", newline="\n")


def _complain(audio: Path, sentence: str) -> None:
    click.echo(f"{click.format_filename(audio)}: {sentence}", err=True)
