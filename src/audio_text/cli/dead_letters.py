"""`audio-text dead-letters list|show|requeue|drop`."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from datetime import datetime
from typing import TypeVar

import click

from audio_text.bootstrap import open_dead_letters
from audio_text.cli.startup import start_as
from audio_text.domain.job import AttemptRecord, Job
from audio_text.services.dead_letters import DeadLetterService
from audio_text.settings import Role

Result = TypeVar("Result")


@click.group(name="dead-letters")
def dead_letters() -> None:
    """See jobs that were given up; run them again.

    A job is a dead letter when it failed because its attempts were used up, not because of its recording.
    """


@dead_letters.command(name="list")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="Most jobs to list.")
def list_newest(limit: int) -> None:
    """List them, newest first: id, end, model, attempts, reason, file name."""
    jobs = _run(lambda service: service.newest(limit=limit))
    for job in jobs:
        click.echo(
            f"{job.id}  {_time(job.finished_at)}  {job.whisper_model:<16}  {job.attempt:>2}  "
            f"{job.error_code or '-':<20}  {job.filename}"
        )
    if not jobs:
        click.echo("There are no dead letters.", err=True)


@dead_letters.command()
@click.argument("job_id", metavar="ID")
def show(job_id: str) -> None:
    """Show one job, and how each attempt at it ended."""
    job, attempts = _run(lambda service: service.show(job_id))
    for name, value in _facts(job):
        click.echo(f"{name + ':':<14}{value}")
    click.echo("attempts:")
    for record in attempts:
        click.echo(f"  {_told(record)}")


@dead_letters.command()
@click.argument("job_id", metavar="ID")
def requeue(job_id: str) -> None:
    """Run a job again, with all its attempts, behind what was decoded already."""
    job = _run(lambda service: service.requeue(job_id))
    click.echo(f"{job.id} is {job.status.value} on {job.tier}.")


@dead_letters.command()
@click.argument("job_id", metavar="ID")
def drop(job_id: str) -> None:
    """Take a job off the list; it stays failed."""
    _run(lambda service: service.drop(job_id))
    click.echo(f"{job_id} is no dead letter any more.")


def _run(work: Callable[[DeadLetterService], Awaitable[Result]]) -> Result:
    settings = start_as(Role.operator)

    async def run() -> Result:
        async with open_dead_letters(settings) as service:
            return await work(service)

    return asyncio.run(run())


def _facts(job: Job) -> Iterator[tuple[str, object]]:
    yield "id", job.id
    yield "filename", job.filename
    yield "model", f"{job.whisper_model} on {job.tier}"
    yield "submitted", _time(job.creation_date)
    yield "ended", _time(job.finished_at)
    yield "progress", f"{job.progress:.1f} % of {'unknown' if job.duration is None else f'{job.duration:.1f}'} s"
    yield "reason", f"{job.error_code}: {job.error_message}"


def _told(record: AttemptRecord) -> str:
    end = record.end.value if record.end else "running"
    reason = f": {record.error_code}: {record.error_message}" if record.error_code else ""
    return f"{_time(record.started_at)}  {record.owner} from {record.position:.1f} s, {end}{reason}"


def _time(moment: datetime | None) -> str:
    return moment.astimezone().isoformat(" ", "seconds") if moment else "-"
