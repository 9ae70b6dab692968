"""The processes that decode recordings, one for each (ADR 0014), as whoever starts them sees them."""

import signal
import socket
import subprocess
import threading
import weakref
from contextlib import suppress
from typing import IO, Self

import structlog

from audio_text.adapters.child_process import start_child
from audio_text.adapters.decoder_protocol import (
    LONGEST_FRAME,
    RECORDING,
    Failed,
    Fault,
    FromChild,
    Hear,
    decode_from_child,
)
from audio_text.adapters.frames import LENGTH, body_length, frame
from audio_text.errors import AudioTextError, EmptyAudioError, InvalidAudioError, NoSoundTrackError, TransientError

log = structlog.get_logger(__name__)

CHILD_MODULE = "audio_text.adapters.decoder_child"

PATIENCE_SECONDS = 120.0
"""Wall time between two signs of life of a child; what keeps it busy for 10 s of CPU ends it before."""

LAST_BREATH_SECONDS = 5.0
"""How long a child whose socket closed may take to be gone."""

OUR_KILLS = frozenset({-signal.SIGKILL, -signal.SIGTERM})
"""What ends a child from outside, the kernel that is out of memory among it: not the recording's fault."""


class Decoders:
    """Gives a new process for each recording: the one that was started ahead, or one that is started now.

    A start takes 70 ms, as long as much of the work on a short recording.
    """

    def __init__(self) -> None:
        self._spares: list[Decoder] = []
        self._starting = threading.Lock()
        weakref.finalize(self, _end_all, self._spares)

    def take(self) -> "Decoder":
        """Give one that has seen no recording yet; whoever takes it ends it. Raises OSError."""
        while self._spares:
            with suppress(IndexError):  # another thread took it
                if (spare := self._spares.pop()).is_alive:
                    return spare
                spare.end()
        return Decoder()

    def start_ahead(self) -> None:
        """Have one waiting for the next recording, if a process is to be had."""
        with self._starting:
            if self._spares:
                return
            try:
                self._spares.append(Decoder())
            except OSError as error:
                log.warning("decoder_not_started", reason=str(error))


class Decoder:
    """A child process, and what it says. It waits for a recording, decodes that one, and ends."""

    def __init__(self) -> None:
        """Start it. Raises OSError."""
        self._socket, self._process = start_child(CHILD_MODULE)
        self._socket.settimeout(PATIENCE_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @property
    def is_alive(self) -> bool:
        """Whether it waits for a recording, or works on one."""
        return self._process.poll() is None

    def give(self, file: IO[bytes]) -> None:
        """Hand the recording over, as an open file."""
        with suppress(BrokenPipeError, ConnectionResetError):  # the answer, or its absence, will tell
            socket.send_fds(self._socket, [RECORDING], [file.fileno()])

    def send(self, message: Hear) -> None:
        """Say what is to be heard."""
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

    def end(self) -> None:
        """Kill it, and wait until its memory is free."""
        self._socket.close()
        self._process.kill()
        self._process.wait()

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


def _end_all(decoders: list[Decoder]) -> None:
    while decoders:
        decoders.pop().end()
