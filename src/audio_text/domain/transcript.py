"""What a recording says: words, segments and the facts about the audio they came from."""

import msgspec


class Word(msgspec.Struct, frozen=True, kw_only=True):
    """One word; `start` and `end` in seconds from the beginning of the recording."""

    start: float
    end: float
    word: str
    probability: float


class Segment(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of speech, with Whisper's own scores for it.

    `id` counts from 0 without gaps within a job; `start` and `end` are seconds from the beginning
    of the recording; `seek` is the 10-ms frame at which its decoding window began. `channel` counts from 1;
    None where all channels were heard as one.
    """

    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: tuple[int, ...]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: tuple[Word, ...] | None = None
    channel: int | None = None


class NextWindow(msgspec.Struct, frozen=True, kw_only=True):
    """Where the model goes on within a block: all windows before it are decoded, and their segments stored.

    `seek` is where its next window begins, counted as `Segment.seek` is. `spoken_until` is where the last word ended
    that was given a time, in seconds of what the model heard of the block (0: none). `position` is that of the
    chunk it came with: a row that is at another one was written by code that knows nothing of windows.
    """

    seek: int
    spoken_until: float = 0.0
    position: float = 0.0


class ChannelProgress(msgspec.Struct, frozen=True, kw_only=True):
    """How far one channel is that is transcribed by itself; the rest of the recording is heard from here on.

    `position` and `block_start` are seconds of the recording: what lies before `position` is done and stored, and
    `block_start` is where the block began that it lies in. `duration_after_vad` are seconds of speech up to there.
    `next_window` is where the model goes on in that block (None: at `position`), and of what it hears from there on,
    the first `segments_ahead` segments are stored already.
    """

    channel: int
    position: float
    block_start: float | None = None
    next_window: NextWindow | None = None
    segments_ahead: int = 0
    duration_after_vad: float = 0.0
    language: str | None = None
    language_probability: float | None = None


class AudioFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a container says of itself before anything is decoded. `duration` in seconds, if it says."""

    container: str
    codec: str
    sample_rate: int
    channels: int
    duration: float | None = None


class TranscriptChunk(msgspec.Struct, frozen=True, kw_only=True):
    """News from the engine: segments decoded since the last chunk, and how far it is.

    `position` and `duration` are seconds of what is transcribed: of the clip, when only a clip is wanted.
    `duration` is the best known so far and exact in the last chunk, whose `position` equals it.
    `duration_after_vad` grows with `position`. `block_start`, in seconds of the recording, is where the
    block began whose segments come next, and `next_window` where in it the model goes on (None: at `position`).
    A window's segments come in one chunk. `device` and `compute_type` are the model's, in CTranslate2's spelling.
    Where channels are transcribed separately, `channel_progress` tells of each: then `position` is the earliest of
    theirs, the speech that of all together, and the language that of the channel with most speech.
    """

    segments: tuple[Segment, ...]
    position: float
    duration: float
    duration_after_vad: float
    language: str | None
    language_probability: float | None
    block_start: float | None = None
    next_window: NextWindow | None = None
    device: str | None = None
    compute_type: str | None = None
    channel_progress: tuple[ChannelProgress, ...] | None = None

    @property
    def progress(self) -> float:
        """Percent of the audio that is done, 0-100, one decimal."""
        if self.duration <= 0:
            return 0.0
        return round(min(100.0, 100.0 * self.position / self.duration), 1)
