"""Small media files for tests, made with PyAV alone: nobody needs an ffmpeg on the path."""

import struct
import tempfile
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.container import OutputContainer

VIDEO_RATE = 5

REPRODUCIBLE = {"fflags": "+bitexact"}
"""No random serial numbers and no dates: the same file each time."""


class Recipe(NamedTuple):
    """What FFmpeg calls the container and the codecs of a kind of file."""

    container: str
    codec: str
    rate: int = 16_000
    layout: str = "mono"
    video: str | None = None


RECIPES = {
    "mp3": Recipe("mp3", "libmp3lame"),
    "wav": Recipe("wav", "pcm_s16le"),
    "flac": Recipe("flac", "flac"),
    "mp4": Recipe("mp4", "aac", video="mpeg4"),
    "m4a": Recipe("ipod", "aac"),
    "aac": Recipe("adts", "aac"),
    "ogg": Recipe("ogg", "vorbis", 44_100, "stereo"),
    "opus": Recipe("ogg", "libopus", 48_000),
    "webm": Recipe("webm", "libopus", 48_000, video="libvpx"),
}
"""The nine formats of the service, by extension."""


@cache
def recording(extension: str, seconds: float = 1.0) -> bytes:
    """A tone of 440 Hz in one of the nine formats."""
    return encode(RECIPES[extension], seconds)


@cache
def wav(seconds: float = 1.0, *, codec: str = "pcm_s16le", rate: int = 16_000, layout: str = "mono") -> bytes:
    """A WAV file of any sample format: pcm_u8, pcm_s24le, pcm_f32le, pcm_f64le, pcm_mulaw, …"""
    return encode(Recipe("wav", codec, rate, layout), seconds)


@cache
def video_without_sound() -> bytes:
    """An mp4 that has a picture only."""
    return encode(RECIPES["mp4"]._replace(codec=""), 1.0)


@cache
def moov_first(seconds: float = 1.0) -> bytes:
    """An mp4 made for streaming: its index comes before its data."""
    return encode(RECIPES["mp4"], seconds, options={"movflags": "+faststart"})


@cache
def fragmented(extension: str, seconds: float = 1.0) -> bytes:
    """What a browser's recorder writes: mp4 in fragments, webm without a duration."""
    options = {"movflags": "+frag_keyframe+empty_moov"} if extension == "mp4" else {"live": "1"}
    return encode(RECIPES[extension], seconds, options=options)


@cache
def mp3_with_cover(cover_bytes: int) -> bytes:
    """An mp3 whose ID3 tag holds a picture of that size in front of the sound."""
    picture = b"APIC" + _synchsafe(cover_bytes) + b"\0\0" + b"\0" * cover_bytes
    return b"ID3\x04\0\0" + _synchsafe(len(picture)) + picture + recording("mp3", 3.0)


@cache
def mp4_that_promises(samples: int) -> bytes:
    """A small m4a whose tables claim so many samples of one byte each."""
    data = bytearray(recording("m4a"))
    sizes, times, chunks = (data.index(table) + 8 for table in (b"stsz", b"stts", b"stsc"))
    struct.pack_into(">II", data, sizes, 1, samples)
    struct.pack_into(">I", data, times + 4, samples)
    (entries,) = struct.unpack_from(">I", data, chunks)
    for entry in range(entries):
        struct.pack_into(">I", data, chunks + 8 + 12 * entry, samples)
    return bytes(data)


def text() -> bytes:
    """Prose, which somebody renamed to .mp3."""
    return b"It is a truth universally acknowledged, that this is not a recording.\n" * 200


def noise(size: int = 300_000, seed: int = 1) -> bytes:
    """Random bytes, the same ones each time."""
    return np.random.default_rng(seed).bytes(size)


def encode(recipe: Recipe, seconds: float, *, options: dict[str, str] | None = None) -> bytes:
    """Write the file and read it back; on disk, because some muxers read again what they wrote."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "media"
        with av.open(str(path), "w", format=recipe.container, options=REPRODUCIBLE | (options or {})) as out:
            video = _video_stream(out, recipe.video) if recipe.video else None
            sound = _sound_stream(out, recipe) if recipe.codec else None
            if video:
                _encode_picture(out, video, seconds)
            if sound:
                _encode_tone(out, sound, seconds)
        return path.read_bytes()


def _video_stream(out: OutputContainer, codec: str) -> av.VideoStream:
    stream = out.add_stream(codec, rate=VIDEO_RATE)
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    return stream


def _sound_stream(out: OutputContainer, recipe: Recipe) -> av.AudioStream:
    # FFmpeg calls its own vorbis encoder an experiment
    return out.add_stream(recipe.codec, rate=recipe.rate, layout=recipe.layout, options={"strict": "experimental"})


def _encode_picture(out: OutputContainer, stream: av.VideoStream, seconds: float) -> None:
    for index in range(max(1, int(seconds * VIDEO_RATE))):
        picture = np.full((64, 64, 3), index * 20 % 255, np.uint8)
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        frame.pts, frame.time_base = index, Fraction(1, VIDEO_RATE)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def _encode_tone(out: OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    rate, layout = stream.rate, stream.layout.name
    time = np.arange(int(seconds * rate)) / rate
    tone = (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
    interleaved = np.repeat(tone, stream.channels)[np.newaxis]
    frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    frame_size = stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate, frame_size=frame_size)
    for part in [*resampler.resample(frame), *resampler.resample(None)]:
        out.mux(stream.encode(part))
    out.mux(stream.encode(None))


def _synchsafe(number: int) -> bytes:
    """ID3's 28-bit size: seven bits a byte."""
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))
