"""A multipart form, read as it arrives: the file goes to the store piece by piece, fields are small."""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Protocol, cast

from litestar import Request
from multipart import (  # pyright: ignore[reportMissingTypeStubs] -- it ships none; typed by the Protocol below
    MultipartError,
    MultipartSegment,
    PushMultipartParser,
    parse_options_header,  # pyright: ignore[reportUnknownVariableType] -- as above
)

from audio_text.api.dto import LONGEST_NAME
from audio_text.errors import InvalidFieldError, InvalidRequestError
from audio_text.services.uploads import Recording, UploadService

MEDIA_TYPE = "multipart/form-data"
FILE = "file"

LARGEST_TEXT_BYTES = 131_072
"""Of all fields together; the longest that is of use is a prompt of 4,000 characters."""

MOST_PARTS = 256
"""An array comes as a part for each of its items."""

MOST_HEADERS, LARGEST_HEADER_BYTES = 8, 4_096
"""Of a part; browsers send two short ones."""

LONGEST_BOUNDARY = 200
"""RFC 2046 allows 70 characters."""


class _Part(Protocol):
    """What a MultipartSegment says of itself."""

    name: str
    filename: str | None
    content_type: str | None


Event = MultipartSegment | bytes | None
"""A part begins; some of its content; it ends."""

_NOT_IN_A_NAME = re.compile(r"[\x00-\x1f\x7f]")
_FOLDERS = re.compile(r".*[/\\]", re.DOTALL)


class Form:
    """The form of one request: its fields in their order, and the recording once it is stored."""

    def __init__(self, request: Request[Any, Any, Any], uploads: UploadService, *, owner: str | None) -> None:
        self.fields: list[tuple[str, str]] = []
        self.recording: Recording | None = None
        self._text_bytes = 0
        self._request = request
        self._uploads = uploads
        self._owner = owner

    async def read(self) -> None:
        """Read all of it, once. Raises InvalidRequestError for what is no form, and what storing the file raises.

        A recording that is stored by then stays so: `discard` it.
        """
        async with aclosing(self._events()) as events:
            async for event in events:
                if isinstance(event, MultipartSegment):
                    await self._take(cast("_Part", event), _content(events))

    async def discard(self) -> None:
        """Remove the recording, if there is one."""
        if self.recording is not None:
            await self._uploads.discard(self.recording)

    async def _take(self, part: _Part, content: AsyncIterator[bytes]) -> None:
        if part.name != FILE:
            self.fields.append((part.name, await self._text(part.name, content)))
            return
        if self.recording is not None:
            raise InvalidFieldError("`file` was sent twice: a request is for one recording.", field=FILE)
        self.recording = await self._uploads.receive(
            filename=_plain(part.filename or ""), content_type=part.content_type, body=content, owner=self._owner
        )

    async def _text(self, name: str, content: AsyncIterator[bytes]) -> str:
        data = bytearray()
        async for piece in content:
            data += piece
            self._text_bytes += len(piece)
            if self._text_bytes > LARGEST_TEXT_BYTES:
                raise InvalidRequestError(f"The form has more than {LARGEST_TEXT_BYTES} bytes beside its file.")
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise InvalidFieldError(f"`{name[:100]}` is not UTF-8 text.", field=name[:100]) from error
        if "\x00" in text or "\x00" in name:
            raise InvalidFieldError(f"`{name[:100]}` holds a NUL character, which no text needs.", field=name[:100])
        return text

    async def _events(self) -> AsyncGenerator[Event, None]:
        boundary = _boundary(self._request.headers.get("content-type", ""))
        try:
            with PushMultipartParser(
                boundary,
                max_header_size=LARGEST_HEADER_BYTES,
                max_header_count=MOST_HEADERS,
                max_segment_count=MOST_PARTS,
            ) as parser:
                async for chunk in self._request.stream():
                    for event in parser.parse(chunk):
                        yield event
        except MultipartError as error:
            raise InvalidRequestError(f"The body is not a form that can be read: {error}.") from error


def _boundary(content_type: str) -> str:
    kind, options = cast("tuple[str, dict[str, str]]", parse_options_header(content_type))
    boundary = options.get("boundary", "")
    if kind != MEDIA_TYPE or not boundary:
        raise InvalidRequestError(f"The body has to be a form: Content-Type: {MEDIA_TYPE}; boundary=...")
    if len(boundary) > LONGEST_BOUNDARY or not boundary.isascii() or not boundary.isprintable():
        raise InvalidRequestError("The form's boundary is not one that RFC 2046 allows.")
    return boundary


async def _content(events: AsyncIterator[Event]) -> AsyncGenerator[bytes, None]:
    """What is in the part that has just begun."""
    async for event in events:
        if not isinstance(event, bytes | bytearray):
            return
        yield bytes(event)


def _plain(filename: str) -> str:
    """The name without folders and control characters: only a label."""
    return _NOT_IN_A_NAME.sub("", _FOLDERS.sub("", filename))[-LONGEST_NAME:].strip()
