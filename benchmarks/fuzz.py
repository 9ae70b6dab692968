"""Many cases of schemathesis over the whole API, as a night has time for. Run with `just fuzz`.

Real processes, PostgreSQL, Redis and mail. The exit code is 1 when an answer broke the promise of the document.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from audio_text import logs
from audio_text.adapters.migrations import migrate
from audio_text.settings import Settings
from services.api import settings_of
from services.database import temporary_database
from services.fuzzing import fuzz, fuzzed_service
from services.postgres import postgres_server
from services.redis import redis_server

LONGEST_SECONDS = 3_600.0


async def main(arguments: argparse.Namespace) -> int:
    logs.configure("error", "console")
    with (
        tempfile.TemporaryDirectory(prefix="audio-text-", ignore_cleanup_errors=True) as name,
        postgres_server() as postgres,
        redis_server() as redis,
    ):
        folder = Path(name)
        async with temporary_database(postgres, template="template0") as database:
            await migrate(database.settings, database.password)
            settings = settings_of(database, redis, folder)
            return await asyncio.to_thread(run, settings, folder, arguments)


def run(settings: Settings, folder: Path, arguments: argparse.Namespace) -> int:
    began = time.monotonic()
    with fuzzed_service(settings, folder) as api:
        findings = fuzz(api, folder, examples=arguments.examples, seed=arguments.seed, seconds=LONGEST_SECONDS)
        unforeseen = len(api.logged("request_failed"))
    if not findings.is_clean or unforeseen:
        print(findings.account)
    print(f"seed {arguments.seed}, {arguments.examples} examples: {time.monotonic() - began:.0f} s")
    print(f"cases generated   {findings.cases:6}")
    print(f"server errors     {findings.server_errors:6}")
    print(f"schema violations {findings.violations:6}")
    print(f"logged failures   {unforeseen:6}")
    return 0 if findings.is_clean and not unforeseen else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=400, help="most examples for each address and phase")
    parser.add_argument("--seed", type=int, default=1)
    sys.exit(asyncio.run(main(parser.parse_args())))
