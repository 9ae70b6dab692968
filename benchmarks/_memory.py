"""What memory processes take, as the kernel counts it."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import psutil

THIS = psutil.Process()


class Sampler:
    """Looks again and again, from a thread; what it saw is in `seen`."""

    def __init__(self, look: Callable[[], float], *, seconds: float) -> None:
        self.seen: list[float] = []
        self._look = look
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(self._seconds):
            self.seen.append(self._look())


def proportional_mib() -> float:
    """What this process takes, and the processes in which it decodes."""
    return sum(_kib_of(process.pid, "smaps_rollup", "Pss:") for process in (THIS, *THIS.children())) / 1024


def high_water_mib() -> float:
    """The most that was ever resident of this process alone."""
    return _kib_of(THIS.pid, "status", "VmHWM:") / 1024


def confined_mib() -> float:
    """The most that was ever resident of any of the processes in which this one decodes now."""
    return max((_confined_kib(process) for process in THIS.children()), default=0) / 1024


def _confined_kib(process: psutil.Process) -> int:
    # Not RUSAGE_CHILDREN: a child has its parent's memory until it executes its own program, and keeps its high water.
    try:
        is_confined = any(part.endswith("_child") for part in process.cmdline())
    except psutil.Error:
        return 0
    return _kib_of(process.pid, "status", "VmHWM:") if is_confined else 0


def _kib_of(pid: int, file: str, label: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/{file}").read_text().splitlines()
    except OSError:  # it has ended by now
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith(label)), 0)
