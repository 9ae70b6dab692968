"""Processes that decode: one for each recording, and one that waits for the next."""

import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from structlog.testing import capture_logs

import media
from audio_text.adapters.audio_decoding import open_sound_track
from audio_text.adapters.decoders import Decoder, Decoders


@pytest.fixture
def decoders() -> Iterator[Decoders]:
    decoders = Decoders()
    yield decoders
    for spare in decoders._spares:
        spare.end()


def process_of(decoder: Decoder) -> psutil.Process:
    return psutil.Process(decoder._process.pid)


def seconds_of(path: Path, decoders: Decoders) -> float:
    with open_sound_track(path, decoders) as track:
        return sum(piece.size for piece in track.samples()) / 16_000


def test_the_one_that_waits_is_given_the_next_recording_and_no_other(decoders: Decoders, tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(media.wav(2.0))
    decoders.start_ahead()
    [spare] = [process_of(decoder) for decoder in decoders._spares]
    assert seconds_of(path, decoders) == pytest.approx(2.0)
    assert not spare.is_running()
    assert seconds_of(path, decoders) == pytest.approx(2.0)


def test_no_more_than_one_waits(decoders: Decoders) -> None:
    decoders.start_ahead()
    waiting = list(decoders._spares)
    decoders.start_ahead()
    assert decoders._spares == waiting
    assert len(waiting) == 1


def test_one_that_was_ended_while_it_waited_is_replaced(decoders: Decoders) -> None:
    decoders.start_ahead()
    ended = decoders._spares[0]
    process_of(ended).kill()
    process_of(ended).wait(30)
    with decoders.take() as taken:
        assert taken is not ended
        assert taken.is_alive


def test_where_no_process_is_to_be_had_nothing_but_time_is_lost(
    decoders: Decoders, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    with capture_logs() as logged:
        decoders.start_ahead()
    assert [line["event"] for line in logged] == ["decoder_not_started"]
    monkeypatch.undo()
    with decoders.take() as taken:
        assert taken.is_alive


def test_the_one_that_waits_ends_with_whoever_has_it() -> None:
    decoders = Decoders()
    decoders.start_ahead()
    spare = process_of(decoders._spares[0])
    del decoders
    assert not spare.is_running()
