"""Places in a list that is read page by page, as clients carry them: a date and an id, in one opaque word."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import datetime
from typing import Annotated

from litestar.openapi.spec import Example
from litestar.params import QueryParameter

from audio_text.api.dto import checked_job_id
from audio_text.errors import InvalidRequestError, JobNotFoundError

Place = tuple[datetime, str]

Limit = Annotated[
    int | None,
    QueryParameter(
        ge=1, description="Most jobs to list; the service has its own limit, too.", examples=[Example(value=20)]
    ),
]
Cursor = Annotated[
    str | None,
    QueryParameter(description="Where to go on: from the Link header.", examples=[Example(value="MjAzMC0wMS0wMSAx")]),
]


def encoded(place: Place) -> str:
    """Write a place as a cursor."""
    date, job_id = place
    return urlsafe_b64encode(f"{date.isoformat()} {job_id}".encode()).decode().rstrip("=")


def decoded(cursor: str) -> Place:
    """Read a cursor. Raises InvalidRequestError."""
    try:
        date, _, job_id = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().partition(" ")
        place = datetime.fromisoformat(date), checked_job_id(job_id)
    except (ValueError, JobNotFoundError) as error:
        raise InvalidRequestError("`cursor` is not one that this list handed out.") from error
    if place[0].tzinfo is None:
        raise InvalidRequestError("`cursor` is not one that this list handed out.")
    return place
