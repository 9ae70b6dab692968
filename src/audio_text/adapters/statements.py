"""How SQL is run, whatever the table, and what the modules of the table of jobs share."""

from collections.abc import Mapping
from typing import Any, cast

from piccolo.querystring import QueryString

from audio_text.adapters.database import CONNECTION_LOST, PooledEngine, vendor_errors
from audio_text.adapters.rows import storable
from audio_text.domain.job import Job
from audio_text.domain.owners import EVERYBODY, Whose

COLUMNS = ", ".join(Job.__struct_fields__)

# The enumeration travels as text in both directions: its own type would cost each new connection a look-up.
SELECTED = ", ".join("status::text" if name == "status" else name for name in Job.__struct_fields__)
VALUES = ", ".join("{}::text::job_status" if name == "status" else "{}" for name in Job.__struct_fields__)

Condition = tuple[str, tuple[object, ...]]
"""What follows WHERE, and its parameters."""


def owned_by(whose: Whose) -> Condition:
    """Tell whose rows are meant, in three ways: no index leads to IS NOT DISTINCT FROM."""
    if whose is EVERYBODY:
        return "true", ()
    return ("owner IS NULL", ()) if whose is None else ("owner = {}", (whose,))


class Statements:
    """Runs statements over an engine's pool. Each is a transaction of its own."""

    def __init__(self, engine: PooledEngine) -> None:
        self._engine = engine

    async def _run(self, sql: str, *parameters: object, repeatable: bool = False) -> list[Mapping[str, Any]]:
        # A connection that breaks leaves open whether the statement was carried out: only one whose
        # repetition changes nothing is tried again, on another connection.
        statement = QueryString(sql, *map(storable, parameters))
        with vendor_errors():
            try:
                return await self._fetch(statement)
            except CONNECTION_LOST:
                if not repeatable:
                    raise
                return await self._fetch(statement)

    async def _fetch(self, statement: QueryString) -> list[Mapping[str, Any]]:
        return cast("list[Mapping[str, Any]]", await self._engine.run_querystring(statement))
