"""Recordings that nobody recorded: some hundred small files made to hurt who opens them, the same ones for a seed."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from attacks import matroska, mp4, mpeg, ogg, other_files, references, riff
from attacks.flac import flac_files
from attacks.forging import Files
from media import RECIPES, fragmented, moov_first, recording
from recordings import path_of, samples_of, write

SEED = 5

CUTS = (1, 5, 12, 30, 48, 200, 0.1, 0.35, 0.6, 0.97)
"""Where recordings are cut: after so many bytes, or after such a share of them."""


@dataclass(frozen=True)
class HostileFile:
    """One of them."""

    name: str
    data: bytes

    @property
    def extension(self) -> str:
        """A name it may be uploaded under."""
        return self.name.rpartition(".")[2]


def corpus(folder: Path, *, seed: int = SEED, url: str, canary: Path) -> list[HostileFile]:
    """All of them, by kind; real recordings pass by `folder`.

    Those that refer to something refer to `url` and `canary`.
    """
    chance = random.Random(seed)
    kinds: dict[str, Iterator[tuple[str, bytes]]] = {
        "truncated": truncated(),
        "flipped": flipped(folder, chance),
        "spliced": spliced(chance),
        "wav": riff.wav_files(),
        "mp4": mp4.mp4_files(),
        "matroska": matroska.matroska_files(),
        "ogg": ogg.ogg_files(),
        "flac": flac_files(),
        "mpeg": mpeg.mpeg_files(chance),
        "other": other_files.other_files(chance),
        "references": references.references(url, canary),
    }
    return [HostileFile(f"{kind}-{name}", data) for kind, files in kinds.items() for name, data in files]


def truncated() -> Files:
    """Every container, cut at many places."""
    whole = {kind: recording(kind) for kind in RECIPES}
    whole |= {"first.mp4": moov_first(), "fragments.mp4": fragmented("mp4"), "live.webm": fragmented("webm")}
    for kind, data in whole.items():
        for cut in CUTS:
            length = int(cut * len(data)) if isinstance(cut, float) else cut
            name, _, extension = kind.rpartition(".")
            yield f"{name or kind}-at-{length}.{extension}", data[:length]


def flipped(folder: Path, chance: random.Random) -> Files:
    """Speech in every format, with bits that fell over: a few anywhere, many anywhere, many in the head."""
    for kind, recipe in RECIPES.items():
        path = write(folder / f"speech.{kind}", samples_of("one_a"), recipe._replace(video=None))
        data = path.read_bytes()
        path.unlink()
        for flips, reach in ((5, len(data)), (200, len(data)), (30, 400), (8, 120)):
            damaged = bytearray(data)
            for _ in range(flips):
                damaged[chance.randrange(min(reach, len(data)))] ^= 1 << chance.randrange(8)
            yield f"{flips}-in-{reach}.{kind}", bytes(damaged)
    for number in range(6):
        damaged = bytearray(path_of("one_a").read_bytes())
        for _ in range(20 * number + 1):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        yield f"real-{number}.flac", bytes(damaged)


def spliced(chance: random.Random) -> Files:
    """The head of one format and the body of another, or of noise."""
    kinds = list(RECIPES)
    for kind in kinds:
        head = recording(kind)[:512]
        other = chance.choice([other for other in kinds if other != kind])
        yield f"{kind}-then-{other}.{kind}", head + recording(other)
        yield f"{kind}-then-noise.{kind}", head + chance.randbytes(20_000)
        yield f"{kind}-twice.{kind}", recording(kind) * 2
