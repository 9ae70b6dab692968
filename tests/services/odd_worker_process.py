"""Run as a script: a worker whose model misbehaves, in the way that a job's hotwords name, after its first window.

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
from audio_text.adapters.whisper import HeardWindow, VendorInfo, Whisper, load_whisper
from services import worker_process

HELD_SECONDS = 8
"""More than two of the shortest leases."""

SPINNING_THREADS = 4

WINDOW_SECONDS = 0.5
"""What a window takes a model at the least: what was heard before is stored meanwhile."""


class OddWhisper:
    """Has everything of a model, and a temper."""

    def __init__(self, whisper: Whisper) -> None:
        self._whisper = whisper

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whisper, name)

    def transcribe_from(self, *where: Any, **options: Any) -> tuple[Iterator[HeardWindow], VendorInfo]:
        windows, info = self._whisper.transcribe_from(*where, **options)
        return misbehaving(windows, options["hotwords"] or ""), info


def misbehaving(windows: Iterator[HeardWindow], how: str) -> Iterator[HeardWindow]:
    first = next(windows, None)
    if first:
        yield first
        time.sleep(WINDOW_SECONDS)
    misbehave(how)
    yield from windows


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
