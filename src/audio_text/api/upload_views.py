"""The wire: uploads, whole and in parts."""

import re
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from audio_text.api.dto import NAME, check_name
from audio_text.domain.multipart import MAX_PART_BYTES, MIN_PART_BYTES, MOST_PARTS
from audio_text.errors import InvalidRequestError
from audio_text.ports import UploadTarget
from audio_text.services.multipart import UploadState

MOST_LINKS = 100
"""Signed in one request."""

PartNumber = Annotated[int, Meta(ge=1, le=MOST_PARTS)]

CONTENT_TYPE_PATTERN = r"^[\x20-\x7e]{0,255}$"


class UploadRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file that a client wants to upload."""

    filename: Annotated[
        str,
        Meta(
            description="The file's name; its extension decides whether it is accepted.",
            examples=["talk.m4a"],
            extra_json_schema=NAME,
        ),
    ]
    content_type: Annotated[
        Annotated[str, Meta(extra_json_schema={"pattern": CONTENT_TYPE_PATTERN})] | None,
        Meta(
            description="What the PUT will send as Content-Type, as the browser says it; empty when it does not know.",
            examples=["audio/mp4"],
        ),
    ] = None
    file_size: Annotated[
        int,
        Meta(description="Exact size of the file in bytes.", examples=[1_048_576], extra_json_schema={"minimum": 1}),
    ]
    sha256: Annotated[
        Annotated[str, Meta(pattern="^[0-9A-Fa-f]{64}$", max_length=64)] | None,
        Meta(
            description="SHA-256 of the file, in hexadecimal. One with another is refused, or its job fails: "
            "`checksum_mismatch`.",
            examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
        ),
    ] = None

    def __post_init__(self) -> None:
        check_name(self.filename)
        if self.content_type and not re.fullmatch(CONTENT_TYPE_PATTERN, self.content_type):
            raise InvalidRequestError("`content_type` is not a media type such as audio/mpeg.")
        if self.file_size < 0:
            raise InvalidRequestError("`file_size` is the size of the file in bytes and cannot be negative.")


class UploadAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send the file: one PUT of the raw bytes, with these headers."""

    url: Annotated[
        str,
        Meta(
            description="PUT the raw bytes here, and pass it as `url` to /job/transcribe unchanged.",
            examples=["https://store.example/audio-text/uploads/2b/2b9c.m4a?X-Amz-Signature=6f1e"],
        ),
    ]
    method: Annotated[str, Meta(description="The method to send it with.", examples=["PUT"])] = "PUT"
    headers: Annotated[
        dict[str, str],
        Meta(description="Headers that the upload must carry.", examples=[{"Content-Type": "audio/mp4"}]),
    ]
    expires_at: Annotated[
        datetime, Meta(description="Until when the url may be used.", examples=["2030-01-01T13:00:00Z"])
    ]

    @classmethod
    def of(cls, target: UploadTarget) -> "UploadAnswer":
        """Show a target as clients see it."""
        return cls(url=target.url, headers=target.headers, expires_at=target.expires_at)


class MultipartRequest(UploadRequest, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file that a client wants to upload in parts."""

    part_size: Annotated[
        Annotated[int, Meta(ge=MIN_PART_BYTES, le=MAX_PART_BYTES)] | None,
        Meta(
            description="Bytes of every part but the last, 5 MiB to 5 GiB, with at most 10,000 parts. Left out: "
            "16 MiB, or as much as makes 1,000 parts.",
            examples=[16_777_216],
        ),
    ] = None


class ReceivedPart(msgspec.Struct, frozen=True, kw_only=True):
    """A part that the store has."""

    number: Annotated[int, Meta(description="Parts count from 1.", examples=[1])]
    size: Annotated[int, Meta(description="Its bytes.", examples=[16_777_216])]


class UploadView(msgspec.Struct, frozen=True, kw_only=True):
    """An upload in parts, as it stands."""

    id: Annotated[
        str,
        Meta(
            description="Names the upload in its addresses; a secret, as its links are.",
            examples=["kzV0b2tlbi1vZi1hbi11cGxvYWQ"],
        ),
    ]
    url: Annotated[
        str,
        Meta(
            description="Pass it as `url` to /job/transcribe, once the upload is complete.",
            examples=["https://store.example/audio-text/uploads/2b/2b9c.wav"],
        ),
    ]
    file_size: Annotated[int, Meta(description="Bytes of the file.", examples=[5_368_709_120])]
    sha256: Annotated[str | None, Meta(description="The file's SHA-256, if it was declared.", examples=[None])]
    part_size: Annotated[int, Meta(description="Bytes of every part but the last.", examples=[16_777_216])]
    part_count: Annotated[int, Meta(description="How many parts the file has.", examples=[320])]
    expires_at: Annotated[
        datetime, Meta(description="Until when it has to be complete.", examples=["2030-01-02T12:00:00Z"])
    ]
    is_complete: Annotated[bool, Meta(description="Whether the file is there.", examples=[False])]
    parts: Annotated[
        list[ReceivedPart],
        Meta(description="Parts that are there, by number.", examples=[[{"number": 1, "size": 16_777_216}]]),
    ]

    @classmethod
    def of(cls, state: UploadState) -> "UploadView":
        """Show an upload as clients see it."""
        upload = state.upload
        return cls(
            id=state.id,
            url=state.url,
            file_size=upload.size_bytes,
            sha256=upload.sha256 or None,
            part_size=upload.part_size,
            part_count=upload.part_count,
            expires_at=datetime.fromtimestamp(upload.expires, UTC),
            is_complete=state.is_complete,
            parts=[ReceivedPart(number=number, size=upload.size_of(number)) for number in state.received],
        )


class PartsRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Parts that a client wants to send next."""

    numbers: Annotated[
        list[PartNumber],
        Meta(min_length=1, max_length=MOST_LINKS, description="Their numbers, from 1.", examples=[[1, 2, 3]]),
    ]


class PartLink(UploadAnswer, frozen=True, kw_only=True):
    """Where to send one part: one PUT of its raw bytes, with these headers."""

    number: Annotated[int, Meta(description="The part.", examples=[1])]


class PartLinks(msgspec.Struct, frozen=True, kw_only=True):
    """Where to send parts."""

    parts: Annotated[list[PartLink], Meta(description="A link for each number, in the order that was asked for.")]

    @classmethod
    def of(cls, numbers: list[int], targets: list[UploadTarget]) -> "PartLinks":
        """Show links as clients see them."""
        links = [
            PartLink(number=number, url=target.url, headers=target.headers, expires_at=target.expires_at)
            for number, target in zip(numbers, targets, strict=True)
        ]
        return cls(parts=links)
