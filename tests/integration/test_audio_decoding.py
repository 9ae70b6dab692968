"""Decoding hears what faster-whisper hears, in every format, from any point on, and more of what is damaged."""

import io
import random
import re
import wave
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from faster_whisper import decode_audio

from audio_text.adapters.audio_decoding import Samples, open_sound_track
from audio_text.adapters.decoder_protocol import SAMPLE_RATE
from audio_text.adapters.decoders import Decoders
from audio_text.errors import (
    EmptyAudioError,
    EngineMemoryError,
    InvalidAudioError,
    NoSoundTrackError,
    TransientError,
)
from media import RECIPES, Recipe, fragmented, noise, text, video_without_sound, wav
from recordings import joined, path_of, samples_of, silence, write, write_channels

RECIPES_BY_NAME = {
    **{name: recipe._replace(video=None) for name, recipe in RECIPES.items()},
    "mp3 stereo 44.1": Recipe("mp3", "libmp3lame", 44_100, "stereo"),
    "mp3 22": Recipe("mp3", "libmp3lame", 22_050),
    "m4a stereo 44.1": Recipe("ipod", "aac", 44_100, "stereo"),
    "aac 44.1": Recipe("adts", "aac", 44_100),
    "mkv aac 44.1": Recipe("matroska", "aac", 44_100),
    "flac 48": Recipe("flac", "flac", 48_000, "stereo"),
    "wav u8 8": Recipe("wav", "pcm_u8", 8_000),
    "wav mulaw 8": Recipe("wav", "pcm_mulaw", 8_000),
    "wav s24 96": Recipe("wav", "pcm_s24le", 96_000, "stereo"),
    "wav f32 5.1": Recipe("wav", "pcm_f32le", 48_000, "5.1"),
    "wav f64 7.1": Recipe("wav", "pcm_f64le", 44_100, "7.1"),
}


def heard(path: Path, begin: float = 0.0, *, skip: int = 0) -> Samples:
    with open_sound_track(path, Decoders()) as track:
        return joined(track.samples(begin, skip=skip))


def as_faster_whisper_hears(path: Path) -> Samples:
    samples = decode_audio(str(path))
    assert isinstance(samples, np.ndarray)
    return (samples * 32_768).astype(np.int16)


@pytest.fixture(scope="module", params=RECIPES_BY_NAME)
def encoded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("encoded") / "memo.media"
    return write(path, samples_of("memo_35s"), RECIPES_BY_NAME[request.param])


def test_every_format_is_heard_as_faster_whisper_hears_it(encoded: Path) -> None:
    assert np.array_equal(heard(encoded), as_faster_whisper_hears(encoded))


@pytest.mark.parametrize("begin", [0.4, 2.0, 9.77, 27.123])
def test_a_later_begin_is_met_to_one_sample(encoded: Path, begin: float) -> None:
    whole, rest = heard(encoded), heard(encoded, begin)
    expected = whole[round(begin * SAMPLE_RATE) :]
    assert abs(rest.size - expected.size) <= 1
    # loud enough to tell one sample from the next
    window = slice(8, 2 * SAMPLE_RATE)
    shifts = {shift: rms(rest[window], np.roll(expected, shift)[window]) for shift in range(-4, 5)}
    assert abs(min(shifts, key=lambda shift: shifts[shift])) <= 1


@pytest.mark.parametrize(("begin", "skip"), [(0.0, 300_000), (9.77, 100_001)])
def test_what_comes_after_a_skip_is_what_it_is_without(encoded: Path, begin: float, skip: int) -> None:
    assert np.array_equal(heard(encoded, begin, skip=skip), heard(encoded, begin)[skip:])


def test_each_channel_is_exact_after_a_skip_too(tmp_path: Path) -> None:
    path = write_channels(tmp_path / "call.ogg", samples_of("memo_35s"), samples_of("one_a"))
    with open_sound_track(path, Decoders()) as track:
        whole = np.concatenate(list(track.channels()), axis=1)
    with open_sound_track(path, Decoders()) as track:
        rest = np.concatenate(list(track.channels(skip=100_001)), axis=1)
    assert np.array_equal(rest, whole[:, 100_001:])


def rms(left: Samples, right: Samples) -> float:
    return float(np.sqrt(np.mean((left.astype(float) - right) ** 2)))


@pytest.mark.parametrize("kind", ["wav", "flac"])
def test_without_resampling_a_later_begin_is_exact(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"memo.{kind}", samples_of("memo_35s"))
    assert np.array_equal(heard(path, 27.5), samples_of("memo_35s")[round(27.5 * SAMPLE_RATE) :])


def test_what_lies_before_a_later_begin_is_not_decoded(tmp_path: Path) -> None:
    path = write(tmp_path / "memo.m4a", samples_of("memo_100s"))
    spoil(path, after=0.3, before=0.5)
    whole = write(tmp_path / "whole.m4a", samples_of("memo_100s"))
    assert np.array_equal(heard(path, 80.0), heard(whole, 80.0))


def test_a_begin_after_the_end_leaves_nothing_to_hear() -> None:
    assert heard(path_of("one_a"), 60.0).size == 0


def test_pieces_are_small() -> None:
    with open_sound_track(path_of("memo_100s"), Decoders()) as track:
        assert max(piece.size for piece in track.samples()) <= 1.5 * SAMPLE_RATE


@pytest.mark.parametrize("kind", ["mp3", "aac", "m4a"])
def test_what_comes_after_damage_is_heard_at_its_time(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"memo.{kind}", samples_of("memo_35s"))
    whole = heard(path)
    spoil(path, after=0.4, before=0.41)
    damaged = heard(path)
    # decode_audio ends at the first damage
    assert damaged.size > 0.95 * whole.size
    assert abs(damaged.size - whole.size) < 0.5 * SAMPLE_RATE


def spoil(path: Path, *, after: float, before: float) -> None:
    """Overwrite a part of the file, given in shares of its size."""
    content = bytearray(path.read_bytes())
    first, last = int(after * len(content)), int(before * len(content))
    content[first:last] = random.Random(1).randbytes(last - first)
    path.write_bytes(content)


@pytest.mark.parametrize("kind", ["wav", "mp3", "flac", "ogg", "opus", "webm", "aac"])
def test_a_truncated_file_is_heard_up_to_its_end(tmp_path: Path, kind: str) -> None:
    path = write(tmp_path / f"memo.{kind}", samples_of("memo_35s"), RECIPES[kind]._replace(video=None))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert 10 < heard(path).size / SAMPLE_RATE < 25


def test_a_stream_that_changes_its_format_is_heard_to_the_end(tmp_path: Path) -> None:
    parts = [
        write(tmp_path / f"{rate}.mp3", samples_of("two"), Recipe("mp3", "libmp3lame", rate))
        for rate in (16_000, 44_100)
    ]
    path = tmp_path / "both.mp3"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    assert heard(path).size == pytest.approx(2 * samples_of("two").size, rel=0.05)


def test_eight_channels_without_a_layout_are_heard(tmp_path: Path) -> None:
    path = tmp_path / "eight.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(8)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(np.repeat(samples_of("one_a"), 8).tobytes())
    assert np.array_equal(heard(path), as_faster_whisper_hears(path))
    assert heard(path).any()


@pytest.mark.parametrize(
    "codec", ["pcm_u8", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_alaw", "pcm_mulaw"]
)
def test_every_sample_format_is_heard(tmp_path: Path, codec: str) -> None:
    path = tmp_path / "tone.wav"
    path.write_bytes(wav(1.0, codec=codec))
    assert np.array_equal(heard(path), as_faster_whisper_hears(path))


@pytest.mark.parametrize(("kind", "seconds"), [("mp4", 3.0), ("webm", 3.0)])
def test_a_recording_without_a_stated_length_is_estimated_from_what_was_read(
    tmp_path: Path, kind: str, seconds: float
) -> None:
    path = tmp_path / f"recorded.{kind}"
    path.write_bytes(fragmented(kind, seconds))
    with open_sound_track(path, Decoders()) as track:
        pieces = list(track.samples())
        decoded = joined(pieces).size / SAMPLE_RATE
        assert track.estimated_seconds(decoded) == pytest.approx(seconds, abs=0.2)
    assert decoded == pytest.approx(seconds, abs=0.2)


def test_the_stated_length_is_the_estimate_before_anything_is_decoded() -> None:
    with open_sound_track(path_of("memo_100s"), Decoders()) as track:
        assert track.estimated_seconds(0.0) == pytest.approx(samples_of("memo_100s").size / SAMPLE_RATE, abs=0.01)


def test_an_estimate_is_never_less_than_what_was_heard() -> None:
    with open_sound_track(path_of("one_a"), Decoders()) as track:
        assert track.estimated_seconds(1_000.0) == 1_000.0


def empty_wav() -> bytes:
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("zero.wav", b"", EmptyAudioError),
        ("prose.mp3", text(), InvalidAudioError),
        ("noise.mp3", noise(), InvalidAudioError),
        ("header.wav", empty_wav(), EmptyAudioError),
        ("half-header.wav", wav(1.0)[:20], InvalidAudioError),
        ("silent-film.mp4", video_without_sound(), NoSoundTrackError),
        ("playlist.m3u8", b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n", InvalidAudioError),
        ("list.txt", b"ffconcat version 1.0\nfile /etc/passwd\n", InvalidAudioError),
    ],
)
def test_what_cannot_be_heard_is_refused_with_its_reason(
    tmp_path: Path, name: str, content: bytes, error: type[Exception]
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(error) as caught:
        heard(path)
    assert type(caught.value) is error


def test_an_index_that_points_before_the_file_is_damage(tmp_path: Path) -> None:
    content = bytearray(fragmented("mp4", 1.0))
    # the first byte of each fragment's base offset: tfhd, flags, track, offset
    for box in re.finditer(b"tfhd", bytes(content)):
        content[box.end() + 8] = 0xF8
    (tmp_path / "damaged.mp4").write_bytes(content)
    with pytest.raises(InvalidAudioError):
        heard(tmp_path / "damaged.mp4")


def test_lack_of_memory_is_not_taken_for_damage() -> None:
    with pytest.raises(EngineMemoryError), open_sound_track(path_of("one_a"), Decoders()):
        raise MemoryError


def test_random_damage_never_lets_a_foreign_error_out(tmp_path: Path) -> None:
    generator = random.Random(7)
    path = tmp_path / "damaged.media"
    for kind in ("mp3", "wav", "flac", "m4a", "ogg", "webm", "aac"):
        original = write(
            tmp_path / "original.media", samples_of("one_a"), RECIPES[kind]._replace(video=None)
        ).read_bytes()
        for _ in range(15):
            content = bytearray(original)
            for _ in range(generator.randrange(1, 40)):
                content[generator.randrange(len(content))] = generator.randrange(256)
            path.write_bytes(content)
            with suppress(InvalidAudioError):
                assert heard(path).dtype == np.int16


def test_a_file_that_is_gone_may_come_back(tmp_path: Path) -> None:
    with pytest.raises(TransientError), open_sound_track(tmp_path / "gone.wav", Decoders()):
        pass


def test_a_colon_in_a_path_is_no_protocol(tmp_path: Path) -> None:
    path = tmp_path / "http:"
    path.mkdir()
    recording = write(path / "concat:one.wav", silence(1.0), RECIPES["wav"])
    assert heard(recording).size == SAMPLE_RATE
