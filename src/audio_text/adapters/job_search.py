"""Lists of jobs. Each statement holds just what was asked for, so that the planner knows which index leads to it."""

from collections.abc import Iterator

from audio_text.adapters.rows import job_of, json_text
from audio_text.adapters.statements import SELECTED, Condition, Statements, owned_by
from audio_text.domain.job import Job
from audio_text.domain.listing import JobQuery, JobSort

# As in the indexes, to the letter.
SORTED_BY = {
    JobSort.creation_date: "creation_date",
    JobSort.finished_at: "COALESCE(finished_at, 'infinity')",
    JobSort.duration: "COALESCE(duration, -1)",
}
PLACES = {
    JobSort.creation_date: "{}::timestamptz",
    JobSort.finished_at: "COALESCE({}::timestamptz, 'infinity')",
    JobSort.duration: "COALESCE({}::float8, -1)",
}


class PiccoloJobSearch(Statements):
    """The part of the port `JobRepository` that finds jobs."""

    async def find(self, query: JobQuery, *, limit: int) -> list[Job]:
        """Jobs that the query asks for, in its order."""
        sql, parameters = statement_of(query, limit)
        return [job_of(row) for row in await self._run(sql, *parameters, repeatable=True)]


def statement_of(query: JobQuery, limit: int) -> tuple[str, list[object]]:
    """Give the statement that answers the query, and its parameters."""
    conditions = list(_conditions(query))
    wanted = " AND ".join(condition for condition, _ in conditions)
    direction = "ASC" if query.is_ascending else "DESC"
    order = f"{SORTED_BY[query.sort]} {direction}, id {direction}"
    sql = f"SELECT {SELECTED} FROM transcription_job WHERE {wanted} ORDER BY {order} LIMIT {{}}"  # noqa: S608 -- our own text
    return sql, [*(parameter for _, parameters in conditions for parameter in parameters), limit]


def _conditions(query: JobQuery) -> Iterator[Condition]:
    yield owned_by(query.owner)
    if query.statuses:
        # Ours, and constants for the planner: it knows how many there are of each.
        labels = ", ".join(f"'{status.value}'" for status in query.statuses)
        yield f"status IN ({labels})", ()
    for column, values in _wanted(query).items():
        if values:
            yield f"{column} IN ({', '.join('{}' for _ in values)})", values
    if query.created_after is not None:
        yield "creation_date >= {}", (query.created_after,)
    if query.created_before is not None:
        yield "creation_date < {}", (query.created_before,)
    if query.metadata:
        yield "metadata @> {}::jsonb", (json_text(query.metadata),)
    if query.words is not None:
        yield "words @@ websearch_to_tsquery('pg_catalog.simple', {})", (query.words,)
    if query.after is not None:
        # A row comparison, so that the index leads straight to the page.
        comparison = ">" if query.is_ascending else "<"
        yield f"({SORTED_BY[query.sort]}, id) {comparison} ({PLACES[query.sort]}, {{}})", query.after


def _wanted(query: JobQuery) -> dict[str, tuple[str, ...]]:
    return {
        "batch_id": () if query.batch_id is None else (query.batch_id,),
        "whisper_model": query.models,
        "language": query.languages,
    }
