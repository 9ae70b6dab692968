"""A probe that knows WAV only, and a video by its first bytes."""

import io
import wave
from collections.abc import Awaitable, Callable

from audio_text.domain.transcript import AudioFacts
from audio_text.errors import EmptyAudioError, InvalidAudioError, NoSoundTrackError

HEAD_BYTES = 4096


class FakeProbe:
    """An AudioProbe for tests of services: hand it `media.wav()`, `media.video_without_sound()` or rubbish."""

    async def probe(self, read_range: Callable[[int, int], Awaitable[bytes]], size_bytes: int) -> AudioFacts:
        if size_bytes <= 0:
            raise EmptyAudioError
        head = await read_range(0, min(HEAD_BYTES, size_bytes))
        if head[4:8] == b"ftyp":
            raise NoSoundTrackError
        try:
            with wave.open(io.BytesIO(head)) as file:
                return AudioFacts(
                    container="wav",
                    codec="pcm_s16le",
                    sample_rate=file.getframerate(),
                    channels=file.getnchannels(),
                    duration=(size_bytes - 44) / (file.getframerate() * file.getnchannels() * file.getsampwidth()),
                )
        except (wave.Error, EOFError) as error:
            raise InvalidAudioError from error
