"""Hostile recordings and hostile clients: what comes of them, and what they cost. Run with `just bench hostile`.

The corpus goes through the probe and a worker's decoding, file by file, and a part of it through a real worker. With
`--sockets N` so many idle live connections are opened instead, and what each takes in the API is printed.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import psutil
from _memory import Sampler, confined_mib

from attacks.corpus import SEED, HostileFile, corpus
from attacks.idle import IdleSockets
from attacks.stage import JOB_SECONDS, exchanged, sample
from attacks.sweep import CODES, COMPLETED, Outcome, sweep
from attacks.watch import lures
from audio_text import logs
from audio_text.adapters.audio_decoding import open_sound_track
from audio_text.adapters.decoders import Decoders
from audio_text.adapters.migrations import migrate
from audio_text.bootstrap import open_keys
from audio_text.domain.access import Scope
from audio_text.settings import Settings
from recordings import RATE, samples_of, write
from services.api import api_process, running, settings_of
from services.database import temporary_database
from services.postgres import postgres_server
from services.redis import redis_server
from services.tenants import without_open_mode
from services.worker import worker_process

MIB = 1024 * 1024

SAMPLING_SECONDS = 0.01
"""How often confined processes are looked at: most live for a tenth of a second."""

SETTLING_SECONDS = 0.3
"""After which a process that was started ahead waits."""


@asynccontextmanager
async def service(folder: Path) -> AsyncGenerator[Settings]:
    """PostgreSQL and Redis, and settings that name them."""
    async with AsyncExitStack() as stack:
        server = stack.enter_context(postgres_server())
        redis = stack.enter_context(redis_server())
        database = await stack.enter_async_context(temporary_database(server, template="template0"))
        await migrate(database.settings, database.password)
        yield settings_of(database, redis, folder)


def report(outcomes: list[Outcome], *, seed: int) -> bool:
    """Print what came of each; whether every promise was kept."""
    print(f"{len(outcomes)} files of seed {seed}")
    for (probed, decoded), count in Counter((o.probed, o.decoded) for o in outcomes).most_common():
        print(f"  {count:>4}  probe: {probed:<15} worker: {decoded}")
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    longest = max(outcomes, key=lambda outcome: outcome.sound_seconds)
    print(f"  slowest: {slowest.name}, {slowest.seconds:.2f} s")
    print(f"  most sound: {longest.name}, {longest.sound_seconds:,.0f} s decoded in {longest.seconds:.2f} s")
    unstable = [outcome for outcome in outcomes if not {outcome.probed, outcome.decoded} <= CODES]
    sneaked = [outcome for outcome in outcomes if outcome.probed != COMPLETED and outcome.decoded == COMPLETED]
    for outcome in (*unstable, *sneaked):
        print(f"  BROKEN: {outcome}")
    return not unstable and not sneaked


async def through_worker(files: list[HostileFile], folder: Path, *, count: int) -> bool:
    """A part of them as jobs of a real worker."""
    async with service(folder) as settings, running(settings) as api:
        engine = msgspec.structs.replace(settings.engine, preload=["demo"])
        jobs = [await exchanged(api, file) for file in sample(files, count)]
        began = time.perf_counter()
        with worker_process(msgspec.structs.replace(settings, engine=engine), folder, "audio_small") as worker:
            rows = [await api.ended(job, seconds=JOB_SECONDS) for job in jobs]
            seconds = time.perf_counter() - began
            peak = psutil.Process(worker.process.pid).memory_info().rss
            is_alive = worker.process.poll() is None
    counts = Counter(row.error_code or COMPLETED for row in rows)
    print(f"{count} of them as jobs of one worker, in {seconds:.1f} s: {dict(counts)}")
    print(f"  worker deaths: {int(not is_alive)}, attempts: {sum(row.attempt for row in rows)}")
    print(f"  memory of the worker after them: {peak / MIB:.0f} MiB")
    return is_alive and set(counts) <= CODES


def cost_of_a_child(folder: Path) -> None:
    """What a child per recording costs: its start, where none is waiting, and its speed."""
    decoders = Decoders()
    short = write(folder / "short.wav", samples_of("one_a"))
    for what, prepare in (("at once", lambda: None), ("by one that waited", decoders.start_ahead)):
        seconds = sorted(_opening_seconds(short, decoders, prepare) for _ in range(20))
        print(f"opening a recording in a process of its own, {what}: {seconds[10] * 1_000:.0f} ms (median of 20)")
    for kind in ("wav", "mp3", "m4a"):
        path = write(folder / f"long.{kind}", samples_of("memo_100s").repeat(1))
        began, count = time.perf_counter(), 0
        with open_sound_track(path, decoders) as track:
            count = sum(piece.size for piece in track.samples())
        seconds = time.perf_counter() - began
        print(f"  {kind}: {count / RATE:.0f} s of sound in {seconds:.2f} s, start included")


def _opening_seconds(path: Path, decoders: Decoders, prepare: Callable[[], None]) -> float:
    prepare()
    time.sleep(SETTLING_SECONDS)
    began = time.perf_counter()
    with open_sound_track(path, decoders):
        return time.perf_counter() - began


async def idle_sockets(folder: Path, count: int) -> None:
    """Open so many live connections of one key that say nothing."""
    async with service(folder) as in_open_mode:
        settings = without_open_mode(in_open_mode)
        async with open_keys(settings) as access:
            _, secret = await access.create(owner="idler", name="idle", scopes=frozenset({Scope.read}))
        with api_process(settings, folder) as api:
            workers = api.workers()
            before = sum(worker.memory_info().rss for worker in workers)
            sockets = IdleSockets(settings.api.host, int(api.address.rpartition(":")[2]), secret=secret)
            began = time.perf_counter()
            opened, refused = await sockets.open(count)
            seconds = time.perf_counter() - began
            after = sum(worker.memory_info().rss for worker in workers)
            print(f"{count} idle sockets of one key: {opened} open, {refused} refused or cut off, in {seconds:.1f} s")
            if opened:
                print(f"  memory of the API: {(after - before) / opened / 1024:.1f} KiB a socket")
            print(f"  another client is answered in {await sockets.answer_seconds() * 1_000:.0f} ms meanwhile")
            await sockets.close()


async def main(arguments: argparse.Namespace) -> int:
    logs.configure("error", "console")
    with tempfile.TemporaryDirectory(prefix="audio-text-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        if arguments.sockets:
            await idle_sockets(folder, arguments.sockets)
            return 0
        (folder / "sweep").mkdir()
        with lures(folder) as watched:
            files = corpus(folder, seed=arguments.seed, url=watched.url, canary=watched.canary)
            began = time.perf_counter()
            with Sampler(confined_mib, seconds=SAMPLING_SECONDS) as memory:
                outcomes = await sweep(files, folder / "sweep")
            is_kept = report(outcomes, seed=arguments.seed)
            print(f"  most memory of a confined process: {max(memory.seen):.0f} MiB")
            print(f"  all of it in {time.perf_counter() - began:.0f} s")
            is_kept &= await through_worker(files, folder, count=arguments.jobs)
            left = list((folder / "sweep").iterdir())
            print(f"  connections made: {watched.calls}, canary opened: {watched.openings}, files left: {len(left)}")
            is_kept &= not (watched.calls or watched.openings or left)
        cost_of_a_child(folder)
    return 0 if is_kept else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED, help="another seed, another corpus")
    parser.add_argument("--jobs", type=int, default=40, help="how many go through a real worker")
    parser.add_argument("--sockets", type=int, default=0, help="open so many idle live connections instead")
    sys.exit(asyncio.run(main(parser.parse_args())))
