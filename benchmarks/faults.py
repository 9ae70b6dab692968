"""What happens when things die: a soak under chaos, then how fast each part recovers. Run with `just bench faults`.

Real processes, PostgreSQL, Redis and radosgw. The exit code is 1 when a promise was broken.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import pytest

from audio_text import logs
from soak.recovery import measure
from soak.run import many_kinds, soak
from soak.system import running_system
from soak.verdict import table

LEASE_SECONDS = 5.0
"""In the soak, so that a worker can be frozen for longer without most of the time going into that."""

PAUSE_SECONDS = (1.0, 4.0)
"""Between two faults."""


async def run_soak(arguments: argparse.Namespace, folder: Path) -> bool:
    async with running_system(folder, lease_seconds=LEASE_SECONDS) as system:
        recordings = await asyncio.to_thread(many_kinds, folder / "recordings", seed=arguments.seed)
        verdict, injected, seconds = await soak(
            system, recordings, jobs=arguments.jobs, seed=arguments.seed, pause=PAUSE_SECONDS
        )
    print(table(verdict, injected, seed=arguments.seed, seconds=seconds))
    return not verdict.broken


async def main(arguments: argparse.Namespace) -> int:
    logs.configure("error", "console")
    with tempfile.TemporaryDirectory(prefix="audio-text-", ignore_cleanup_errors=True) as name:
        folder = Path(arguments.keep or name)
        folder.mkdir(exist_ok=True)
        folder.chmod(0o755)
        is_well = arguments.recovery or await run_soak(arguments, folder)
        if arguments.recovery or not arguments.soak:
            async for figure in measure(folder, trials=arguments.trials):
                print(figure, flush=True)
    return 0 if is_well else 1


def run(arguments: argparse.Namespace) -> int:
    try:
        return asyncio.run(main(arguments))
    except pytest.skip.Exception as missing:
        print(f"skipped: {missing.msg}")
        return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=300, help="jobs in the soak")
    parser.add_argument("--seed", type=int, default=1, help="what is drawn: recordings, behaviours, faults and pauses")
    parser.add_argument("--soak", action="store_true", help="only the soak")
    parser.add_argument("--recovery", action="store_true", help="only the recovery times")
    parser.add_argument("--trials", type=int, default=5, help="of each recovery time")
    parser.add_argument("--keep", help="a new folder for logs and data, to be kept")
    sys.exit(run(parser.parse_args()))
