"""An embedded server held by the tests: started, stopped, killed and started again on the same data."""

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Protocol

from audio_text.local.process import Command

START_SECONDS = 60.0
STOP_SECONDS = 30.0


class Embedded(Protocol):
    def command(self) -> Command: ...

    def is_ready(self) -> bool: ...


class Server:
    """A running server; `process` is None while it is down."""

    def __init__(self, embedded: Embedded, log: Path) -> None:
        self._embedded = embedded
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers; tried again while what a kill left behind is still in the way."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process is None or self.process.poll() is not None:
                with self._log.open("ab") as log:
                    self.process = subprocess.Popen(
                        self._embedded.command().tethered(),
                        env=self._embedded.command().environment,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        process_group=0,
                    )
            if self._embedded.is_ready():
                return
            time.sleep(0.03)
        raise TimeoutError(self._log.read_text(errors="replace")[-4_000:])

    def stop(self, how: signal.Signals | None = None) -> None:
        """End it in good order, or as this signal says."""
        self._end(how or self._embedded.command().stop_signal)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        if self.process is None:
            return
        self.process.send_signal(how)
        try:
            self.process.wait(STOP_SECONDS)
        finally:
            if self.process.poll() is None:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(STOP_SECONDS)
            self.process = None
