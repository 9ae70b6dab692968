"""Matroska and WebM: elements whose sizes, numbers and compressions are not what they seem."""

import struct
import zlib
from collections.abc import Iterator

from attacks.forging import GIGABYTES, HUGE, MOST_64, UNKNOWN, Files, element, vint
from media import fragmented, recording

EBML, SEGMENT, INFO, TRACKS, TRACK, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1549A966, 0x1654AE6B, 0xAE, 0x1F43B675
AUDIO = 0xE1
HEAD = element(EBML, element(0x4282, b"webm"))
OPUS_HEAD = b"OpusHead\x01\x01\0\0\x80\xbb\0\0\0\0\0"
NOISE_PACKET = b"\xfc\xff\xfe" + bytes(40)


def number(identifier: int, value: int) -> bytes:
    return element(identifier, value.to_bytes(8, "big"))


def real(identifier: int, value: float) -> bytes:
    return element(identifier, struct.pack(">d", value))


def info(scale: int = 1_000_000, duration: float = 1_000.0) -> bytes:
    return element(INFO, number(0x2AD7B1, scale) + real(0x4489, duration))


def track(
    *extra: bytes, codec: bytes = b"A_PCM/INT/LIT", rate: float = 16_000.0, channels: int = 1, bits: int = 16
) -> bytes:
    audio = element(AUDIO, real(0xB5, rate) + number(0x9F, channels) + number(0x6264, bits))
    return element(TRACK, number(0xD7, 1) + number(0x83, 2) + element(0x86, codec) + audio + b"".join(extra))


def block(content: bytes, *, time: int = 0, flags: int = 0x80) -> bytes:
    return element(0xA3, b"\x81" + struct.pack(">hB", time, flags) + content)


def cluster(*blocks: bytes, time: int = 0) -> bytes:
    return element(CLUSTER, number(0xE7, time) + b"".join(blocks))


def webm(*parts: bytes) -> bytes:
    return HEAD + element(SEGMENT, b"".join(parts))


def matroska_files() -> Files:
    yield from ((f"{name}.webm", data) for name, data in _sizes())
    yield from ((f"{name}.webm", data) for name, data in _numbers())
    yield from ((f"{name}.webm", data) for name, data in _packets())


def _sizes() -> Iterator[tuple[str, bytes]]:
    whole = recording("webm")
    tracks = element(TRACKS, track())
    for name, size in (("unknown", UNKNOWN), ("huge", HUGE), ("nothing", vint(0)), ("zero-bytes", b"\0" * 8)):
        yield f"ebml-{name}", element(EBML, element(0x4282, b"webm"), size=size) + whole
        yield f"segment-{name}", HEAD + element(SEGMENT, info() + tracks, size=size)
        yield f"tracks-{name}", webm(info(), element(TRACKS, track(), size=size))
        yield f"cluster-{name}", webm(info(), tracks, element(CLUSTER, block(bytes(3_200)), size=size))
        yield f"private-{name}", webm(info(), element(TRACKS, track(element(0x63A2, b"x", size=size))))
        yield f"void-{name}", webm(info(), element(0xEC, b"", size=size), tracks)
        attached = element(0x61A7, element(0x466E, b"a.jpg") + element(0x465C, b"x", size=size))
        yield f"attachment-{name}", webm(info(), tracks, element(0x1941A469, attached))
    for identifier, name in ((SEGMENT, "segment"), (0x45B9, "edition"), (0x67C8, "tag"), (0xB6, "chapter")):
        nested = b""
        for _ in range(1_500):
            nested = element(identifier, nested)
        yield f"nested-{name}", webm(info(), nested, tracks)
    seek = element(0x4DBB, element(0x53AB, bytes.fromhex("114D9B74")) + number(0x53AC, 0))
    yield "seek-head-that-is-its-own", webm(element(0x114D9B74, seek * 500), info(), tracks)
    seek = element(0x4DBB, element(0x53AB, bytes.fromhex("1654AE6B")) + number(0x53AC, MOST_64))
    yield "seek-behind-everything", webm(element(0x114D9B74, seek), info())
    yield "ten-thousand-tracks", webm(info(), element(TRACKS, track() * 3_000))
    yield "hundred-thousand-voids", webm(info(), element(0xEC) * 15_000, tracks, cluster(block(bytes(320))))


def _numbers() -> Iterator[tuple[str, bytes]]:
    sound = cluster(*(block(bytes(3_200), time=100 * index) for index in range(10)))
    for rate in (0.0, -1.0, 1.0, 999.0, 1e6, 1e30, float("nan"), float("inf")):
        yield f"rate-{rate}", webm(info(), element(TRACKS, track(rate=rate)), sound)
    for channels in (0, 65, 255, 2**31, MOST_64):
        yield f"channels-{channels}", webm(info(), element(TRACKS, track(channels=channels)), sound)
    for bits in (0, 1, 7, 4_096, MOST_64):
        yield f"bits-{bits}", webm(info(), element(TRACKS, track(bits=bits)), sound)
    for scale in (0, 1, 2**40, MOST_64):
        yield f"scale-{scale}", webm(info(scale=scale), element(TRACKS, track()), sound)
    for duration in (-1.0, 3.6e8, 1e300, float("nan"), float("inf")):
        yield f"duration-{duration}", webm(info(duration=duration), element(TRACKS, track()), sound)
    for time in (2**40, 2**63, MOST_64):
        late = cluster(block(bytes(3_200)), time=time)
        yield f"cluster-at-{time}", webm(info(), element(TRACKS, track()), sound, late)
    for name, extra in (
        ("delay", number(0x56AA, MOST_64)),
        ("preroll", number(0x56BB, MOST_64)),
        ("lasting", number(0x23E383, MOST_64)),
        ("offset", number(0x537F, 2**63)),
    ):
        yield f"{name}-of-ages", webm(info(), element(TRACKS, track(extra)), sound)


def _packets() -> Iterator[tuple[str, bytes]]:
    for codec in (b"A_VORBIS", b"A_FLAC", b"A_AAC", b"A_TTA1", b"A_WAVPACK4", b"A_TRUEHD", b"A_DTS", b"A_REAL/COOK"):
        noise = cluster(*(block(NOISE_PACKET, time=20 * index) for index in range(20)))
        name = codec.decode().lower().replace("/", "-")
        yield (
            f"codec-{name}",
            webm(info(), element(TRACKS, track(element(0x63A2, b"\x02\xff\xff" * 40), codec=codec)), noise),
        )
    opus = element(TRACKS, track(element(0x63A2, OPUS_HEAD), codec=b"A_OPUS", rate=48_000.0))
    yield "opus-noise", webm(info(), opus, cluster(*(block(NOISE_PACKET, time=index) for index in range(2_000))))
    lasting = element(0xA0, element(0xA1, b"\x81\0\0\0" + NOISE_PACKET) + number(0x9B, GIGABYTES))
    yield "blocks-of-ages", webm(info(), opus, element(CLUSTER, number(0xE7, 0) + lasting * 200))
    for flags, name in ((0x02, "xiph"), (0x04, "fixed"), (0x06, "ebml")):
        laced = block(b"\xff" * 300, flags=flags)
        yield f"laced-{name}", webm(info(), element(TRACKS, track()), cluster(laced))
    bomb = zlib.compress(bytes(40_000_000), 9)
    packed = element(
        0x6D80, element(0x6240, number(0x5031, 0) + number(0x5032, 1) + element(0x5034, number(0x4254, 0)))
    )
    yield "compressed-block", webm(info(), element(TRACKS, track(packed)), cluster(block(bomb)))
    packed = element(
        0x6D80, element(0x6240, number(0x5031, 0) + number(0x5032, 2) + element(0x5034, number(0x4254, 0)))
    )
    yield "compressed-head", webm(info(), element(TRACKS, track(packed, element(0x63A2, bomb), codec=b"A_VORBIS")))
    yield "fifty-recordings", fragmented("webm", 0.2) * 50
