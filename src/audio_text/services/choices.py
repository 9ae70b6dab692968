"""What a client chose, laid over what holds otherwise."""

from typing import cast

import msgspec

from audio_text.domain.options import Channels, TranscriptionOptions
from audio_text.domain.transcript import AudioFacts
from audio_text.errors import InvalidRequestError, TooManyChannelsError


def chosen_options(otherwise: TranscriptionOptions, changes: dict[str, object]) -> TranscriptionOptions:
    """Give the complete options with the changes in them, which go by field name. Raises InvalidRequestError."""
    try:
        options = msgspec.convert(_merged(msgspec.to_builtins(otherwise), changes), TranscriptionOptions)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(f"These options are not usable: {error}.") from error
    end = options.clip_end_seconds
    if end is not None and end <= options.clip_start_seconds:
        raise InvalidRequestError("clip_end_seconds must be greater than clip_start_seconds.")
    return options


def check_channels(facts: AudioFacts, options: TranscriptionOptions, *, most: int) -> None:
    """Raise TooManyChannelsError for a recording whose channels are wanted separately and are more."""
    if options.channels is Channels.separate and facts.channels > most:
        raise TooManyChannelsError.of(facts.channels, most)


def _merged(otherwise: dict[str, object], changes: dict[str, object]) -> dict[str, object]:
    # The one nested table is merged key by key, so that a job may change a single threshold.
    vad = cast("dict[str, object]", otherwise["vad"])
    changed_vad = cast("dict[str, object]", changes.get("vad") or {})
    return otherwise | changes | {"vad": vad | changed_vad}
