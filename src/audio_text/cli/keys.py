"""`audio-text keys create|list|revoke|rotate`."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from audio_text.bootstrap import open_keys
from audio_text.cli.startup import start_as
from audio_text.domain.access import LONGEST_LIFE_SECONDS, ApiKey, KeyLimits, Scope
from audio_text.domain.job import Priority
from audio_text.domain.owners import EVERYBODY
from audio_text.domain.usage import SECONDS_PER_DAY, SECONDS_PER_HOUR, SECONDS_PER_MINUTE
from audio_text.services.access import AccessService
from audio_text.settings import Role

Result = TypeVar("Result")

SECONDS = {"s": 1, "m": SECONDS_PER_MINUTE, "h": SECONDS_PER_HOUR, "d": SECONDS_PER_DAY}

WIDE = 200
"""Columns of a table that goes into a file or a pipe, where nothing is cut off."""


class Duration(click.ParamType[int]):
    """Seconds, written like 90d, 12h, 30m or 45s; a bare number is seconds."""

    name = "duration"

    def convert(self, value: str | int, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Read it."""
        if isinstance(value, int):
            return value
        found = re.fullmatch(r"([0-9]{1,9})([smhd]?)", value)
        seconds = int(found[1]) * SECONDS[found[2] or "s"] if found else -1
        if not 0 <= seconds <= LONGEST_LIFE_SECONDS:
            self.fail(f"{value!r} is not a time such as 90d, 12h or 30m, of at most ten years.", param, ctx)
        return seconds


@click.group()
def keys() -> None:
    """Give out keys, and take them back.

    Whoever has the secret of a key calls the API with `Authorization: Bearer SECRET`, and sees what its owner has.
    """


@keys.command()
@click.option("--owner", required=True, help="Whose it is: a person, a team, a product.")
@click.option("--name", required=True, help="What it is for.")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice([scope.value for scope in Scope]),
    multiple=True,
    default=(Scope.submit.value, Scope.read.value),
    show_default=True,
    help="What it is good for; may be given several times.",
)
@click.option("--expires-in", type=Duration(), help="How long it holds, like 90d; without it, until it is revoked.")
@click.option("--requests-per-minute", type=click.IntRange(1), help="Other than the settings say.")
@click.option("--requests-per-hour", type=click.IntRange(1), help="Other than the settings say.")
@click.option("--concurrent-jobs", type=click.IntRange(1), help="Other than the settings say.")
@click.option("--audio-seconds-per-day", type=click.IntRange(1), help="Other than the settings say.")
@click.option("--highest-priority", type=click.Choice(Priority), help="Of its jobs; other than the settings say.")
def create(
    owner: str,
    name: str,
    *,
    scopes: tuple[str, ...],
    expires_in: int | None,
    highest_priority: Priority | None,
    **limits: int | None,
) -> None:
    """Make a key, and print its secret: once, to standard output; it cannot be told again."""
    key, secret = _run(
        lambda access: access.create(
            owner=owner,
            name=name,
            scopes=frozenset(map(Scope, scopes)),
            limits=KeyLimits(**limits, highest_priority=highest_priority),
            expires_in_seconds=expires_in,
        )
    )
    click.echo(secret)
    click.echo(
        f"Key {key.id} of {key.owner}, for {', '.join(sorted(key.scopes))}, holds until {_end(key)}. "
        "Keep its secret: nobody can tell it again.",
        err=True,
    )


@keys.command(name="list")
@click.option("--owner", help="Only keys of this owner.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=1_000, show_default=True, help="Most keys to list.")
def list_keys(owner: str | None, limit: int) -> None:
    """List keys, newest first."""
    found = _run(lambda access: access.list(EVERYBODY if owner is None else owner, limit=limit))
    if not found:
        click.echo("There are no keys.", err=True)
        return
    table = Table("id", "prefix", "owner", "name", "scopes", "state", "created", "last used", box=None, pad_edge=False)
    for key in found:
        scopes = ",".join(sorted(key.scopes))
        cells = (key.id, key.prefix, key.owner, key.name, scopes, _state(key), _time(key.created_at))
        table.add_row(*map(Text, (*cells, _time(key.last_used_at))))  # a Text, for [bold] in a name is no markup
    console = Console()
    console.print(table) if console.is_terminal else Console(width=WIDE).print(table)


@keys.command()
@click.argument("key_id", metavar="ID")
def revoke(key_id: str) -> None:
    """End a key for good. Every process refuses it within access.cache_seconds."""
    key = _run(lambda access: access.revoke(key_id))
    click.echo(f"Key {key.id} ({key.prefix}…) of {key.owner} is revoked.", err=True)


@keys.command()
@click.argument("key_id", metavar="ID")
@click.option(
    "--overlap", type=Duration(), default="1d", show_default=True, help="How long the secret it has still holds."
)
def rotate(key_id: str, overlap: int) -> None:
    """Give a key a new secret, and print it: once, to standard output."""
    key, secret = _run(lambda access: access.rotate(key_id, overlap))
    click.echo(secret)
    click.echo(f"Key {key.id} of {key.owner} has this secret now; the one before holds for {overlap} s.", err=True)


def _run(work: Callable[[AccessService], Awaitable[Result]]) -> Result:
    settings = start_as(Role.keys)

    async def run() -> Result:
        async with open_keys(settings) as access:
            return await work(access)

    return asyncio.run(run())


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is None:
        return "holds"
    return f"until {_time(key.expires_at)}" if key.expires_at > datetime.now(UTC) else "expired"


def _end(key: ApiKey) -> str:
    return _time(key.expires_at) if key.expires_at else "it is revoked"


def _time(moment: datetime | None) -> str:
    return moment.astimezone().isoformat(" ", "minutes") if moment else "-"
