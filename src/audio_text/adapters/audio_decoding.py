"""Sound tracks as the engine hears them: a confined child process decodes each recording (ADR 0014)."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Self

import numpy as np
import structlog
from numpy.typing import NDArray

from audio_text.adapters.decoder_protocol import (
    LONGEST_FRAME,
    Failed,
    Fault,
    FromChild,
    Hear,
    Opened,
    Piece,
    decode_from_child,
)
from audio_text.adapters.frames import LENGTH, body_length, frame
from audio_text.errors import (
    AudioTextError,
    EmptyAudioError,
    EngineMemoryError,
    InvalidAudioError,
    NoSoundTrackError,
    TransientError,
)

log = structlog.get_logger(__name__)

Samples = NDArray[np.int16]
"""One after the other; of several channels, a row for each."""

SAMPLE_RATE = 16_000
"""What Whisper hears."""

SILENT_PEAK = 4
"""Samples that never go beyond it are silence that went through a codec: 78 dB below the loudest there can be."""

CHILD_MODULE = "audio_text.adapters.decoder_child"

PATIENCE_SECONDS = 120.0
"""Wall time between two signs of life of a child; what keeps it busy for 10 s of CPU ends it before."""

LAST_BREATH_SECONDS = 5.0
"""How long a child whose socket closed may take to be gone."""

OUR_KILLS = frozenset({-signal.SIGKILL, -signal.SIGTERM})
"""What ends a child from outside, the kernel that is out of memory among it: not the recording's fault."""


@contextmanager
def open_sound_track(path: Path) -> Generator["SoundTrack"]:
    """Open the first sound track of a file, in a child process that ends with this context.

    Raises EmptyAudioError, NoSoundTrackError, InvalidAudioError; TransientError when the disk fails or there is no
    child to be had, EngineMemoryError.
    """
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:
                raise EmptyAudioError
            with _Child(file) as child:
                yield SoundTrack(child, file_bytes=os.fstat(file.fileno()).st_size)
    except MemoryError as error:
        raise EngineMemoryError from error
    except OSError as error:
        raise TransientError(f"The recording could not be read: {error.strerror or error}.") from error


class SoundTrack:
    """A sound track that can be heard once, sample for sample as faster_whisper.decode_audio hears it."""

    def __init__(self, child: "_Child", *, file_bytes: int) -> None:
        self._child = child
        self._file_bytes = file_bytes
        self._bytes_read = 0
        match child.receive():
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
        self._child.send(wanted)
        while isinstance(message := self._child.receive(), Piece):
            self._bytes_read = message.bytes_read
            yield np.frombuffer(message.sound, np.int16)


class _Child:
    """The process, and what it says."""

    def __init__(self, file: IO[bytes]) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._socket.settimeout(PATIENCE_SECONDS)
            self._process = subprocess.Popen(  # noqa: S603 -- our own module
                [sys.executable, "-P", "-m", CHILD_MODULE, str(theirs.fileno()), str(file.fileno())],
                # it finds what we found, and none of our secrets
                env={"PYTHONPATH": ":".join(filter(None, sys.path))},
                pass_fds=[theirs.fileno(), file.fileno()],
                stdin=subprocess.DEVNULL,
                # the terminal's Ctrl-C is for us: the child ends when this end of its socket is closed
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._process.kill()
        self._process.wait()

    def send(self, message: Hear) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the answer, or its absence, will tell
            self._socket.sendall(frame(message))

    def receive(self) -> FromChild:
        """The next message. Raises what stands for a failure, and for a child that ended without a word."""
        try:
            message = decode_from_child(self._read(body_length(self._read(LENGTH.size), longest=LONGEST_FRAME)))
        except (EOFError, ConnectionResetError, TimeoutError, ValueError) as error:
            raise self._obituary(error) from error
        if isinstance(message, Failed):
            log.info("recording_not_decoded", fault=message.fault.value, reason=message.reason)
            raise _failure(message)
        return message

    def _read(self, length: int) -> bytes:
        data = bytearray(length)
        view = memoryview(data)
        while view:
            count = self._socket.recv_into(view)
            if not count:
                raise EOFError
            view = view[count:]
        return bytes(data)

    def _obituary(self, error: Exception) -> AudioTextError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LAST_BREATH_SECONDS)
        status = self._process.poll()
        log.warning("decoder_died", status=status, error=type(error).__name__)
        if status is None or status >= 0 or status in OUR_KILLS:
            return TransientError("The recording could not be decoded just now: its decoder was ended.")
        return InvalidAudioError()


def _failure(message: Failed) -> AudioTextError:
    match message.fault:
        case Fault.empty:
            return EmptyAudioError()
        case Fault.no_sound_track:
            return NoSoundTrackError()
        case Fault.invalid:
            return InvalidAudioError()
        case Fault.unreadable:
            return TransientError(message.reason.partition(": ")[2])


def is_silent(samples: Samples) -> bool:
    """Whether there is nothing at all to be heard."""
    return samples.size == 0 or bool(samples.max() <= SILENT_PEAK and samples.min() >= -SILENT_PEAK)
