"""The wire: keys and tickets."""

import re
from datetime import datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from audio_text.domain.access import LONGEST_LIFE_SECONDS, ApiKey, KeyLimits, Scope, Ticket
from audio_text.domain.job import Priority
from audio_text.domain.usage import SECONDS_PER_DAY
from audio_text.errors import InvalidFieldError

LONGEST_LABEL = 128
MOST = 2**31 - 1

LONGEST_OVERLAP_SECONDS = 2_592_000
"""Thirty days."""

_LABEL = re.compile(r"[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f\x85][^\x00-\x1f\x7f]*")
_LABEL_SCHEMA: dict[str, Any] = {"minLength": 1, "maxLength": LONGEST_LABEL, "pattern": f"^{_LABEL.pattern}$"}

KeyLimit = Annotated[int, Meta(ge=1, le=MOST)]


class LimitsChoice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a key may use. What is left out is as the service's settings say."""

    requests_per_minute: Annotated[
        KeyLimit | None, Meta(description="Most requests within a minute.", examples=[60])
    ] = None
    requests_per_hour: Annotated[
        KeyLimit | None, Meta(description="Most requests within an hour.", examples=[1000])
    ] = None
    concurrent_jobs: Annotated[
        KeyLimit | None, Meta(description="Most jobs that wait or run at once.", examples=[20])
    ] = None
    audio_seconds_per_day: Annotated[
        KeyLimit | None, Meta(description="Most seconds of audio within a day.", examples=[36_000])
    ] = None
    highest_priority: Annotated[
        Priority | None,
        Meta(description="Highest class of jobs; `high` ones go before everybody else's.", examples=["high"]),
    ] = None

    def limits(self) -> KeyLimits:
        """Give them as the service knows them."""
        return KeyLimits(**msgspec.structs.asdict(self))


class KeyRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that an admin wants to give out."""

    owner: Annotated[
        str,
        Meta(
            description="Whose it is: a person, a team, a product. All keys of an owner see the same jobs.",
            examples=["acme"],
            extra_json_schema=_LABEL_SCHEMA,
        ),
    ]
    name: Annotated[
        str, Meta(description="What it is for.", examples=["nightly import"], extra_json_schema=_LABEL_SCHEMA)
    ]
    scopes: Annotated[
        Annotated[list[Scope], Meta(min_length=1, max_length=3)],
        Meta(
            description="What it is good for. `submit` does not imply `read`, nor `admin` either.",
            examples=[["submit", "read"]],
        ),
    ]
    expires_in: Annotated[
        Annotated[int, Meta(ge=1, le=LONGEST_LIFE_SECONDS)] | None,
        Meta(description="Seconds that it holds; left out: until it is revoked.", examples=[7_776_000]),
    ] = None
    limits: Annotated[LimitsChoice | None, Meta(description="What it may use.", examples=[{"concurrent_jobs": 20}])] = (
        None
    )

    def __post_init__(self) -> None:
        for field in ("owner", "name"):
            text = getattr(self, field)
            if len(text) > LONGEST_LABEL or not _LABEL.fullmatch(text):
                raise InvalidFieldError(
                    f"`{field}` must have 1 to {LONGEST_LABEL} characters, one of them visible, "
                    "and neither line breaks nor control characters.",
                    field=field,
                )


class RotationRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a key gets its new secret."""

    overlap_seconds: Annotated[
        Annotated[int, Meta(ge=0, le=LONGEST_OVERLAP_SECONDS)],
        Meta(description="How long the secret that it has now still holds.", examples=[SECONDS_PER_DAY]),
    ] = SECONDS_PER_DAY


class LimitsView(msgspec.Struct, frozen=True, kw_only=True):
    """What a key may use; null: as much as the service's settings give to each."""

    requests_per_minute: Annotated[int | None, Meta(description="Most requests within a minute.", examples=[60])]
    requests_per_hour: Annotated[int | None, Meta(description="Most requests within an hour.", examples=[1000])]
    concurrent_jobs: Annotated[int | None, Meta(description="Most jobs that wait or run at once.", examples=[20])]
    audio_seconds_per_day: Annotated[
        int | None, Meta(description="Most seconds of audio within a day.", examples=[36_000])
    ]
    highest_priority: Annotated[Priority | None, Meta(description="Highest class of jobs.", examples=["high"])]


class KeyView(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was given out. Its secret is known to nobody but whoever has it."""

    id: Annotated[str, Meta(description="The key's id.", examples=["6d8b1f6e-5a0e-4c43-9c0b-2f1d7f1f8a11"])]
    prefix: Annotated[str, Meta(description="How its secret begins.", examples=["atk_7GhT2kPq"])]
    name: Annotated[str, Meta(description="What it is for.", examples=["nightly import"])]
    owner: Annotated[str, Meta(description="Whose it is.", examples=["acme"])]
    scopes: Annotated[list[Scope], Meta(description="What it is good for.", examples=[["read", "submit"]])]
    limits: Annotated[LimitsView, Meta(description="What it may use.")]
    created_at: Annotated[datetime, Meta(description="When it was made.", examples=["2030-01-01T12:00:00Z"])]
    expires_at: Annotated[
        datetime | None,
        Meta(
            description="From when on it holds no more; null: until it is revoked.", examples=["2030-04-01T12:00:00Z"]
        ),
    ]
    revoked_at: Annotated[datetime | None, Meta(description="When it was revoked.", examples=[None])]
    last_used_at: Annotated[
        datetime | None,
        Meta(description="When it was last used, give or take a minute.", examples=["2030-01-02T08:30:00Z"]),
    ]

    @classmethod
    def of(cls, key: ApiKey) -> "KeyView":
        """Show a key as an admin sees it."""
        return cls(**_shown(key))


class KeySecret(KeyView, frozen=True, kw_only=True):
    """A key with its new secret, which is in this answer and nowhere else."""

    secret: Annotated[
        str,
        Meta(
            description="Send it as `Authorization: Bearer SECRET`. It is never shown again.",
            examples=["atk_7GhT2kPq_<49 letters and digits>"],
        ),
    ]

    @classmethod
    def told(cls, key: ApiKey, secret: str) -> "KeySecret":
        """Show a key with its secret, once."""
        return cls(**_shown(key), secret=secret)


class TicketView(msgspec.Struct, frozen=True, kw_only=True):
    """What a socket or an event stream is opened with instead of a key."""

    ticket: Annotated[
        str,
        Meta(description="Good for one connection, which may read.", examples=["att_<43 letters and digits>"]),
    ]
    expires_at: Annotated[datetime, Meta(description="Until when it may be used.", examples=["2030-01-01T12:00:30Z"])]

    @classmethod
    def of(cls, ticket: Ticket) -> "TicketView":
        """Show a ticket to whoever asked for it."""
        return cls(ticket=ticket.text, expires_at=ticket.expires_at)


def _shown(key: ApiKey) -> dict[str, Any]:
    limits = LimitsView(**msgspec.structs.asdict(key.limits))
    return msgspec.structs.asdict(key) | {"scopes": sorted(key.scopes), "limits": limits}
