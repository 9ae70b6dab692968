"""`audio-text settings`."""

import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from audio_text.cli.predecessor import translate
from audio_text.errors import ConfigurationError
from audio_text.settings import DEFAULT, SECRETS, SECTIONS, LoadedSettings, Role, from_environment, load

Row = tuple[str, str, str]


@click.command()
@click.option("--role", type=click.Choice(Role), help="Show what this role reads, and check all that it needs.")
@click.option(
    "--import-env",
    "env_file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Translate an environment file of the older service (AUDIO_TEXT_DB_HOST_ENV=…) into ours, on stdout.",
)
def settings(role: Role | None, env_file: Path | None) -> None:
    """Show every setting with its value and where that comes from; secrets only as set or not set.

    To change one, export its variable (database.host is AUDIO_TEXT_DATABASE_HOST) or write it into a TOML file
    that --settings or AUDIO_TEXT_SETTINGS_FILE names.
    """
    if env_file is not None:
        _import(env_file)
    else:
        _show(list(_rows(from_environment(role=role), role)))


def _import(env_file: Path) -> None:
    try:
        translation = translate(env_file.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{env_file} is not an environment file: it is not text in UTF-8.") from error
    for name, value in translation.variables.items():
        click.echo(f"{name}={shlex.quote(value)}")
    for remark in translation.remarks:
        click.echo(f"{env_file}, {remark}", err=True)
    load(translation.variables)  # raises for a value that is not allowed here


def _rows(loaded: LoadedSettings, role: Role | None) -> Iterator[Row]:
    for entry in loaded.entries:
        if role is None or entry.key.split(".", maxsplit=1)[0] in SECTIONS[role]:
            yield entry.key, _shown(entry.value), entry.origin
    for path, variable in SECRETS.items():
        is_set = bool(getattr(loaded.settings.secrets, "_".join(path)))
        yield ".".join(path), "set" if is_set else "not set", variable


def _shown(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_shown(item) for item in cast("Sequence[object]", value))
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _show(rows: list[Row]) -> None:
    if not sys.stdout.isatty():
        for row in rows:
            click.echo("\t".join(row))
        return
    table = Table("key", "value", "from", box=None, pad_edge=False, header_style="bold")
    for key, value, origin in rows:
        table.add_row(Text(key), Text(value), Text(origin), style="dim" if origin == DEFAULT else "bold")
    Console().print(table)
