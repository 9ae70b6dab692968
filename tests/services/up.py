"""`audio-text up` in a process of its own."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil

START_SECONDS = 90.0
STOP_SECONDS = 90.0


def clean_environment(**extra: str) -> dict[str, str]:
    """Give the environment of somebody who has set nothing."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("AUDIO_TEXT_", "REDIS_URL"))}  # noqa: TID251 -- handed on to a child
    return ours | extra


class Up:
    """A stack that is starting or running; its output is collected as it comes."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        user: int | None = None,
        environment: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        arguments = [python, "-P", "-m", "audio_text", "up", "--data", str(folder), *options]
        self.process = subprocess.Popen(
            arguments,
            env=environment or clean_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            user=user,
            group=user,
            extra_groups=None if user is None else [],
            process_group=0,
            cwd="/",
        )
        self.lines: list[str] = []
        self.url = ""
        self._news = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, *, times: int = 1) -> str:
        """Wait for lines of the output; give the last one's first group, if it has one."""

        def found() -> list[re.Match[str]]:
            return [match for line in self.lines if (match := re.search(pattern, line))]

        with self._news:
            assert self._news.wait_for(lambda: len(found()) >= times or not self._reader.is_alive(), START_SECONDS), (
                f"no {pattern!r} in:\n{self.output}"
            )
        assert len(found()) >= times, f"no {pattern!r} before the end of:\n{self.output}"
        match = found()[-1]
        return match[1] if match.groups() else match[0]

    def until_running(self) -> "Up":
        self.url = self.wait_for(r"^  API +(http\S+)")
        return self

    def processes(self) -> list[psutil.Process]:
        """Give the whole tree, this process first."""
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def child(self, name: str) -> psutil.Process:
        """Give the child that the log last called by this name."""
        return psutil.Process(int(self.wait_for(rf"child_started .*child={name} pid=(\d+)")))

    def is_ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=5, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.close()

    def close(self) -> int:
        """Wait for the end and give the exit code."""
        try:
            return self.process.wait(STOP_SECONDS)
        finally:
            self.process.kill()
            self._reader.join(STOP_SECONDS)
            assert self.process.stdout is not None
            self.process.stdout.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._news:
                self.lines.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self._news.notify_all()


@contextmanager
def running(up: Up) -> Generator[Up, None, None]:
    """Wait until it runs; leave nothing of it behind."""
    try:
        yield up.until_running()
    finally:
        up.process.kill()
        up.close()
