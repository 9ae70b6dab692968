"""FLAC: heads that claim, metadata of gigabytes, and frames of silence that last for hours."""

from collections.abc import Iterator

from attacks.forging import GIGABYTES, MOST_32, Files, be32, crc, le32
from media import recording

IN_HERTZ, IN_TENS = 13, 14
"""How a frame spells its rate in 16 bits."""


def stream_info(
    *, least: int = 4_096, most: int = 4_096, rate: int = 16_000, channels: int = 1, bits: int = 16, samples: int = 0
) -> bytes:
    packed = rate << 44 | (channels - 1) << 41 | (bits - 1) << 36 | samples
    return least.to_bytes(2, "big") + most.to_bytes(2, "big") + bytes(6) + packed.to_bytes(8, "big") + bytes(16)


def metadata(kind: int, content: bytes, *, size: int | None = None, is_last: bool = False) -> bytes:
    length = len(content) if size is None else size
    return bytes([kind | 0x80 * is_last]) + length.to_bytes(3, "big") + content


def silence(number: int, *, samples: int = 65_535, rate: int = 16_000) -> bytes:
    """A frame of one constant; 16 bytes for up to 65,535 samples."""
    spelling, spelled = (IN_HERTZ, rate) if rate < 65_536 else (IN_TENS, rate // 10)
    head = b"\xff\xf8" + bytes([0b0111 << 4 | spelling, 0b0000_100_0, number & 0x7F])
    head += (samples - 1).to_bytes(2, "big") + spelled.to_bytes(2, "big")
    head += bytes([crc(head, polynomial=0x07, bits=8)])
    frame = head + b"\0\0\0"
    return frame + crc(frame, polynomial=0x8005, bits=16).to_bytes(2, "big")


def flac(*blocks: bytes, info: bytes | None = None, frames: bytes = b"") -> bytes:
    content = b"".join(blocks)
    return b"fLaC" + metadata(0, info or stream_info(), is_last=not content) + content + frames


def flac_files() -> Files:
    yield from ((f"{name}.flac", data) for name, data in _heads())
    yield from ((f"{name}.flac", data) for name, data in _metadata())
    yield from ((f"{name}.flac", data) for name, data in _frames())


def _heads() -> Iterator[tuple[str, bytes]]:
    frames = recording("flac")[recording("flac").index(b"\xff\xf8") :]
    for least, most in ((0, 0), (1, 1), (15, 15), (65_535, 65_535), (65_535, 16)):
        yield f"blocks-of-{least}-to-{most}", flac(info=stream_info(least=least, most=most), frames=frames)
    for rate in (0, 1, 1_048_575):
        yield f"rate-{rate}", flac(info=stream_info(rate=rate), frames=frames)
    for bits in (1, 3, 32):
        yield f"bits-{bits}", flac(info=stream_info(bits=bits), frames=frames)
    yield "a-thousand-hours", flac(info=stream_info(samples=2**36 - 1), frames=frames)
    yield "eight-channels", flac(info=stream_info(channels=8), frames=frames)
    yield "two-heads", flac(metadata(0, stream_info(rate=1)), info=stream_info(), frames=frames)
    yield "no-head", b"fLaC" + metadata(4, le32(0, 0), is_last=True) + frames
    yield "head-only", flac(info=stream_info(samples=16_000))


def _metadata() -> Iterator[tuple[str, bytes]]:
    frames = recording("flac")[recording("flac").index(b"\xff\xf8") :]
    pictures = {
        "picture-of-gigabytes": be32(3, 10) + b"image/jpeg" + be32(0, MOST_32, MOST_32, 24, 0, GIGABYTES) + b"\xff\xd8",
        "picture-with-a-long-type": be32(3, MOST_32) + b"image/jpeg",
        "picture-by-url": be32(3, 3) + b"-->" + be32(0, 1, 1, 24, 0, 22) + b"http://127.0.0.1:9/jpg",
    }
    for name, picture in pictures.items():
        yield name, flac(metadata(6, picture, is_last=True), frames=frames)
        yield f"{name}-and-nothing-else", flac(metadata(6, picture, is_last=True))
    for kind in (1, 2, 3, 4, 5, 6, 126):
        yield f"block-{kind}-of-16-mb", flac(metadata(kind, bytes(100), size=2**24 - 1, is_last=True), frames=frames)
    yield "comments-of-four-billion", flac(metadata(4, le32(0, MOST_32), is_last=True), frames=frames)
    yield "thirty-thousand-paddings", flac(metadata(1, b"") * 30_000, metadata(1, b"", is_last=True), frames=frames)
    seek = metadata(3, b"\xff" * 18 * 5_000, is_last=True)
    yield "five-thousand-seek-points", flac(seek, frames=frames)
    yield "cue-sheet-noise", flac(metadata(5, b"\xff" * 500, is_last=True), frames=frames)


def _frames() -> Iterator[tuple[str, bytes]]:
    for rate in (1, 10, 999, 1_000, 8_000, 655_350):
        frames = b"".join(silence(number, rate=rate) for number in range(60))
        yield f"silence-at-{rate}", flac(info=stream_info(most=65_535, rate=rate), frames=frames)
    yield "one-sample", flac(info=stream_info(least=1, most=1, samples=1), frames=silence(0, samples=1))
    yield "wrong-sums", flac(frames=recording("flac")[200:].replace(b"\xff\xf8", b"\xff\xf9"))
