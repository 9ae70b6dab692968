"""Sound tracks as the engine hears them: a confined child process decodes each recording (ADR 0014)."""

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audio_text.adapters.decoder_protocol import Hear, Opened, Piece
from audio_text.adapters.decoders import Decoder, Decoders
from audio_text.errors import EmptyAudioError, EngineMemoryError, InvalidAudioError, TransientError

Samples = NDArray[np.int16]
"""One after the other; of several channels, a row for each."""

SILENT_PEAK = 4
"""Samples that never go beyond it are silence that went through a codec: 78 dB below the loudest there can be."""


@contextmanager
def open_sound_track(path: Path, decoders: Decoders) -> Generator["SoundTrack"]:
    """Open the first sound track of a file, in a child process that ends with this context.

    Raises EmptyAudioError, NoSoundTrackError, InvalidAudioError; TransientError when the disk fails or there is no
    child to be had, EngineMemoryError.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise EmptyAudioError
            with decoders.take() as decoder:
                decoder.give(file)
                yield SoundTrack(decoder, file_bytes=os.fstat(file.fileno()).st_size)
    except MemoryError as error:
        raise EngineMemoryError from error
    except OSError as error:
        raise TransientError(f"The recording could not be read: {error.strerror or error}.") from error


class SoundTrack:
    """A sound track that can be heard once, sample for sample as faster_whisper.decode_audio hears it."""

    def __init__(self, decoder: Decoder, *, file_bytes: int) -> None:
        self._decoder = decoder
        self._file_bytes = file_bytes
        self._bytes_read = 0
        match decoder.receive():
            case Opened(channels=channels, stated_seconds=stated_seconds):
                self.channel_count = channels
                """How many channels it has, as its beginning says."""
                self._stated_seconds = stated_seconds
            case _:
                raise InvalidAudioError

    def estimated_seconds(self, decoded_seconds: float) -> float:
        """The track's length: what the container says, else what the part of the file read so far suggests."""
        stated = self._stated_seconds
        if stated is None:
            stated = decoded_seconds * self._file_bytes / max(1, self._bytes_read)
        return max(stated, decoded_seconds)

    def samples(self, begin: float = 0.0, *, skip: int = 0) -> Iterator[Samples]:
        """The track from `begin` seconds on, about a second at a time; a later begin is met to one sample.

        Of that, the first `skip` samples are left out, which are decoded all the same: what comes after them is, bit
        for bit, what it is without. Decoders and resamplers remember too much to be set down anywhere else.

        Raises InvalidAudioError when next to nothing can be decoded, EmptyAudioError when there is nothing to decode.
        """
        return self._pieces(Hear(begin, skip, by_channel=False))

    def channels(self, begin: float = 0.0, *, skip: int = 0) -> Iterator[Samples]:
        """As `samples`, but each channel by itself: as many rows as there are channels."""
        count = self.channel_count
        return (piece.reshape(-1, count).T for piece in self._pieces(Hear(begin, skip, by_channel=True)))

    def _pieces(self, wanted: Hear) -> Iterator[Samples]:
        self._decoder.send(wanted)
        while isinstance(message := self._decoder.receive(), Piece):
            self._bytes_read = message.bytes_read
            yield np.frombuffer(message.sound, np.int16)


def is_silent(samples: Samples) -> bool:
    """Whether there is nothing at all to be heard."""
    return samples.size == 0 or bool(samples.max() <= SILENT_PEAK and samples.min() >= -SILENT_PEAK)
