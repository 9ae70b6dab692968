"""Places in a list that is read page by page, as clients carry them: one opaque word that belongs to its list."""

import hashlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Annotated, TypeVar, cast
from urllib.parse import urlencode

import msgspec
from litestar.openapi.spec import Example
from litestar.params import QueryParameter
from msgspec import Meta

from audio_text.api import ids
from audio_text.domain.listing import Place
from audio_text.errors import InvalidRequestError
from audio_text.settings import Settings

T = TypeVar("T")

LINK = 'The next page, rel="next", if there is one.'

Limit = Annotated[
    int | None,
    QueryParameter(
        ge=1, description="Most jobs to list; the service has its own limit, too.", examples=[Example(value=20)]
    ),
]
Cursor = Annotated[
    str | None,
    QueryParameter(
        description="Where to go on: from the Link header of the page before. It belongs to the filters and the order "
        "that it was made with.",
        examples=[Example(value="WyI4ZmU3NWY3NCIsbnVsbCwiMSJd")],
    ),
]

_FOREIGN = "`cursor` is not one that this list handed out."
_SHAPE = tuple[str, Annotated[datetime, Meta(tz=True)] | float | None, Annotated[str, Meta(pattern=f"^{ids.PATTERN}$")]]


def encoded(place: Place, *, of: object) -> str:
    """Write a place as a cursor; `of` is all that makes this list another than the next one."""
    return urlsafe_b64encode(msgspec.json.encode((_digest(of), *place))).decode().rstrip("=")


def decoded(cursor: str, *, of: object, kind: type[datetime | float] = datetime) -> Place:
    """Read a cursor of a list that is sorted by this kind of value. Raises InvalidRequestError."""
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        digest, value, job_id = msgspec.json.decode(text, type=_SHAPE)
    except ValueError as error:  # also of msgspec
        raise InvalidRequestError(_FOREIGN) from error
    if digest != _digest(of):
        raise InvalidRequestError(
            "`cursor` belongs to a list with other filters or another order: keep them, or begin without a cursor."
        )
    if not isinstance(value, kind | None):
        raise InvalidRequestError(_FOREIGN)
    return value, job_id


def page_size(limit: int | None, settings: Settings) -> int:
    """How many a page has: as many as were asked for, or as there may be."""
    return min(limit or settings.job.list_limit, settings.job.list_limit)


def moment(cursor: str | None, *, of: object) -> tuple[datetime, str] | None:
    """Read a cursor of a list that is sorted by a time; None at its beginning. Raises InvalidRequestError."""
    return cast("tuple[datetime, str]", decoded(cursor, of=of)) if cursor else None


def page(
    found: Sequence[T],
    size: int,
    *,
    at: Callable[[T], Place],
    path: str,
    query: Iterable[tuple[str, object]],
    of: object,
) -> tuple[Sequence[T], dict[str, str]]:
    """Cut a page off what was found, at least one more if there is one; with it, the header that points to the next.

    `at` is where an item stands in the list, `path` and `query` are the list's, `of` is as for `encoded`.
    """
    items = found[:size]
    if len(found) == len(items):
        return items, {}
    return items, _link(path, query, cursor=encoded(at(items[-1]), of=of))


def _link(path: str, query: Iterable[tuple[str, object]], *, cursor: str) -> dict[str, str]:
    return {"Link": f'<{path}?{urlencode([*query, ("cursor", cursor)])}>; rel="next"'}


def _digest(of: object) -> str:
    return hashlib.sha256(msgspec.json.encode(of, order="deterministic")).hexdigest()[:8]
