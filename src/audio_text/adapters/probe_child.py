"""The probe's child process: FFmpeg's demuxers, through PyAV, look at an object and decode nothing.

A process of its own, because a file of a few kilobytes can make FFmpeg allocate gigabytes (an mp4's table
that promises a hundred million samples) and its parsers are C: what goes wrong here goes wrong here only.
"""

import socket
import sys
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from io import SEEK_CUR, SEEK_END, SEEK_SET

import av
from av.container import InputContainer

from audio_text.adapters.confinement import Confinement
from audio_text.adapters.containers import UNTIMED_CONTAINERS, promises_too_much, require_possible_sound
from audio_text.adapters.frames import LENGTH, body_length, frame
from audio_text.adapters.probe_protocol import (
    BLOCK_BYTES,
    LONGEST_FRAME,
    Ask,
    Block,
    Fault,
    Found,
    FromChild,
    FromParent,
    Refused,
    Want,
    decode_from_parent,
)
from audio_text.domain.media import DEMUXER_OPTIONS
from audio_text.domain.transcript import AudioFacts

CACHED_BLOCKS = 8
"""FFmpeg goes back and forth between head and tail: 2 MiB."""

MEMORY_BYTES = 320 * 1024 * 1024
"""For one object; the index of a 10-hour video takes about 200 MiB."""

CPU_SECONDS = 10
"""For one object; the longest honest index takes one."""

PROBE_OPTIONS = {**DEMUXER_OPTIONS, "probesize": str(BLOCK_BYTES)}
"""FFmpeg's own 5 MB of looking ahead find nothing more about a sound track."""

AV_SECOND = 1_000_000
"""FFmpeg's AV_TIME_BASE: the unit of a container's duration."""


class Parent:
    """The other end of the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._stream = connection.makefile("rwb")

    def receive(self) -> FromParent | None:
        """The next message; None when there will be none."""
        header = self._stream.read(LENGTH.size)
        if len(header) < LENGTH.size:
            return None
        return decode_from_parent(self._stream.read(body_length(header, longest=LONGEST_FRAME)))

    def send(self, message: FromChild) -> None:
        """Write and flush."""
        self._stream.write(frame(message))
        self._stream.flush()


class RemoteFile:
    """A seekable file whose blocks the parent fetches."""

    def __init__(self, parent: Parent, size_bytes: int) -> None:
        self._parent = parent
        self.size_bytes = size_bytes
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._position = 0
        self._is_over = False

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Move, as any file does."""
        self._position = {SEEK_SET: 0, SEEK_CUR: self._position, SEEK_END: self.size_bytes}[whence] + offset
        return self._position

    def read(self, size: int) -> bytes:
        """At most `size` bytes, fewer at the end of a block, none at the end of the file or of the parent."""
        if self._is_over or not 0 <= self._position < self.size_bytes:
            return b""
        block = self._block(self._position // BLOCK_BYTES)
        # never more than was asked for: PyAV copies it all into a buffer of that size
        data = block[self._position % BLOCK_BYTES :][:size]
        self._position += len(data)
        return data

    def _block(self, index: int) -> bytes:
        if index in self._blocks:
            self._blocks.move_to_end(index)
            return self._blocks[index]
        self._parent.send(Want(index))
        answer = self._parent.receive()
        if not isinstance(answer, Block) or not answer.data:
            self._is_over = True
            return b""
        self._blocks[index] = answer.data
        if len(self._blocks) > CACHED_BLOCKS:
            self._blocks.popitem(last=False)
        return answer.data


def main() -> None:
    """Serve the socket whose descriptor is the first argument."""
    confinement = Confinement()
    with socket.socket(fileno=int(sys.argv[1])) as connection:
        confinement.close_doors()
        serve(connection, lambda: confinement.bounds(memory_bytes=MEMORY_BYTES, cpu_seconds=CPU_SECONDS))


def serve(connection: socket.socket, confined: Callable[[], AbstractContextManager[None]]) -> None:
    """Answer questions until the parent hangs up; each is worked on inside `confined()`."""
    parent = Parent(connection)
    with suppress(OSError):  # it may hang up at any moment
        while isinstance(ask := parent.receive(), Ask):
            with confined():
                answer = look(RemoteFile(parent, ask.size_bytes))
            parent.send(answer)


def look(file: RemoteFile) -> Found | Refused:
    """Open the container."""
    try:
        with av.open(file, "r", options=PROBE_OPTIONS, metadata_errors="replace") as container:
            if promises_too_much(container, file.size_bytes):
                return Refused(Fault.invalid)
            if not container.streams.audio:
                return Refused(Fault.no_sound_track)
            require_possible_sound(container.streams.audio[0])
            return Found(_facts(container))
    except Exception:  # noqa: BLE001 -- whatever PyAV makes of a stranger's bytes: they are no audio
        return Refused(Fault.invalid)


def _facts(container: InputContainer) -> AudioFacts:
    codec = container.streams.audio[0].codec_context
    return AudioFacts(
        container=container.format.name,
        codec=codec.codec.canonical_name,
        sample_rate=codec.sample_rate,
        channels=codec.channels,
        duration=_duration(container),
    )


def _duration(container: InputContainer) -> float | None:
    """Seconds, where the container or its sound track says them."""
    stream = container.streams.audio[0]
    if container.format.name in UNTIMED_CONTAINERS:
        return None
    if container.duration is not None and container.duration > 0:
        return container.duration / AV_SECOND
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return None


if __name__ == "__main__":
    main()
