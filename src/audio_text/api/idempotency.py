"""The header under which a client submits something once, however often it sends it."""

import re
from typing import Annotated

from litestar.openapi.spec import Example
from litestar.params import HeaderParameter

from audio_text.domain.access import Caller
from audio_text.domain.idempotency import IdempotencyKey
from audio_text.errors import InvalidFieldError
from audio_text.settings import Settings

KEY_HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotent-Replayed"

_PATTERN = "^[\x21-\x7e]{1,255}$"

_WHAT = (
    "A word of your own for this submission, best a random UUID: at most 255 printable characters without spaces. "
    "Sent again with the same body, it leads to "
)


def _header(outcome: str) -> HeaderParameter:
    return HeaderParameter(
        name=KEY_HEADER,
        pattern=_PATTERN,
        description=f"{_WHAT}{outcome}; with another body it is refused.",
        examples=[Example(value="8e03978e-40d5-43e8-bc93-6894a57f9324")],
    )


GivenKey = Annotated[
    str | None, _header("the same job and the same answer, for a day unless the service is set otherwise")
]
GivenBatchKey = Annotated[str | None, _header("the same batch, as it is by then, for as long as that is there")]


def checked_key(given: str | None) -> str | None:
    """Give the key back if it is one; None where none was given. Raises InvalidFieldError."""
    if given is not None and not re.fullmatch(_PATTERN, given):
        raise InvalidFieldError(
            f"`{KEY_HEADER}` must be 1 to 255 printable characters without spaces.", field=KEY_HEADER
        )
    return given


def key_of(text: str, fingerprint: str, *, settings: Settings, caller: Caller) -> IdempotencyKey:
    """Make it a key of the caller's, for as long as the settings say."""
    seconds = settings.job.idempotency_seconds
    return IdempotencyKey(text=text, fingerprint=fingerprint, seconds=seconds, owner=caller.owner)
