"""What a recording is, before anybody decodes it."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from audio_text.domain.transcript import AudioFacts


class AudioProbe(Protocol):
    """Looks into a container without decoding it."""

    async def probe(self, read_range: Callable[[int, int], Awaitable[bytes]], size_bytes: int) -> AudioFacts:
        """Read as little as possible of the object. Raises InvalidAudioError, EmptyAudioError, NoSoundTrackError."""
        ...
