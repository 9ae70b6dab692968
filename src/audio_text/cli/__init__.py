"""The commands of `audio-text`. Each is imported only when it is asked for: no role loads another role's libraries."""

import os
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import click

from audio_text.errors import ConfigurationError


class Doorway(NamedTuple):
    """Where a command is, what it does for you, and the extra whose packages it needs."""

    target: str
    help: str
    extra: str = ""


COMMANDS = {
    "demo": Doorway(
        "audio_text.cli.demo:demo", "See it work: transcribe a short recording on this machine.", "embedded"
    ),
    "up": Doorway("audio_text.cli.up:up", "Run everything here: database, queue, store, API, workers.", "embedded"),
    "transcribe": Doorway("audio_text.cli.transcribe:transcribe", "Send recordings to a running service and get text."),
    "api": Doorway("audio_text.cli.api:api", "Run the HTTP API.", "api"),
    "worker": Doorway("audio_text.cli.worker:worker", "Run workers: those of the named tiers, or all.", "worker"),
    "migrate": Doorway(
        "audio_text.cli.migrate:migrate", "Create the database tables or bring them up to date.", "service"
    ),
    "keys": Doorway("audio_text.cli.keys:keys", "Give out keys for the API, and take them back.", "service"),
    "dead-letters": Doorway(
        "audio_text.cli.dead_letters:dead_letters", "See jobs that were given up; run them again.", "service"
    ),
    "settings": Doorway("audio_text.cli.settings:settings", "Show every setting and where its value comes from."),
}
"""In the order in which a newcomer meets them."""


class LazyGroup(click.Group):
    """A group that knows its commands by name, and imports one when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 -- click's signature
        """Name them all."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one. Raises ConfigurationError when the packages it needs are not installed."""
        if cmd_name not in COMMANDS:
            near = get_close_matches(cmd_name, COMMANDS, n=1)
            ctx.fail(f"There is no command {cmd_name!r}.{f' Did you mean {near[0]}?' if near else ''}")
        doorway = COMMANDS[cmd_name]
        module, _, attribute = doorway.target.partition(":")
        try:
            return getattr(import_module(module), attribute)
        except ModuleNotFoundError as error:
            if not doorway.extra or str(error.name).startswith("audio_text."):
                raise
            message = f"`audio-text {cmd_name}` needs {error.name}: pip install 'audio-text[{doorway.extra}]'."
            raise ConfigurationError(message) from error

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list for --help, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name].help) for name in self.list_commands(ctx)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--settings",
    "settings_file",
    type=click.Path(exists=True, dir_okay=False, resolve_path=True, path_type=Path),
    help="Lay this file over the default settings.  [env var: AUDIO_TEXT_SETTINGS_FILE]",
)
@click.version_option(package_name="audio-text", message="%(prog)s %(version)s")
def cli(settings_file: Path | None) -> None:
    """Turn recordings into text, and watch it happen.

    Every setting is a line of settings.toml and a variable AUDIO_TEXT_<SECTION>_<KEY>.
    """
    if settings_file is not None:
        # In the environment, because the processes that a command starts must see the same file.
        os.environ["AUDIO_TEXT_SETTINGS_FILE"] = str(settings_file)  # noqa: TID251 -- the command line's own entry
