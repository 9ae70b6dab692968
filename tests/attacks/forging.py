"""The forger's tools: how the containers spell numbers, boxes and sums."""

import struct
from collections.abc import Iterator
from typing import TypeAlias

Files: TypeAlias = Iterator[tuple[str, bytes]]
"""Names and contents."""

MOST_32 = 2**32 - 1
MOST_64 = 2**64 - 1
GIGABYTES = 3_000_000_000


def be32(*numbers: int) -> bytes:
    return struct.pack(f">{len(numbers)}I", *numbers)


def be64(number: int) -> bytes:
    return struct.pack(">Q", number)


def le16(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}H", *numbers)


def le32(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


def le64(number: int) -> bytes:
    return struct.pack("<Q", number)


def synchsafe(number: int) -> bytes:
    """ID3's sizes: seven bits a byte."""
    return bytes(number >> shift & 0x7F for shift in (21, 14, 7, 0))


def box(kind: bytes, *content: bytes, size: int | None = None) -> bytes:
    """A box of an mp4; `size` is what it says it takes."""
    body = b"".join(content)
    return be32(8 + len(body) if size is None else size) + kind + body


def chunk(kind: bytes, content: bytes, size: int | None = None) -> bytes:
    """A chunk of a RIFF file."""
    return kind + le32(len(content) if size is None else size) + content + b"\0" * (len(content) % 2)


def element(identifier: int, content: bytes = b"", size: bytes | None = None) -> bytes:
    """An element of EBML; `size` is how it spells its size."""
    length = (identifier.bit_length() + 7) // 8
    return identifier.to_bytes(length, "big") + (vint(len(content)) if size is None else size) + content


def vint(number: int) -> bytes:
    return (number | 1 << 56).to_bytes(8, "big")


UNKNOWN = b"\x01" + b"\xff" * 7
"""EBML: the size is not known, read on."""

HUGE = b"\x01" + b"\xff" * 6 + b"\xfe"
"""EBML: 72 petabytes."""


def crc(data: bytes, *, polynomial: int, bits: int) -> int:
    """Not reflected, begins with zero: FLAC's (8 and 16 bits) and Ogg's (32)."""
    value, top = 0, 1 << (bits - 1)
    for byte in data:
        value ^= byte << (bits - 8)
        for _ in range(8):
            value = ((value << 1) ^ polynomial if value & top else value << 1) & (2 * top - 1)
    return value
