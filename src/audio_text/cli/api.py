"""`audio-text api`."""

import click

from audio_text.api import serve
from audio_text.cli.startup import start_as
from audio_text.settings import Role


@click.command()
def api() -> None:
    """Run the HTTP API until SIGTERM or Ctrl-C; then running requests are finished.

    It listens on api.host and api.port, with api.processes processes. Run `audio-text migrate` first.
    """
    serve.main(start_as(Role.api))
