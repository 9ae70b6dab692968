"""What a container may say of itself: the checks that API and worker both make before anything is decoded."""

import av.audio.codeccontext
import av.subtitles.codeccontext
import av.subtitles.stream
import av.video.codeccontext
import av.video.stream
from av.audio.stream import AudioStream
from av.container import InputContainer

from audio_text.domain.media import CODECS, MOST_CHANNELS, SAMPLE_RATES
from audio_text.errors import InvalidAudioError

LATE_MODULES = (
    *(av.audio.codeccontext, av.video.codeccontext, av.video.stream),
    *(av.subtitles.codeccontext, av.subtitles.stream),
)
"""What PyAV would import when it meets such a stream: a confined process cannot open the files of modules any more."""

UNTIMED_CONTAINERS = frozenset({"aac"})
"""Raw streams: what FFmpeg says of their length is a guess from the bit rate of the first second."""

HARMLESS_SAMPLES = 1_000_000
"""An index entry takes 24 to 48 bytes."""


def promises_too_much(container: InputContainer, size_bytes: int) -> bool:
    """Whether an index claims more samples than bytes, or had no room in our memory: then a decoder is no safer."""
    most = max(size_bytes, HARMLESS_SAMPLES)
    return any(
        stream.frames > most or (stream.frames > 0 and len(stream.index_entries) == 0) for stream in container.streams
    )


def require_possible_sound(stream: AudioStream) -> None:
    """Raises InvalidAudioError for a codec that is not decoded here, and for a rate or channels that no sound has."""
    codec = stream.codec_context
    # None, against PyAV's annotation, where FFmpeg has no decoder for it
    if codec is None:  # pyright: ignore[reportUnnecessaryComparison] -- see above
        raise InvalidAudioError
    is_known = codec.codec.canonical_name in CODECS
    if not is_known or codec.sample_rate not in SAMPLE_RATES or not 0 < codec.channels <= MOST_CHANNELS:
        raise InvalidAudioError
