"""The wire: a transcript by mail."""

import re
from typing import Annotated

import msgspec
from msgspec import Meta

from audio_text.domain.mail import MailFormat
from audio_text.errors import InvalidRequestError

# Plain on purpose: the mail server is the judge, this only stops what is no address at all.
_ATOM = r"[^\s@<>(),;:\"\[\]\\.\x00-\x1f\x7f-\x9f\ufeff]+"
_ADDRESS = re.compile(rf"{_ATOM}(\.{_ATOM})*@{_ATOM}(\.{_ATOM})+")
_LONGEST_ADDRESS = 254  # RFC 5321, 4.5.3.1.3


class EmailRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where to send a transcript, and as what."""

    email: Annotated[
        str,
        Meta(
            description="One address.",
            examples=["ada@example.org"],
            extra_json_schema={"maxLength": _LONGEST_ADDRESS, "pattern": f"^{_ADDRESS.pattern}$"},
        ),
    ]
    formats: Annotated[
        tuple[MailFormat, ...],
        Meta(
            description="What is attached; `[]`: nothing. The mail itself shows the text, or its beginning.",
            examples=[["text", "vtt"]],
            max_length=len(MailFormat),
        ),
    ] = (MailFormat.text, MailFormat.srt)

    def __post_init__(self) -> None:
        if len(self.email) > _LONGEST_ADDRESS or not _ADDRESS.fullmatch(self.email):
            raise InvalidRequestError("`email` is not an e-mail address such as ada@example.org.")


class EmailAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The mail is stored, and sent until the mail server takes it or refuses it for good."""

    success: Annotated[bool, Meta(description="Always true: failures are problems.", examples=[True])]
    message: Annotated[str, Meta(description="A sentence.", examples=["The transcript is on its way."])]
