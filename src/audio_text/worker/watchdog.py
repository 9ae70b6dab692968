"""A thread that ends the process when nothing else can: neither the event loop nor, in the last resort, Python.

What is stuck in native code cannot be interrupted. Where it has let go of the interpreter, this thread runs, sees the
job's hard limit pass and aborts. Where it holds the interpreter, no Python runs at all, the leases run out and other
processes take the jobs over; a timer of `faulthandler`, which needs no interpreter, then writes all stacks to stderr
and ends the process with exit code 1.
"""

import faulthandler
import threading
import time
from collections.abc import Callable

from audio_text.ports import Claim

LOOK_SECONDS = 5.0
"""How often the thread shows that Python runs."""

SILENT_SECONDS = 60.0
"""A process in which no Python ran for so long has lost all its jobs; a native call that is merely slow is shorter."""


class ThreadWatchdog:
    """The port `Watchdog`. `abort` is called on the thread, with a claim and the seconds that it was watched."""

    def __init__(
        self,
        *,
        abort: Callable[[Claim, float], None],
        retire: Callable[[], None],
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        self._abort = abort
        self._retire = retire
        self._silent_seconds = silent_seconds
        self._began: dict[Claim, float] = {}
        self._deadlines: dict[Claim, float] = {}
        self._changed = threading.Condition()

    def start(self) -> None:
        """Watch until the process ends."""
        threading.Thread(target=self._run, name="watchdog", daemon=True).start()

    def watch(self, claim: Claim, *, seconds: float) -> None:
        """Abort unless the claim is dismissed within so many seconds from now."""
        now = time.monotonic()
        with self._changed:
            self._began.setdefault(claim, now)
            self._deadlines[claim] = now + seconds
            self._changed.notify()

    def dismiss(self, claim: Claim) -> None:
        """The claim needs no watching any more."""
        with self._changed:
            self._began.pop(claim, None)
            self._deadlines.pop(claim, None)

    def retire(self) -> None:
        """Let the process end in good order."""
        self._retire()

    def _run(self) -> None:
        while True:
            faulthandler.dump_traceback_later(self._silent_seconds, exit=True)
            with self._changed:
                now = time.monotonic()
                overdue = [claim for claim, deadline in self._deadlines.items() if deadline <= now]
                if not overdue:
                    next_look = min([now + LOOK_SECONDS, *self._deadlines.values()])
                    self._changed.wait(next_look - now)
                    continue
                seconds = now - self._began[overdue[0]]
            self._abort(overdue[0], seconds)
            return
