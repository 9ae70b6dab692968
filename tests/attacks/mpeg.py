"""MP3 and AAC: tags of hundreds of megabytes, counts that lie, and frames that are none."""

import random
import struct
import zlib
from collections.abc import Iterator

from attacks.forging import MOST_32, Files, be32, le32, synchsafe
from media import mp3_with_cover, recording

FRAME = b"\xff\xfb\x90\xc4"
"""MPEG 1 layer III, 128 kbit/s, 44.1 kHz, mono: 417 bytes."""

MOST_IN_TAG = 2**28 - 1


def id3(*frames: bytes, size: int | None = None, flags: int = 0, version: int = 4) -> bytes:
    content = b"".join(frames)
    return b"ID3" + bytes([version, 0, flags]) + synchsafe(len(content) if size is None else size) + content


def tag_frame(kind: bytes, content: bytes, *, size: int | None = None, flags: int = 0) -> bytes:
    return kind + synchsafe(len(content) if size is None else size) + flags.to_bytes(2, "big") + content


def mpeg_files(chance: random.Random) -> Files:
    yield from ((f"{name}.mp3", data) for name, data in _tags())
    yield from ((f"{name}.mp3", data) for name, data in _frames(chance))
    yield from ((f"{name}.aac", data) for name, data in _aac(chance))


def _tags() -> Iterator[tuple[str, bytes]]:
    sound = recording("mp3")
    yield "tag-only", id3(tag_frame(b"TIT2", b"\x03nothing"))
    yield "tag-of-256-mb-only", id3(size=MOST_IN_TAG)
    yield "tag-of-256-mb-then-sound", id3(size=MOST_IN_TAG) + sound
    yield "a-thousand-tags", id3() * 1_000 + sound
    yield "tag-in-tag", id3(id3(id3(id3()))) + sound
    yield "cover-only", mp3_with_cover(10_000)[: 10_000 + 40]
    yield "cover-of-256-mb", id3(tag_frame(b"APIC", b"\0image/png\0\3\0x", size=MOST_IN_TAG)) + sound
    yield "two-thousand-covers", id3(*[tag_frame(b"APIC", b"\0image/png\0\3\0\x89PNG")] * 2_000) + sound
    yield "cover-by-url", id3(tag_frame(b"APIC", b"\0-->\0\3\0http://127.0.0.1:9/cover.png")) + sound
    bomb = zlib.compress(bytes(20_000_000), 9)
    yield "compressed-frame", id3(tag_frame(b"TIT2", synchsafe(20_000_000) + bomb, flags=0x0009)) + sound
    yield "compressed-frame-of-256-mb", id3(tag_frame(b"APIC", synchsafe(MOST_IN_TAG) + bomb, flags=0x0009)) + sound
    yield "frames-without-size", id3(tag_frame(b"TIT2", b"") * 10_000) + sound
    yield "chapters", id3(*[tag_frame(b"CHAP", b"c\0" + b"\xff" * 16)] * 3_000) + sound
    yield "unsynchronised", id3(b"\xff\0" * 5_000, flags=0x80) + sound
    yield "extended-head-of-ages", id3(synchsafe(MOST_IN_TAG), flags=0x40) + sound
    yield "version-2", id3(b"PIC\xff\xff\xff\0JPG\3\0", version=2) + sound
    yield "version-255", id3(b"\xff" * 40, version=255) + sound
    ape = b"APETAGEX" + le32(2_000, MOST_32, MOST_32, 0x80000000) + bytes(8)
    yield "ape-tag", sound + ape
    yield "ape-tag-first", ape + sound
    yield "lyrics", sound + b"LYRICSBEGIN" + b"9" * 100 + b"LYRICS200"


def _frames(chance: random.Random) -> Iterator[tuple[str, bytes]]:
    sound = recording("mp3")
    frame = FRAME + bytes(413)
    yield "silent-frames", frame * 50
    yield "heads-only", FRAME * 5_000
    yield "one-frame", frame
    yield "head-of-a-frame", FRAME
    for name, mark, offset in (("xing", b"Xing", 21), ("info", b"Info", 21), ("vbri", b"VBRI", 36)):
        forged = bytearray(frame)
        numbers = be32(0xF, MOST_32, MOST_32) if mark != b"VBRI" else struct.pack(">HHHII", 1, 0, 0, MOST_32, MOST_32)
        forged[offset : offset + 4 + len(numbers)] = mark + numbers
        yield f"{name}-of-four-billion", bytes(forged) + frame * 20
    yield "free-format", (b"\xff\xfb\x00\xc4" + bytes(200)) * 200
    yield (
        "rates-change",
        b"".join(b"\xff\xfb" + bytes([0x90 | chance.choice((0, 4, 8)), 0xC4]) + bytes(413) for _ in range(300)),
    )
    yield (
        "layers-change",
        b"".join(bytes([0xFF, chance.choice((0xFB, 0xFD, 0xFF, 0xF3)), 0x90, 0xC4]) + bytes(413) for _ in range(200)),
    )
    yield "reserved-bits", b"\xff\xe8\xff\xff" * 3_000
    yield (
        "noise-between",
        b"".join(sound[index : index + 300] + chance.randbytes(300) for index in range(0, len(sound), 300)),
    )


def _aac(chance: random.Random) -> Iterator[tuple[str, bytes]]:
    def adts(length: int, *, rate: int = 8, channels: int = 1) -> bytes:
        head = 0xFFF1 << 40 | 1 << 38 | rate << 34 | channels << 30 | length << 13 | 0x7FF << 2
        return head.to_bytes(7, "big")

    for length in (0, 6, 7, 8, 8_191):
        yield f"frames-of-{length}", (adts(length) + bytes(max(0, length - 7))) * 40
    yield "frames-shorter-than-they-say", adts(500) * 2_000
    yield "frames-of-noise", b"".join(adts(207) + chance.randbytes(200) for _ in range(100))
    yield "reserved-rate", (adts(107, rate=15) + bytes(100)) * 50
    yield "no-channels", (adts(107, channels=0) + bytes(100)) * 50
    yield "channels-change", b"".join(adts(107, channels=chance.randrange(8)) + bytes(100) for _ in range(100))
    yield "rates-change", b"".join(adts(107, rate=chance.randrange(13)) + bytes(100) for _ in range(100))
    yield "adif", b"ADIF" + b"\xff" * 500
    yield "latm", b"\x56\xe0\xff" + chance.randbytes(2_000)
