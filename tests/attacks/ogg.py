"""Ogg: pages whose positions, sizes and streams lie, and heads of codecs that do."""

import struct
from collections.abc import Iterator

from attacks.forging import MOST_32, MOST_64, Files, crc, le32
from media import recording

OPUS_TAGS = b"OpusTags" + le32(0, 0)


def page(content: bytes, *, granule: int = 0, serial: int = 1, number: int = 0, flags: int = 0) -> bytes:
    """A page with one packet of less than 64 kB."""
    lacing = bytes([255] * (len(content) // 255) + [len(content) % 255])
    head = struct.pack("<4sBBQIII", b"OggS", 0, flags, granule & MOST_64, serial, number, 0) + bytes([len(lacing)])
    data = bytearray(head + lacing + content)
    struct.pack_into("<I", data, 22, crc(bytes(data), polynomial=0x04C11DB7, bits=32))
    return bytes(data)


def opus_head(*, channels: int = 1, skip: int = 0, rate: int = 48_000, gain: int = 0, family: int = 0) -> bytes:
    return b"OpusHead\x01" + struct.pack("<BHIhB", channels, skip, rate, gain, family)


def opus(head: bytes, *granules: int, tags: bytes = OPUS_TAGS, packet: bytes = b"\xf8\xff\xfe") -> bytes:
    pages = [page(head, flags=2), page(tags, number=1)]
    pages += [page(packet, granule=granule, number=number) for number, granule in enumerate(granules, start=2)]
    return b"".join(pages)


def ogg_files() -> Files:
    yield from ((f"{name}.opus", data) for name, data in _opus())
    yield from ((f"{name}.ogg", data) for name, data in _pages())


def _opus() -> Iterator[tuple[str, bytes]]:
    honest = tuple(960 * index for index in range(1, 51))
    for channels, family in ((0, 0), (2, 1), (8, 1), (255, 255), (255, 0), (9, 1)):
        mapping = bytes([channels, 0]) + bytes(range(channels)) if family else b""
        yield f"channels-{channels}-{family}", opus(opus_head(channels=channels, family=family) + mapping, *honest)
    yield "skip-everything", opus(opus_head(skip=65_535), *honest)
    yield "gain", opus(opus_head(gain=32_767), *honest)
    yield "rate-of-four-billion", opus(opus_head(rate=MOST_32), *honest)
    for name, granules in {
        "at-the-end-of-time": (2**63 - 1,),
        "before-time": (2**63,),
        "unknown": (MOST_64,) * 50,
        "backwards": honest[::-1],
        "still": (960,) * 50,
        "jumps": (960, 2**40, 1_920, 2**62, 2_880),
        "a-hundred-hours": (*honest, 48_000 * 360_000),
    }.items():
        yield f"granules-{name}", opus(opus_head(), *granules)
    for name, tags in {
        "four-billion": b"OpusTags" + le32(0, MOST_32),
        "long": b"OpusTags" + le32(MOST_32),
        "one-of-gigabytes": b"OpusTags" + le32(0, 1, MOST_32),
        "cover": b"OpusTags" + le32(0, 1, 5_000) + b"METADATA_BLOCK_PICTURE=" + b"A" * 4_977,
        "noise": b"OpusTags" + b"\xff" * 1_000,
    }.items():
        yield f"tags-{name}", opus(opus_head(), *honest, tags=tags)
    yield "packets-of-120-ms", opus(opus_head(), *honest, packet=b"\xfb\x86" + bytes(30))
    yield "empty-packets", opus(opus_head(), *honest, packet=b"")


def _pages() -> Iterator[tuple[str, bytes]]:
    whole = recording("ogg")
    yield "pages-without-content", b"".join(page(b"", number=index) for index in range(3_000)) + whole
    yield "two-hundred-streams", b"".join(page(opus_head(), serial=index, flags=2) for index in range(200))
    yield (
        "two-thousand-beginnings",
        b"".join(page(opus_head(), serial=index, flags=2) + page(b"", serial=index, flags=4) for index in range(2_000)),
    )
    yield "chained-fifty-times", recording("ogg", 0.1) * 50
    yield "lacing-without-content", whole[:27] + b"\xff" * 255
    yield (
        "granule-everywhere",
        b"".join(part[:2] + b"\xff" * 8 + part[10:] if index else part for index, part in enumerate(_split(whole))),
    )
    vorbis = b"\x01vorbis" + struct.pack("<IBIIIIBB", 0, 255, MOST_32, MOST_32, MOST_32, MOST_32, 0xDD, 1)
    yield (
        "vorbis-of-255-channels",
        page(vorbis, flags=2)
        + page(b"\x03vorbis" + le32(0, MOST_32), number=1)
        + page(b"\x05vorbis" + b"\xff" * 3_000, number=2),
    )
    flac = b"\x7fFLAC\x01\0\xff\xffFLAC" if False else b"\x7fFLAC\x01\x00\xff\xfffLaC\x00\x00\x00\x22" + b"\xff" * 34
    yield "flac-of-ages", page(flac, flags=2) + page(b"\xff\xf8" + bytes(100), number=1)
    for name, head in {
        "theora": b"\x80theora\x03\x02\x01" + b"\xff" * 33,
        "speex": b"Speex   1.2" + b"\xff" * 69,
        "skeleton": b"fishead\0" + b"\xff" * 72,
        "celt": b"CELT    " + b"\xff" * 60,
        "text": b"\x01text\0\0\0" + b"\xff" * 60,
    }.items():
        yield f"head-{name}", page(head, flags=2) + page(b"\xff" * 200, number=1) * 20


def _split(data: bytes) -> list[bytes]:
    parts = data.split(b"OggS")
    return [parts[0], *(b"OggS" + part for part in parts[1:])]
