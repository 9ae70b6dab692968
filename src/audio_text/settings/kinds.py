"""What a section is, and the kinds of value that several of them hold."""

from typing import Annotated

import msgspec
from msgspec import Meta

from audio_text.domain.usage import SECONDS_PER_DAY

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
Name = Annotated[str, Meta(min_length=1)]
Url = Annotated[
    str, Meta(pattern=r"^(https?://\S+)?\Z", description="an address that begins with http:// or https://, or empty")
]

MOST_SECONDS = 2**31 - 1
"""What the column holds: 68 years."""

MOST_DAYS = MOST_SECONDS // SECONDS_PER_DAY


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of settings.toml: immutable, every key known."""
