"""WAV files that lie about what they hold."""

import struct
from collections.abc import Iterator

from attacks.forging import GIGABYTES, MOST_32, MOST_64, Files, chunk, le16, le32, le64
from media import recording, wav

SOUND = struct.pack("<8000h", *(index * 37 % 20_000 - 10_000 for index in range(8_000)))
EXTENSIBLE = 0xFFFE


def form(
    tag: int = 1, channels: int = 1, rate: int = 16_000, byte_rate: int = 32_000, align: int = 2, bits: int = 16
) -> bytes:
    return chunk(b"fmt ", le16(tag, channels) + le32(rate, byte_rate) + le16(align, bits))


def riff(*chunks: bytes, size: int | None = None, kind: bytes = b"RIFF") -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return kind + le32(len(body) if size is None else size) + body


def wav_files() -> Files:
    yield from ((f"{name}.wav", data) for name, data in _headers())
    yield from ((f"{name}.wav", data) for name, data in _floats())
    yield from ((f"{name}.wav", data) for name, data in _chunks())


def _headers() -> Iterator[tuple[str, bytes]]:
    data = chunk(b"data", SOUND)
    for rate in (0, 1, 7, 999, 1_000, 767_999, 1_000_001, 2**31, MOST_32):
        yield f"rate-{rate}", riff(form(rate=rate), data)
    for channels in (0, 3, 63, 64, 65, 300, 65_535):
        yield f"channels-{channels}", riff(form(channels=channels, align=2 * channels & 0xFFFF), data)
    for align in (0, 1, 7, 65_535):
        yield f"align-{align}", riff(form(align=align), data)
    for bits in (0, 1, 12, 64, 255, 65_535):
        yield f"bits-{bits}", riff(form(bits=bits), data)
    for tag in (0, 2, 3, 6, 0x11, 0x31, 0x55, 0x161, 0x2000, 0x674F, 0xA106, 0x1FC, 0x270, EXTENSIBLE, 0xFFFF):
        yield f"tag-{tag:x}", riff(form(tag=tag), data)
    yield "byte-rate-nothing", riff(form(byte_rate=0), data)
    yield "byte-rate-huge", riff(form(byte_rate=MOST_32), data)
    extension = le16(22, 16) + le32(MOST_32) + bytes(range(16))
    yield "unknown-guid", riff(chunk(b"fmt ", form(tag=EXTENSIBLE)[8:] + extension), data)


def _floats() -> Iterator[tuple[str, bytes]]:
    for name, value in (("nan", float("nan")), ("inf", float("inf")), ("minus-inf", float("-inf")), ("max", 3.4e38)):
        for tag, bits, spelling in (("f32", 32, "f"), ("f64", 64, "d")):
            sound = struct.pack(f"<4000{spelling}", *([value, 0.1, -value, value] * 1_000))
            header = form(tag=3, byte_rate=16_000 * bits // 8, align=bits // 8, bits=bits)
            yield f"{name}-{tag}", riff(header, chunk(b"data", sound))
    yield "denormal-f32", riff(form(tag=3, align=4, bits=32), chunk(b"data", struct.pack("<4000f", *[1e-44] * 4_000)))


def _chunks() -> Iterator[tuple[str, bytes]]:
    data = chunk(b"data", SOUND)
    for count in (0, 1, 2, 3):
        yield f"{count}-bytes", riff(form(), chunk(b"data", SOUND[:count]))
    for size in (0, 1, 2**31, GIGABYTES, MOST_32):
        yield f"data-of-{size}", riff(form(), chunk(b"data", SOUND, size=size))
        yield f"riff-of-{size}", riff(form(), data, size=size)
    yield "no-data", riff(form())
    yield "no-form", riff(data)
    yield "data-first", riff(data, form())
    yield "form-twice", riff(form(), form(channels=2, align=4), data)
    yield "form-of-gigabytes", riff(chunk(b"fmt ", form()[8:], size=GIGABYTES), data)
    yield "two-thousand-forms", riff(form() * 2_000, data)
    yield "ten-thousand-lists", riff(form(), chunk(b"LIST", b"INFO") * 10_000, data)
    yield "list-of-gigabytes", riff(form(), chunk(b"LIST", b"INFO", size=GIGABYTES), data)
    yield "fact-of-100-hours", riff(form(), chunk(b"fact", le32(MOST_32)), data)
    yield "bext-of-gigabytes", riff(form(), chunk(b"bext", bytes(700), size=GIGABYTES), data)
    sizes = chunk(b"ds64", le64(MOST_64) * 3 + le32(MOST_32))
    yield "rf64", riff(sizes, form(), data, kind=b"RF64", size=MOST_32)
    yield "rf64-with-data", riff(sizes, form(), chunk(b"data", SOUND, size=MOST_32), kind=b"RF64", size=MOST_32)
    yield "id3-chunk-of-gigabytes", riff(form(), chunk(b"id3 ", b"ID3\x04\0\0\x7f\x7f\x7f\x7f"), data)
    yield "mp3-that-says-pcm", riff(form(), chunk(b"data", recording("mp3")))
    yield "wav-in-wav", riff(form(), chunk(b"data", wav()))
    yield "w64", b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\0\0" + le64(MOST_64) + SOUND
