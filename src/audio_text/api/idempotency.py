"""The header under which a client submits something once, however often it sends it."""

import re
from typing import Annotated

from litestar.openapi.spec import Example
from litestar.params import HeaderParameter

from audio_text.errors import InvalidFieldError

KEY_HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotent-Replayed"

_PATTERN = "^[\x21-\x7e]{1,255}$"

GivenKey = Annotated[
    str | None,
    HeaderParameter(
        name=KEY_HEADER,
        pattern=_PATTERN,
        description="A word of your own for this submission, best a random UUID: at most 255 printable characters "
        "without spaces. Sent again with the same body, it leads to the same job and the same answer, for a day unless "
        "the service is set otherwise; with another body it is refused.",
        examples=[Example(value="8e03978e-40d5-43e8-bc93-6894a57f9324")],
    ),
]


def checked_key(given: str | None) -> str | None:
    """Give the key back if it is one; None where none was given. Raises InvalidFieldError."""
    if given is not None and not re.fullmatch(_PATTERN, given):
        raise InvalidFieldError(
            f"`{KEY_HEADER}` must be 1 to 255 printable characters without spaces.", field=KEY_HEADER
        )
    return given
