"""What a person sees while a recording turns into text. All of it on standard error: standard output is for results."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from audio_text.client import Job
from audio_text.domain.formats import timestamp
from audio_text.domain.transcript import Segment


class Display:
    """A progress bar at the bottom where there is a terminal, and lines that stay above it."""

    def __init__(self, *, quiet: bool) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False, markup=False, soft_wrap=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.percentage:5.1f} %"),
            TimeElapsedColumn(),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
            transient=True,
        )
        self._task = self._progress.add_task("", visible=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def begin(self, description: str, *, total: float) -> None:
        """Show the bar for a new step, empty."""
        self._progress.reset(self._task, description=description, total=total, visible=True)

    def advance_to(self, completed: float, *, description: str | None = None) -> None:
        """Move the bar, and say what is happening now."""
        self._progress.update(self._task, completed=completed, description=description)

    def say(self, line: str) -> None:
        """Print a line, unless --quiet."""
        self._console.print(line)

    def segment(self, segment: Segment) -> None:
        """Print what was just heard, with its times."""
        self.say(f"[{timestamp(segment.start)} --> {timestamp(segment.end)}] {segment.text}")

    def summary(self, job: Job) -> None:
        """Print how long it took, as the service measured it."""
        if job.duration is None or job.processing_time_seconds is None:
            return
        line = f"{job.duration:.1f} s of audio in {job.processing_time_seconds:.2f} s"
        if job.real_time_factor is not None:
            line += f", real-time factor {job.real_time_factor:.3f}"
        if job.language:
            line += f", language {job.language}"
        self.say(line)
