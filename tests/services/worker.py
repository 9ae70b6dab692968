"""A worker under test, as a process of its own."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from audio_text.settings import Settings

START_SECONDS = 60.0
STOP_SECONDS = 60.0
WITH_SETTINGS = Path(__file__).with_name("worker_process.py")
ODD = Path(__file__).with_name("odd_worker_process.py")


@dataclass
class WorkerProcess:
    """One group's process and what it has logged."""

    process: subprocess.Popen[bytes]
    log: Path

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = self.log.read_bytes().splitlines()
        return [line for text in lines if (line := msgspec.json.decode(text)).get("event") == event]

    def wait_for(self, event: str) -> dict[str, Any]:
        """Wait until the process has logged this."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if lines := self.logged(event):
                return lines[-1]
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise TimeoutError(f"no {event!r} in {self.log.read_text(errors='replace')[-4_000:]}")

    def kill(self) -> None:
        """Send SIGKILL, and wait until it is gone."""
        self.process.kill()
        self.process.wait(STOP_SECONDS)

    def terminate(self) -> int:
        """Send SIGTERM; the exit status."""
        self.process.terminate()
        return self.process.wait(STOP_SECONDS)


@contextmanager
def worker_process(
    settings: Settings, folder: Path, *tiers: str, name: str = "worker", script: Path = WITH_SETTINGS
) -> Iterator[WorkerProcess]:
    """Start a worker and wait until it consumes; whatever is left of it at the end is killed."""
    config, log = folder / f"{name}.json", folder / f"{name}.log"
    config.write_bytes(msgspec.json.encode(settings))
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", str(script), str(config), *tiers], stdout=output, stderr=output
        )
    try:
        worker = WorkerProcess(process, log)
        worker.wait_for("worker_ready")
        yield worker
        if process.poll() is None:
            worker.terminate()
    finally:
        process.kill()
        process.wait()
