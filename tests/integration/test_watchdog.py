"""The watchdog's last resort: a process in which no Python can run any more."""

import subprocess
import sys

PROGRAM = """
import ctypes
from audio_text.worker.watchdog import ThreadWatchdog

ThreadWatchdog(abort=lambda claim, seconds: None, retire=lambda: None, silent_seconds=1.0).start()
ctypes.PyDLL(None).sleep(120)
"""


def test_a_process_whose_interpreter_is_held_for_ever_ends_and_shows_where() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, timeout=60, check=False)
    assert done.returncode == 1
    assert b"<module>" in done.stderr
