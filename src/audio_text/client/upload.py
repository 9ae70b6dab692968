"""A recording is sent to where the service wants it: in one piece, or a large one in parts."""

from functools import partial
from urllib.parse import quote

import msgspec

from audio_text.client.answers import Upload, decoded
from audio_text.client.recording import Recording
from audio_text.client.session import Session

LARGEST_PIECE_BYTES = 64 * 1024 * 1024
"""More is sent in parts: when one breaks off, only that is sent again."""

LINKS_AT_ONCE = 10
"""Asked for as they are needed: each holds for a while only."""


class _Target(msgspec.Struct, frozen=True):
    url: str
    headers: dict[str, str] = {}


class _Parts(msgspec.Struct, frozen=True):
    parts: tuple[_Target, ...]


class _Begun(msgspec.Struct, frozen=True):
    id: str
    url: str
    part_size: int
    part_count: int


async def send(session: Session, recording: Recording, *, sha256: str | None) -> Upload:
    """Ask where to upload, and do it. What comes from a stream that cannot be rewound is sent once."""
    declared: dict[str, object] = {
        "filename": recording.filename,
        "content_type": recording.content_type,
        "file_size": recording.size,
    }
    if sha256 is not None:
        declared["sha256"] = sha256
    if recording.size > LARGEST_PIECE_BYTES:
        return await _send_parts(session, recording, declared)
    answer = await session.call("POST", "/api/v1/audio/presigned-url", body=declared)
    target = decoded(answer.content, _Target)
    headers = {"Content-Type": recording.content_type} if recording.content_type else {}
    await _put(session, recording, msgspec.structs.replace(target, headers=headers | target.headers))
    return Upload(url=target.url, filename=recording.filename)


async def _send_parts(session: Session, recording: Recording, declared: dict[str, object]) -> Upload:
    answer = await session.call("POST", "/api/v1/audio/uploads", body=declared)
    begun = decoded(answer.content, _Begun)
    path = f"/api/v1/audio/uploads/{quote(begun.id, safe='')}"
    numbers = range(1, begun.part_count + 1)
    for first in range(0, begun.part_count, LINKS_AT_ONCE):
        chosen = list(numbers[first : first + LINKS_AT_ONCE])
        answer = await session.call("POST", f"{path}/parts", body={"numbers": chosen})
        for number, target in zip(chosen, decoded(answer.content, _Parts).parts, strict=True):
            start = (number - 1) * begun.part_size
            length = min(begun.part_size, recording.size - start)
            await _put(session, recording, target, start=start, length=length)
    await session.call("POST", f"{path}/complete")
    return Upload(url=begun.url, filename=recording.filename)


async def _put(
    session: Session, recording: Recording, target: _Target, *, start: int = 0, length: int | None = None
) -> None:
    size = recording.size if length is None else length
    await session.send(
        "PUT",
        target.url,
        headers=target.headers | {"Content-Length": str(size)},
        content=partial(recording.chunks, start, length),
        may_repeat=recording.is_repeatable,
    )
