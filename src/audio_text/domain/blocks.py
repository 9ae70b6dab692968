"""How a long recording is cut into blocks, and what one block hands to the next."""

from collections.abc import Iterable, Sequence

from audio_text.domain.transcript import Segment

WINDOW_SECONDS = 30
"""What Whisper hears at once: the most that a worker has decoded and not stored when it dies."""

PROMPT_TOKENS = 223
"""Most tokens of earlier text that Whisper is shown: half of its 448 positions, less one."""

PROMPT_RESET_TEMPERATURE = 0.5
"""Text that was sampled warmer than this is not trusted to lead what follows (faster-whisper's default)."""

SPEECH_PROBABILITY = 0.35
"""Above this a frame counts as speech; Silero's threshold for the end of speech."""


def prompt_tokens(segments: Iterable[Segment], *, before: Sequence[int] = ()) -> tuple[int, ...]:
    """The tokens that faster-whisper shows the model after these segments, `before` being those ahead of them."""
    tokens = tuple(before)
    for segment in segments:
        tokens = () if segment.temperature > PROMPT_RESET_TEMPERATURE else (tokens + segment.tokens)[-PROMPT_TOKENS:]
    return tokens[-PROMPT_TOKENS:]


def keeps_prompt(segments: Iterable[Segment]) -> bool:
    """Whether the prompt that was there before these segments still leads what follows, as far as there is room."""
    return all(segment.temperature <= PROMPT_RESET_TEMPERATURE for segment in segments)


def longest_pause(speech: Sequence[float]) -> range:
    """The longest run of frames that hold no speech, given each frame's probability of it; the last of equals."""
    longest = range(0)
    first = 0
    for index, probability in enumerate(speech):
        if probability > SPEECH_PROBABILITY:
            first = index + 1
        elif index + 1 - first >= len(longest):
            longest = range(first, index + 1)
    return longest


class Progress:
    """Keeps what is told about the progress from going back, while the length of the audio is only an estimate."""

    def __init__(self) -> None:
        self._position = 0.0
        self._share = 0.0

    def at(self, position: float, duration: float) -> tuple[float, float]:
        """(position, duration) to tell, in seconds: never an earlier position nor a smaller share than before."""
        self._position = position = max(position, self._position)
        duration = max(position, duration)
        if self._share > 0:
            # the margin keeps rounding from taking back what was said
            duration = max(position, min(duration, position / self._share * (1 - 1e-9)))
        self._share = position / duration if duration > 0 else 0.0
        return position, duration
