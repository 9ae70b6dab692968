"""A recording is sent to where the service wants it."""

import msgspec

from audio_text.client.answers import Upload, decoded
from audio_text.client.recording import Recording
from audio_text.client.session import Session


class _Target(msgspec.Struct, frozen=True):
    url: str
    headers: dict[str, str] = {}


async def send(session: Session, recording: Recording) -> Upload:
    """Ask where to upload, and do it. A stream that cannot be rewound is sent once."""
    declared = {
        "filename": recording.filename,
        "content_type": recording.content_type,
        "file_size": recording.size,
    }
    answer = await session.call("POST", "/api/v1/audio/presigned-url", body=declared)
    target = decoded(answer.content, _Target)
    headers = {"Content-Type": recording.content_type} if recording.content_type else {}
    headers |= target.headers | {"Content-Length": str(recording.size)}
    await session.send("PUT", target.url, headers=headers, content=recording.chunks, may_repeat=recording.is_repeatable)
    return Upload(url=target.url, filename=recording.filename)
