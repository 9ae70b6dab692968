"""The wire: what callers may use, and have used."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta


class Amount(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that may be used; a `limit` of null is none."""

    limit: Annotated[int | None, Meta(description="How much may be used.", examples=[60])] = None
    used: Annotated[
        float | None,
        Meta(description="How much is used; null where nobody counts it, or cannot just now.", examples=[3]),
    ] = None
    remaining: Annotated[float | None, Meta(description="How much is left.", examples=[57])] = None
    resets_at: Annotated[
        datetime | None, Meta(description="When there is more again.", examples=["2030-01-01T12:01:00Z"])
    ] = None

    @classmethod
    def of(cls, limit: int | None, used: float | None, *, resets_at: datetime | None = None) -> "Amount":
        """Say what is left."""
        remaining = None if limit is None or used is None else max(0.0, limit - used)
        return cls(limit=limit, used=used, remaining=remaining, resets_at=resets_at)


class UsageView(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller may use, and has used."""

    key_id: Annotated[
        str | None, Meta(description="Whose it is; null where callers are known by address.", examples=["6d8b1f6e"])
    ]
    requests_per_minute: Annotated[Amount, Meta(description="Requests of the last minute.")]
    requests_per_hour: Annotated[Amount, Meta(description="Requests of the last hour.")]
    concurrent_jobs: Annotated[Amount, Meta(description="Jobs that wait or run.")]
    audio_seconds_today: Annotated[Amount, Meta(description="Seconds of audio submitted since midnight, UTC.")]
    audio_seconds_reserved: Annotated[
        float | None,
        Meta(
            description="How many of them are reserved by jobs that wait or run, for recordings of unknown length; "
            "what they do not need comes back. Null where nobody counts.",
            examples=[0],
        ),
    ]
