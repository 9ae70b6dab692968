"""`audio-text migrate`."""

import asyncio

import click

from audio_text import bootstrap
from audio_text.cli.startup import start_as
from audio_text.settings import Role


@click.command()
@click.option(
    "--wait",
    "patience_seconds",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for a database that is not up yet, and for another migration.",
)
def migrate(patience_seconds: float) -> None:
    """Create the database tables or bring them up to date.

    Safe to run at any time and by several at once: they wait for each other, and what is done is not done again.
    """
    applied = asyncio.run(bootstrap.migrate(start_as(Role.migrate), patience_seconds=patience_seconds))
    for name in applied:
        click.echo(f"applied {name}")
    click.echo("The database is up to date.")
