"""Runs the benchmarks: `just bench` all of them, `just bench service --jobs 30` one with its options."""

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
PARTS = os.environ | {"PYTHONPATH": str(FOLDER.parent / "tests")}
"""The servers and processes that are measured are those that the tests start."""

NAMES = sorted(path.stem for path in FOLDER.glob("[!_]*.py"))


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] not in NAMES:
        print(f"There is no benchmark {arguments[0]!r}. There are: {', '.join(NAMES)}.", file=sys.stderr)
        return 2
    names, options = ([arguments[0]], arguments[1:]) if arguments else (NAMES, [])
    for name in names:
        print(f"== {name}", flush=True)
        done = subprocess.run([sys.executable, str(FOLDER / f"{name}.py"), *options], env=PARTS, check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
