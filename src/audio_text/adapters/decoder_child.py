"""The decoder's child process: it waits until it is given one open recording, and sends its sound.

A process of its own for each recording, because decoders are C that was never meant for strangers' bytes: what they
take, break or try to open ends here, and the worker with its models and other jobs goes on (ADR 0014).
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import IO, BinaryIO, cast

from audio_text.adapters.confinement import Confinement
from audio_text.adapters.decoder_protocol import (
    LONGEST_FRAME,
    LONGEST_PIECE,
    RECORDING,
    Failed,
    Fault,
    Finished,
    FromChild,
    Hear,
    Opened,
    Piece,
    decode_from_parent,
)
from audio_text.adapters.frames import LENGTH, body_length, frame
from audio_text.adapters.sound_track import SAMPLE_BYTES, open_file
from audio_text.errors import EmptyAudioError, NoSoundTrackError, TransientError

MEMORY_BYTES = 384 * 1024 * 1024
"""More than the probe allows for an index, and some for decoding."""

CPU_SECONDS = 10
"""For opening the file, and again for each packet of it; an honest one takes a millisecond."""

PULSE_SECONDS = 1.0


def main() -> None:
    """Serve the socket that the first argument names, with the file that comes over it."""
    confinement = Confinement()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        _, files, _, _ = socket.recv_fds(connection, len(RECORDING), 1)
        if not files:
            return  # nobody wants anything of it any more
        _serve_confined(connection, files[0], confinement)


def _serve_confined(connection: socket.socket, descriptor: int, confinement: Confinement) -> None:
    with os.fdopen(descriptor, "rb") as file:
        confinement.close_doors()
        confinement.limit_memory(MEMORY_BYTES)
        serve(connection, file, alive=lambda: confinement.limit_time(CPU_SECONDS))


def serve(connection: socket.socket, file: IO[bytes], *, alive: Callable[[], None]) -> None:
    """Tell what the file is and send what is heard, until all is said or the parent hangs up.

    `alive` is called before each step that ought to be short.
    """
    stream = cast("BinaryIO", connection.makefile("rwb"))

    def send(message: FromChild) -> None:
        stream.write(frame(message))
        stream.flush()

    with suppress(BrokenPipeError, ConnectionResetError), stream:
        alive()
        try:
            _decode(file, stream, send=send, alive=alive)
        except (BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:  # noqa: BLE001 -- whatever PyAV makes of a stranger's bytes
            send(Failed(_fault(error), f"{type(error).__name__}: {error}"[:500]))


def _decode(file: IO[bytes], stream: BinaryIO, *, send: Callable[[FromChild], None], alive: Callable[[], None]) -> None:
    pulse = _Pulse(send)

    def step() -> None:
        alive()
        pulse.beat()

    with open_file(file, alive=step) as track:
        send(Opened(track.channel_count, track.stated_seconds))
        wanted = _receive(stream)
        if wanted is None:
            return
        channels = track.channel_count if wanted.by_channel else 1
        for sound in track.samples(wanted.begin, skip=wanted.skip, by_channel=wanted.by_channel):
            for part in _parts(sound, channels):
                pulse.send(Piece(part, track.bytes_read))
    send(Finished())


class _Pulse:
    """Sends pieces, and a sign of life where there are none for a second: what comes before a late begin takes time."""

    def __init__(self, send: Callable[[FromChild], None]) -> None:
        self._send = send
        self._bytes_read = 0
        self._sent_at = time.monotonic()

    def send(self, piece: Piece) -> None:
        self._send(piece)
        self._bytes_read = piece.bytes_read
        self._sent_at = time.monotonic()

    def beat(self) -> None:
        if time.monotonic() - self._sent_at > PULSE_SECONDS:
            self.send(Piece(b"", self._bytes_read))


def _receive(stream: BinaryIO) -> Hear | None:
    header = stream.read(LENGTH.size)
    return (
        decode_from_parent(stream.read(body_length(header, longest=LONGEST_FRAME)))
        if len(header) == LENGTH.size
        else None
    )


def _parts(sound: bytes, channels: int) -> Iterator[bytes]:
    """Pieces of which each fits a frame, and none cuts a moment in two."""
    moment = SAMPLE_BYTES * channels
    step = LONGEST_PIECE // moment * moment
    return (sound[start : start + step] for start in range(0, len(sound) or 1, step))


def _fault(error: Exception) -> Fault:
    match error:
        case EmptyAudioError():
            return Fault.empty
        case NoSoundTrackError():
            return Fault.no_sound_track
        case TransientError():
            return Fault.unreadable
        case _:
            return Fault.invalid


if __name__ == "__main__":
    main()
