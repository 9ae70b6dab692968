"""The route that lists jobs."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
from litestar import Response, get
from litestar.openapi.spec import Example
from litestar.params import QueryParameter
from msgspec import Meta
from msgspec.structs import replace

from audio_text.api.access import Access
from audio_text.api.dependencies import GivenCaller, GivenServices, GivenSettings
from audio_text.api.dto import JobView
from audio_text.api.paging import LINK, Cursor, Limit, decoded, page, page_size
from audio_text.api.problems import documented, documented_header
from audio_text.domain.job import JobStatus
from audio_text.domain.listing import JobQuery, JobSort
from audio_text.errors import DatabaseUnavailableError, InvalidFieldError, InvalidRequestError

PATH = "/api/v1/job/read"
MOST_VALUES = 20
"""Values of one filter."""

LONGEST_SEARCH = 500

BatchId = Annotated[
    str | None,
    QueryParameter(
        max_length=100,
        description="Only jobs of this batch.",
        examples=[Example(value="7d0b4c56-3f0c-4f4e-8d3b-2a5f6f9f2b11")],
    ),
]
Statuses = Annotated[
    list[JobStatus] | None,
    QueryParameter(
        max_items=MOST_VALUES,
        description="Only jobs that stand so; may be given several times.",
        examples=[Example(value=["completed"])],
    ),
]
Models = Annotated[
    list[str] | None,
    QueryParameter(
        max_items=MOST_VALUES,
        description="Only jobs of this model; may be given several times.",
        examples=[Example(value=["base"])],
    ),
]
Languages = Annotated[
    list[str] | None,
    QueryParameter(
        max_items=MOST_VALUES,
        description="Only jobs in which this language was spoken; may be given several times.",
        examples=[Example(value=["en"])],
    ),
]
CreatedAfter = Annotated[
    str | None,
    QueryParameter(
        schema_extra={"format": "date-time"},  # not a datetime: the framework would take a number for one
        description="Only jobs submitted at this time or later; a time with its zone.",
        examples=[Example(value="2030-01-01T00:00:00Z")],
    ),
]
CreatedBefore = Annotated[
    str | None,
    QueryParameter(
        schema_extra={"format": "date-time"},
        description="Only jobs submitted earlier than this; a time with its zone.",
        examples=[Example(value="2030-02-01T00:00:00Z")],
    ),
]
Metadata = Annotated[
    list[str] | None,
    QueryParameter(
        max_items=MOST_VALUES,
        description="Only jobs whose metadata has this key with this value, as `key=value`; given several times, all.",
        examples=[Example(value=["project=budget"])],
    ),
]
Words = Annotated[
    str | None,
    QueryParameter(
        min_length=1,
        max_length=LONGEST_SEARCH,
        description="Only completed jobs whose transcript holds these words, whatever their case: all of them, "
        '`"a phrase"`, `this or that`, `-without`.',
        examples=[Example(value='budget "next year" -draft')],
    ),
]
Sort = Annotated[
    JobSort,
    QueryParameter(
        description="What to sort by. Jobs that have not ended count as the last to end, those of unknown duration as "
        "the shortest.",
        examples=[Example(value="creation_date")],
    ),
]
Order = Annotated[
    str,
    QueryParameter(
        pattern="^(asc|desc)$", description="Ascending, or descending: newest first.", examples=[Example(value="desc")]
    ),
]


@get(
    "/job/read",
    opt={"access": Access.read},
    summary="List jobs",
    response_description="Jobs, in the order asked for.",
    response_headers=[documented_header("Link", LINK)],
    responses=documented(InvalidRequestError, InvalidFieldError, DatabaseUnavailableError),
    tags=["jobs"],
)
async def read_jobs(  # noqa: PLR0913 -- one for each parameter of the query
    *,
    services: GivenServices,
    caller: GivenCaller,
    settings: GivenSettings,
    batch: BatchId = None,
    status: Statuses = None,
    model: Models = None,
    language: Languages = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    metadata: Metadata = None,
    q: Words = None,
    sort: Sort = JobSort.creation_date,
    order: Order = "desc",
    limit: Limit = None,
    cursor: Cursor = None,
) -> Response[list[JobView]]:
    """List the jobs that all filters let through, newest first unless another order is asked for, a page at a time."""
    query = JobQuery(
        owner=caller.whose,
        batch_id=batch,
        statuses=tuple(status or ()),
        models=tuple(model or ()),
        languages=tuple(language or ()),
        created_after=_moment(created_after, "created_after"),
        created_before=_moment(created_before, "created_before"),
        metadata=dict(_pair(text) for text in metadata or ()),
        words=q,
        sort=sort,
        is_ascending=order == "asc",
    )
    kind = float if sort is JobSort.duration else datetime
    size = page_size(limit, settings)
    asked = replace(query, after=decoded(cursor, of=query, kind=kind) if cursor else None)
    found = await services.lifecycle.find(asked, limit=size + 1)
    pairs = [*_pairs(query), ("limit", size)]
    jobs, headers = page(found, size, at=query.place_of, path=PATH, query=pairs, of=query)
    places = await services.backlog.places(jobs)
    return Response([JobView.of(job, places.get(job.id), caller=caller) for job in jobs], headers=headers)


def _pairs(query: JobQuery) -> list[tuple[str, object]]:
    """Write a query as its parameters again, without those that say what holds anyway."""
    otherwise = JobQuery()
    several = {"status": query.statuses, "model": query.models, "language": query.languages}
    single = {
        "batch": query.batch_id,
        "created_after": query.created_after and query.created_after.isoformat(),
        "created_before": query.created_before and query.created_before.isoformat(),
        "q": query.words,
        "sort": None if query.sort is otherwise.sort else query.sort.value,
        "order": "asc" if query.is_ascending else None,
    }
    return [
        *((name, value) for name, values in several.items() for value in values),
        *(("metadata", f"{key}={value}") for key, value in query.metadata.items()),
        *((name, value) for name, value in single.items() if value is not None),
    ]


def _moment(given: str | None, field: str) -> datetime | None:
    """Give the time in UTC: what a zone takes beyond the first or last year is none."""
    if given is None:
        return None
    try:
        moment = msgspec.convert(given, Annotated[datetime, Meta(tz=True)])
        return moment.replace(tzinfo=UTC) - (moment.utcoffset() or timedelta())
    except OverflowError as error:
        raise InvalidFieldError(f"`{field}` is out of range.", field=field) from error
    except msgspec.ValidationError as error:
        raise InvalidFieldError(
            f"`{field}` must be a time with its zone, such as 2030-01-01T00:00:00Z.", field=field
        ) from error


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not key or not separator:
        raise InvalidFieldError("`metadata` must be a key and its value, as key=value.", field="metadata")
    return key, value
