"""MP4 files whose boxes lie."""

import re
import struct
import zlib
from collections.abc import Iterator

from attacks.forging import GIGABYTES, MOST_32, MOST_64, Files, be32, be64, box
from media import fragmented, moov_first, recording

TABLES = {b"stsz": 8, b"stts": 4, b"stsc": 4, b"stco": 4}
"""Where in a table, behind its name, the number of its entries stands."""


def mp4_files() -> Files:
    yield from ((f"{name}.m4a", data) for name, data in _tables())
    yield from ((f"{name}.m4a", data) for name, data in _times())
    yield from ((f"{name}.mp4", data) for name, data in _boxes())
    yield from ((f"{name}.mp4", data) for name, data in _fragments())
    yield from ((f"{name}.m4a", data) for name, data in _codecs())


def patched(data: bytes, table: bytes, offset: int, *numbers: int) -> bytes:
    """Write 32-bit numbers behind the name of every such box."""
    forged = bytearray(data)
    for found in re.finditer(re.escape(table), data):
        struct.pack_into(f">{len(numbers)}I", forged, found.end() + offset, *numbers)
    return bytes(forged)


def _tables() -> Iterator[tuple[str, bytes]]:
    whole = recording("m4a")
    for table, offset in TABLES.items():
        for count in (0, 1, 1_000_001, 50_000_000, 2**31, MOST_32):
            yield f"{table.decode()}-{count}", patched(whole, table, offset, count)
    everything = whole
    for table, offset in TABLES.items():
        everything = patched(everything, table, offset, MOST_32)
    yield "all-tables-of-four-billion", everything
    yield "samples-of-gigabytes", patched(whole, b"stsz", 4, GIGABYTES, 100)
    yield "ctts-of-four-billion", whole.replace(b"stts", b"ctts", 1)
    yield "ctts-as-well", whole.replace(b"sgpd", b"ctts").replace(b"sbgp", b"ctts")
    yield "chunk-behind-the-end", patched(whole, b"stco", 8, MOST_32)
    yield "chunk-is-the-index", patched(whole, b"stco", 8, 0)
    yield "one-byte-a-million-times", _one_byte(whole, 999_999)


def _one_byte(data: bytes, samples: int) -> bytes:
    data = patched(data, b"stsz", 4, 1, samples)
    data = patched(data, b"stts", 4, 1, samples)
    return patched(data, b"stsc", 4, 1, 1, samples, 1)


def _times() -> Iterator[tuple[str, bytes]]:
    whole = recording("m4a")
    for box_name in (b"mdhd", b"mvhd"):
        for scale, duration in ((0, 0), (0, MOST_32), (1, MOST_32), (MOST_32, 1), (1, 360_000), (2**31, 2**31)):
            name = f"{box_name.decode()}-{duration}-over-{scale}"
            yield name, patched(whole, box_name, 12, scale, duration)
    for delta in (0, 1, 2**31, MOST_32):
        yield f"stts-delta-{delta}", patched(whole, b"stts", 12, delta)
    yield "edit-of-ages", patched(whole, b"elst", 4, 1, MOST_32, 0, 0x10000)
    yield "edit-before-the-start", patched(whole, b"elst", 4, 1, 1, 2**31, 0x10000)
    yield "a-million-edits", patched(whole, b"elst", 4, 1_000_000)


def _boxes() -> Iterator[tuple[str, bytes]]:
    whole, first = recording("mp4"), moov_first()
    ftyp = box(b"ftyp", b"isom\0\0\2\0isomiso2mp41")
    nested = b""
    for _ in range(5_000):
        nested = box(b"moov", nested)
    yield "nested-moov", ftyp + nested
    nested = b""
    for _ in range(5_000):
        nested = box(b"udta", nested)
    yield "nested-udta", ftyp + box(b"moov", nested) + whole
    moov = whole[whole.index(b"moov") - 4 :]
    yield "moov-a-hundred-times", ftyp + moov * 100
    trak = moov[moov.index(b"trak") - 4 :][: struct.unpack_from(">I", moov, moov.index(b"trak") - 4)[0]]
    yield "a-thousand-traks", ftyp + box(b"moov", moov[8:116], trak * 1_000)
    yield "empty-traks", ftyp + box(b"moov", moov[8:116], box(b"trak") * 20_000)
    for size in (0, 1, 7, 8, 2**31, MOST_32):
        yield f"ftyp-of-{size}", box(b"ftyp", ftyp[8:], size=size) + whole
        yield f"moov-of-{size}", first.replace(first[first.index(b"moov") - 4 :][:4], be32(size), 1)
    yield "box-of-2-to-64", ftyp + be32(1) + b"free" + be64(MOST_64) + whole
    yield "box-of-2-to-63", ftyp + be32(1) + b"moov" + be64(2**63 - 1) + moov
    yield "a-hundred-thousand-boxes", ftyp + box(b"free") * 30_000 + whole
    bomb = zlib.compress(bytes(30_000_000), 9)
    for claimed in (30_000_000, MOST_32):
        compressed = box(b"cmov", box(b"dcom", b"zlib"), box(b"cmvd", be32(claimed), bomb))
        yield f"compressed-moov-of-{claimed}", ftyp + box(b"moov", compressed)
    cover = box(b"ilst", box(b"covr", box(b"data", be32(13, 0), b"\xff\xd8\xff", size=GIGABYTES)))
    yield "cover-of-gigabytes", ftyp + box(b"moov", moov[8:], box(b"udta", box(b"meta", be32(0), cover)))
    yield "cover-only", ftyp + box(b"moov", moov[8:116], box(b"udta", box(b"meta", be32(0), cover)))
    yield "chapters", ftyp + box(b"moov", moov[8:], box(b"udta", box(b"chpl", be32(1 << 24, 0), b"\xff" * 300)))


def _fragments() -> Iterator[tuple[str, bytes]]:
    whole = fragmented("mp4")
    head = whole[: whole.index(b"moof") - 4]
    fragment = whole[len(head) :]
    for count in (0, 1_000_000, MOST_32):
        yield f"trun-of-{count}", patched(whole, b"trun", 4, count)
    yield "late-forged-fragment", whole + patched(fragment, b"trun", 4, 2**31)
    yield "fragment-repeated", head + fragment * 200
    yield "empty-fragments", head + box(b"moof") * 20_000 + fragment
    yield "nested-fragments", head + box(b"moof", box(b"moof", fragment) * 10)
    yield "trun-sizes-of-gigabytes", patched(whole, b"trun", 12, GIGABYTES, GIGABYTES)
    yield "tfhd-before-the-file", patched(whole, b"tfhd", 8, 0xF8000000, 0)
    yield "tfdt-of-ages", patched(whole, b"tfdt", 4, MOST_32, MOST_32)
    yield "trex-of-ages", patched(whole, b"trex", 8, 1, MOST_32, MOST_32)
    sidx = box(b"sidx", be32(0, 1, 16_000, 0, 0, 65_535), be32(MOST_32, MOST_32, MOST_32) * 2_000)
    yield "sidx-of-ages", head + sidx + fragment
    tfra = box(b"tfra", be32(1 << 24, 1, 63, MOST_32), b"\xff" * 1_000)
    yield "tfra-of-four-billion", whole + box(b"mfra", tfra, box(b"mfro", be32(0, len(tfra) + 24)))


def _codecs() -> Iterator[tuple[str, bytes]]:
    whole = recording("m4a")
    for codec in (b"sowt", b"raw ", b"alac", b"ac-3", b"QDM2", b"MAC3", b".mp3", b"samr", b"fLaC", b"Opus", b"XXXX"):
        yield f"aac-that-says-{codec.decode().strip(' .').lower()}", whole.replace(b"mp4a", codec)
    at = whole.index(b"mp4a")
    for channels, bits, rate in ((0, 16, 0), (65_535, 65_535, MOST_32), (1, 16, 1), (255, 8, 2**31)):
        forged = bytearray(whole)
        struct.pack_into(">HHHHI", forged, at + 20, channels, bits, 0, 0, rate)
        yield f"{channels}-channels-at-{rate}", bytes(forged).replace(b"mp4a", b"sowt", 1)
        yield f"{channels}-channels-at-{rate}-aac", bytes(forged)
    esds = whole.index(b"esds")
    yield "esds-noise", whole[: esds + 8] + b"\xff" * 24 + whole[esds + 32 :]
    yield "esds-nothing", whole[: esds + 8] + bytes(24) + whole[esds + 32 :]
