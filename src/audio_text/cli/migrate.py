"""`audio-text migrate`."""

import asyncio

import click

from audio_text import bootstrap
from audio_text.cli.startup import start_as
from audio_text.settings import Role


@click.command()
def migrate() -> None:
    """Create the database tables or bring them up to date.

    Safe to run at any time and by several at once: they wait for each other, and what is done is not done again.
    """
    applied = asyncio.run(bootstrap.migrate(start_as(Role.migrate)))
    for name in applied:
        click.echo(f"applied {name}")
    click.echo("The database is up to date.")
