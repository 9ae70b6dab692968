"""The decoder's child: what it says on its socket, and what the kernel lets it do."""

import io
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pytest

import media
from attacks.forging import chunk
from attacks.riff import form, riff
from audio_text.adapters import decoder_child
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
    decode_from_child,
)
from audio_text.adapters.frames import LENGTH, body_length, frame


class ParentEnd:
    """The parent's end of the socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.stream = connection.makefile("rwb")

    def send(self, message: Hear) -> None:
        self.stream.write(frame(message))
        self.stream.flush()

    def receive(self) -> FromChild:
        return decode_from_child(self.stream.read(body_length(self.stream.read(LENGTH.size), longest=LONGEST_FRAME)))

    def rest(self) -> tuple[bytes, FromChild]:
        sound = []
        while isinstance(message := self.receive(), Piece):
            sound.append(message.sound)
        return b"".join(sound), message


@contextmanager
def child(file: IO[bytes], alive: Callable[[], None] = lambda: None) -> Iterator[ParentEnd]:
    ours, theirs = socket.socketpair()
    ours.settimeout(30)

    def serve() -> None:
        with theirs:
            decoder_child.serve(theirs, file, alive=alive)

    thread = threading.Thread(target=serve)
    thread.start()
    with ours:
        end = ParentEnd(ours)
        yield end
        end.stream.close()
        ours.shutdown(socket.SHUT_RDWR)
    thread.join(30)
    assert not thread.is_alive()


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[bytes], IO[bytes]]:
    def store(data: bytes) -> IO[bytes]:
        path = tmp_path / "recording"
        path.write_bytes(data)
        return path.open("rb")

    return store


Store = Callable[[bytes], IO[bytes]]


def test_a_recording_is_opened_heard_and_finished(stored: Store) -> None:
    signs = []
    with stored(media.wav(2.0, layout="stereo")) as file, child(file, lambda: signs.append(1)) as parent:
        assert parent.receive() == Opened(channels=2, stated_seconds=2.0)
        parent.send(Hear(0.5, 0, by_channel=False))
        sound, last = parent.rest()
    assert (len(sound), last) == (2 * 24_000, Finished())
    assert len(signs) > 2


def test_a_child_that_has_nothing_to_send_yet_shows_that_it_lives(
    stored: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoder_child, "PULSE_SECONDS", 0.0)
    with stored(media.wav(60.0)) as file, child(file) as parent:
        parent.receive()
        parent.send(Hear(50.0, 16_000, by_channel=False))
        assert parent.receive() == Piece(b"", 0)
        sound, _ = parent.rest()
    assert len(sound) == 2 * 9 * 16_000


def test_channels_come_side_by_side(stored: Store) -> None:
    with stored(media.wav(1.0, layout="7.1")) as file, child(file) as parent:
        assert isinstance(parent.receive(), Opened)
        parent.send(Hear(0.0, 0, by_channel=True))
        sound, _ = parent.rest()
    assert len(sound) == 2 * 8 * 16_000
    rows = np.frombuffer(sound, np.int16).reshape(-1, 8)
    assert (rows == rows[:, :1]).all()


def test_what_is_longer_than_a_frame_comes_in_several_and_no_moment_is_cut() -> None:
    moment = 2 * 3
    sound = bytes(moment * LONGEST_PIECE)
    parts = list(decoder_child._parts(sound, 3))
    assert b"".join(parts) == sound
    assert max(map(len, parts)) <= LONGEST_PIECE
    assert all(len(part) % moment == 0 for part in parts)


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (media.text(), Fault.invalid),
        (media.video_without_sound(), Fault.no_sound_track),
        (riff(form(), chunk(b"data", b"")), Fault.empty),
        (media.mp4_that_promises(20_000_000), Fault.invalid),
    ],
    ids=["prose", "silent film", "no samples", "promises"],
)
def test_what_cannot_be_heard_is_said_with_its_fault(stored: Store, data: bytes, fault: Fault) -> None:
    with stored(data) as file, child(file) as parent:
        message = parent.receive()
        if isinstance(message, Opened):
            parent.send(Hear(0.0, 0, by_channel=False))
            _, message = parent.rest()
    assert isinstance(message, Failed)
    assert message.fault is fault


def test_a_disk_that_fails_is_not_the_recordings_fault(stored: Store) -> None:
    class Broken(io.BytesIO):
        def __init__(self, file: IO[bytes]) -> None:
            super().__init__()
            self.file = file

        def fileno(self) -> int:
            return self.file.fileno()

        def read(self, size: int | None = -1, /) -> bytes:
            raise OSError(5, "Input/output error")

    with stored(media.wav()) as file, child(Broken(file)) as parent:
        message = parent.receive()
    assert isinstance(message, Failed)
    assert message.fault is Fault.unreadable


def test_a_child_ends_when_its_parent_hangs_up(stored: Store) -> None:
    with stored(media.wav(60.0)) as file, child(file) as parent:
        assert isinstance(parent.receive(), Opened)
    with stored(media.wav(60.0)) as file, child(file) as parent:
        parent.receive()
        parent.send(Hear(0.0, 0, by_channel=False))


def test_a_child_serves_the_file_that_comes_over_its_socket(stored: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for limit in ("close_doors", "limit_memory", "limit_time"):
        monkeypatch.setattr(Confinement, limit, lambda *_: None)  # those of the tests stay as they are
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(sys, "argv", ["decoder_child", str(theirs.detach())])
    with stored(media.text()) as file:
        socket.send_fds(ours, [RECORDING], [file.fileno()])
    decoder_child.main()
    with ours:
        assert isinstance(ParentEnd(ours).receive(), Failed)


def test_a_child_that_waits_ends_when_its_parent_hangs_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(sys, "argv", ["decoder_child", str(theirs.detach())])
    ours.close()
    decoder_child.main()


def test_a_frame_that_nobody_sends_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        body_length(LENGTH.pack(LONGEST_FRAME + 1), longest=LONGEST_FRAME)
    assert body_length(frame(Piece(bytes(LONGEST_PIECE), 2**40))[: LENGTH.size], longest=LONGEST_FRAME) > LONGEST_PIECE


def confined(code: str) -> subprocess.CompletedProcess[str]:
    prelude = "import io, os, socket, sys\nfrom audio_text.adapters.confinement import Confinement\n"
    script = prelude + "confinement = Confinement()\nconfinement.close_doors()\n" + code
    return subprocess.run([sys.executable, "-P", "-c", script], capture_output=True, text=True, check=False)


def test_closed_doors_let_nothing_be_opened(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("secret")
    for attempt in (f"open({str(path)!r})", "socket.socket()", "os.dup(1)", "os.pipe()"):
        done = confined(f"try:\n    {attempt}\nexcept OSError as error:\n    print(error.errno)\n")
        assert done.stdout in {"24\n", "22\n"}, (attempt, done)  # too many files, or no such number allowed


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process like this")
def test_memory_is_limited_for_a_while_or_for_good() -> None:
    size = 64 * 1024 * 1024
    ask = f"try:\n    print(len(bytearray({size})))\nexcept MemoryError:\n    print('none')\n"
    bounds = f"with confinement.bounds(memory_bytes={size // 2}, cpu_seconds=5):\n"
    indented = "".join(f"    {line}\n" for line in ask.splitlines())
    assert confined(bounds + indented + ask).stdout.split() == ["none", str(size)]
    assert confined(f"confinement.limit_memory({size // 2})\n{ask}").stdout == "none\n"


def test_who_works_too_long_is_ended_by_the_kernel() -> None:
    assert confined("confinement.limit_time(1)\nwhile True:\n    pass\n").returncode == -24
