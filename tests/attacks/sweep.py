"""The corpus through the probe and through a worker's decoding, one after the other and timed."""

import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from attacks.corpus import HostileFile
from audio_text.adapters.audio_decoding import open_sound_track
from audio_text.adapters.decoder_protocol import SAMPLE_RATE
from audio_text.adapters.decoders import Decoders
from audio_text.adapters.probe import PyAvProbe
from audio_text.errors import AudioTextError

COMPLETED = "heard"
CODES = {COMPLETED, "invalid_audio", "empty_audio", "no_sound_track"}
"""How each of them may end, in both places."""


class Outcome(NamedTuple):
    """How it went with one of them."""

    name: str
    probed: str
    decoded: str
    seconds: float
    sound_seconds: float


async def probed(probe: PyAvProbe, file: HostileFile) -> str:
    """The probe's verdict."""

    async def read_range(start: int, length: int) -> bytes:
        return file.data[start : start + length]

    try:
        await probe.probe(read_range, len(file.data))
    except AudioTextError as error:
        return error.code
    return COMPLETED


def decoded(file: HostileFile, folder: Path) -> tuple[str, float, float]:
    """The decoder's, the seconds that it took, and those of sound in it."""
    path, began, samples = folder / file.name, time.perf_counter(), 0
    path.write_bytes(file.data)
    try:
        with open_sound_track(path, Decoders()) as track:
            for piece in track.samples():
                samples += piece.size
    except AudioTextError as error:
        code = error.code
    else:
        code = COMPLETED
    finally:
        path.unlink()
    return code, time.perf_counter() - began, samples / SAMPLE_RATE


async def sweep(files: Iterable[HostileFile], folder: Path, *, threads: int = 2) -> list[Outcome]:
    """All of them, whatever they said to the probe: an object may change after it was probed."""
    files = list(files)
    probe = PyAvProbe()
    verdicts = [await probed(probe, file) for file in files]
    with ThreadPoolExecutor(threads) as pool:
        results = list(pool.map(lambda file: decoded(file, folder), files))
    return [
        Outcome(file.name, verdict, *result) for file, verdict, result in zip(files, verdicts, results, strict=True)
    ]
