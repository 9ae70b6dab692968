"""Run as a script: supervise two children that write their pids to a file; deaf ones ignore SIGTERM."""

import asyncio
import sys

from audio_text.local.child import Child, Output
from audio_text.local.process import Command
from audio_text.local.supervisor import supervise

CHILD = """\
import os, signal, sys, time
if sys.argv[2] == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(sys.argv[1], "a") as file:
    file.write(f"{os.getpid()}\\n")
time.sleep(600)
"""


def main() -> None:
    command = Command(arguments=(sys.executable, "-c", CHILD, *sys.argv[1:]))
    children = [Child(name=name, command=command, grace_seconds=60.0) for name in ("one", "two")]
    sys.exit(asyncio.run(supervise(children, Output(sys.stdout.buffer))))


if __name__ == "__main__":
    main()
