import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

import media
from audio_text.adapters.confinement import Confinement
from audio_text.adapters.frames import LENGTH, body_length, frame
from audio_text.adapters.probe_child import main, serve
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
    decode_from_child,
)


class ParentEnd:
    """The parent's end of the socket, without asyncio."""

    def __init__(self, connection: socket.socket) -> None:
        self.stream = connection.makefile("rwb")

    def send(self, message: FromParent) -> None:
        self.stream.write(frame(message))
        self.stream.flush()

    def receive(self) -> FromChild:
        return decode_from_child(self.stream.read(body_length(self.stream.read(LENGTH.size), longest=LONGEST_FRAME)))

    def converse(self, data: bytes) -> FromChild:
        self.send(Ask(len(data)))
        while isinstance(message := self.receive(), Want):
            start = message.index * BLOCK_BYTES
            self.send(Block(data[start : start + BLOCK_BYTES]))
        return message


@pytest.fixture
def parent() -> Iterator[ParentEnd]:
    ours, theirs = socket.socketpair()
    ours.settimeout(30)
    thread = threading.Thread(target=serve, args=(theirs, nullcontext))
    thread.start()
    with ours, theirs:
        end = ParentEnd(ours)
        yield end
        ours.shutdown(socket.SHUT_RDWR)
        thread.join(30)
        assert not thread.is_alive()
        end.stream.close()


def test_one_child_answers_one_question_after_the_other(parent: ParentEnd) -> None:
    for extension in media.RECIPES:
        answer = parent.converse(media.recording(extension))
        assert isinstance(answer, Found)
        assert answer.facts.sample_rate == media.RECIPES[extension].rate
    assert parent.converse(media.text()) == Refused(Fault.invalid)
    assert parent.converse(media.video_without_sound()) == Refused(Fault.no_sound_track)
    assert parent.converse(media.mp4_that_promises(20_000_000)) == Refused(Fault.invalid)
    assert isinstance(parent.converse(media.recording("aac")), Found)


def test_an_object_that_ends_early_is_refused_and_the_next_is_not(parent: ParentEnd) -> None:
    parent.send(Ask(1_000_000))
    assert parent.receive() == Want(0)
    parent.send(Block(b""))
    assert parent.receive() == Refused(Fault.invalid)
    assert isinstance(parent.converse(media.wav()), Found)


def test_a_child_ends_when_its_parent_hangs_up_in_the_middle(parent: ParentEnd) -> None:
    parent.send(Ask(1_000_000))
    assert parent.receive() == Want(0)


def test_a_child_serves_the_descriptor_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Confinement, "close_doors", lambda _: None)  # those of the tests stay open
    ours, theirs = socket.socketpair()
    monkeypatch.setattr(sys, "argv", ["probe_child", str(theirs.detach())])
    ours.close()
    main()


def test_a_frame_that_nobody_sends_is_refused() -> None:
    with pytest.raises(ValueError, match="too long"):
        body_length(LENGTH.pack(LONGEST_FRAME + 1), longest=LONGEST_FRAME)
    assert body_length(frame(Block(bytes(BLOCK_BYTES)))[: LENGTH.size], longest=LONGEST_FRAME) > BLOCK_BYTES
