"""Run as a script: a worker whose model misbehaves, in the way that a job's hotwords name, after its first segment.

The model itself is the real one: what happens, happens where native code would run.
"""

import ctypes
import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from audio_text.adapters import engine, models
from audio_text.adapters.whisper import VendorInfo, VendorSegment, Whisper, load_whisper
from services import worker_process

HELD_SECONDS = 8
"""More than two of the shortest leases."""

SPINNING_THREADS = 4


class OddWhisper:
    """Has everything of a model, and a temper."""

    def __init__(self, whisper: Whisper) -> None:
        self._whisper = whisper

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whisper, name)

    def transcribe(self, audio: Any, **options: Any) -> tuple[Iterator[VendorSegment], VendorInfo]:
        segments, info = self._whisper.transcribe(audio, **options)
        return misbehaving(segments, options["hotwords"] or ""), info


def misbehaving(segments: Iterator[VendorSegment], how: str) -> Iterator[VendorSegment]:
    for number, segment in enumerate(segments):
        if number == 1:
            misbehave(how)
        yield segment


def misbehave(how: str) -> None:
    match how:
        case "die":
            os._exit(139)
        case "hang":
            ctypes.CDLL(None).pause()
        case "hold":
            ctypes.PyDLL(None).sleep(HELD_SECONDS)
        case "spin":
            spinning = [threading.Thread(target=spin) for _ in range(SPINNING_THREADS)]
            for thread in spinning:
                thread.start()
            for thread in spinning:
                thread.join()
        case "break":
            raise RuntimeError("CUDA failed with error an illegal memory access was encountered")


def spin() -> None:
    end = time.monotonic() + HELD_SECONDS
    while time.monotonic() < end:
        pass


def load(folder: Path, **options: Any) -> Any:
    return OddWhisper(load_whisper(folder, **options))


if __name__ == "__main__":
    models.load_whisper = load
    engine.CLOSE_SECONDS = 1.0
    worker_process.main()
