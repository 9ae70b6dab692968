"""One worker process: an asyncio loop for all that waits, dramatiq's threads for the messages, one engine for all.

dramatiq's own command line is not used: it forks, respawns nobody and hides failures at boot (ADR 0002). The
process ends by itself with 0 after SIGTERM or when it is due for recycling, with STUCK or BROKEN when its engine is
of no use any more; whoever started it starts another.
"""

import asyncio
import ctypes
import os
import signal
import sys
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import structlog

from audio_text.adapters.broker import make_broker, make_worker
from audio_text.adapters.engine import WhisperEngine
from audio_text.adapters.queue_protocol import ACTOR_NAME
from audio_text.bootstrap import open_deliverer, open_ingest, open_resources
from audio_text.ports import Claim
from audio_text.services.dependencies import dependencies, watching
from audio_text.services.reconciliation import ReconciliationService
from audio_text.services.time_limits import fail_stuck
from audio_text.services.transcription import TranscriptionService
from audio_text.settings import Settings
from audio_text.worker.actors import declare_actors
from audio_text.worker.groups import WorkerGroup, process_name
from audio_text.worker.watchdog import ThreadWatchdog

log = structlog.get_logger(__name__)

STUCK = 70
"""Exit code of a process in which a job could not be stopped (EX_SOFTWARE of sysexits.h)."""

BROKEN = 71
"""Exit code of a process whose GPU reported a fault (EX_OSERR of sysexits.h)."""

LAST_WORDS_SECONDS = 3.0
"""How long a process that ends itself tries to write down why."""

M_ARENA_MAX = -8
"""From malloc.h of the GNU C library."""

HEAPS = 2
"""Each thread would get a heap of its own, and keep what a block once needed: a quarter more memory for nothing."""


def main(settings: Settings, group: WorkerGroup, *, owner: str = "") -> None:
    """Run one group's process until SIGTERM, SIGINT or recycling. Raises ModelUnavailableError from preloading.

    `owner` names it on the jobs it has. Whoever had the name before is dead: its jobs need not wait for their leases.
    """
    share_heaps()
    process = WorkerProcess(settings, group, owner=owner or process_name())
    asyncio.run(process.run())
    if process.exit_code:
        # the interpreter would wait for a thread that is stuck, and give a broken GPU back what it cannot take
        os._exit(process.exit_code)


def share_heaps() -> None:
    """Let all threads share a few heaps of the C library, where it is one that can be told so; before they start."""
    if sys.platform == "linux" and hasattr(ctypes.CDLL(None), "mallopt"):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, HEAPS)


class WorkerProcess:
    """Joins dramatiq's threads and the event loop, and decides when the process ends."""

    def __init__(self, settings: Settings, group: WorkerGroup, *, owner: str) -> None:
        self._settings = settings
        self._group = group
        self._owner = owner
        self._name = f"audio-text-worker-{group.name}"
        self._watchdog = ThreadWatchdog(abort=self._abort, retire=self._retire)
        self._done = 0
        self.exit_code = 0
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Consume until told to stop, then hand the running jobs back."""
        self._loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self._on_signal)
        async with (
            open_resources(self._settings, name=self._name, live=True) as resources,
            watching(dependencies(resources, self._settings)),
            open_ingest(resources, self._settings) as ingest,
            open_deliverer(resources, self._settings) as self._deliverer,
        ):
            reconciliation = ReconciliationService(resources, settings=self._settings)
            await reconciliation.relieve(self._owner)
            engine = WhisperEngine(
                self._settings.engine,
                self._settings.models,
                concurrency=self._group.concurrency,
                stuck=self._give_up_engine,
            )
            await self._preload(engine)
            self._service = TranscriptionService(
                resources,
                engine=engine,
                ingest=ingest,
                watchdog=self._watchdog,
                settings=self._settings,
                owner=self._owner,
            )
            self._watchdog.start()
            async with self._deliverer.running(), self._consuming(), asyncio.TaskGroup() as group:
                upkeep = group.create_task(reconciliation.run_forever())
                await self._stop.wait()
                upkeep.cancel()

    async def _preload(self, engine: WhisperEngine) -> None:
        for model in self._settings.engine.preload:
            if self._settings.route(model) in self._group.tiers:
                await engine.preload(model)

    @asynccontextmanager
    async def _consuming(self) -> AsyncGenerator[None, None]:
        threads = self._group.concurrency
        broker = make_broker(
            self._settings.redis,
            self._settings.secrets.redis_password,
            tiers=self._group.tiers,
            slots=threads,
            client_name=self._name,
        )
        declare_actors(broker, actor_name=ACTOR_NAME, queue_name=self._group.tiers[0], run_next=self._run_next)
        worker = make_worker(broker, threads)
        await asyncio.to_thread(worker.start)
        log.info("worker_ready", group=self._group.name, tiers=self._group.tiers, concurrency=threads)
        try:
            yield
        finally:
            log.info("worker_stopping")
            self._service.stop()
            await asyncio.to_thread(worker.stop, int(self._settings.worker.shutdown_seconds * 1000))
            await asyncio.to_thread(broker.close)

    def _run_next(self, tier: str) -> None:
        # On one of dramatiq's threads: the work itself happens on the loop and in the engine's own threads.
        if asyncio.run_coroutine_threadsafe(self._service.run_next(tier), self._loop).result():
            self._loop.call_soon_threadsafe(self._count)
        self._loop.call_soon_threadsafe(self._deliverer.wake)

    def _count(self) -> None:
        self._done += 1
        if self._done == self._settings.worker.recycle_after_jobs:
            log.info("worker_recycling", jobs=self._done)
            self._stop.set()

    def _on_signal(self) -> None:
        if self._stop.is_set():
            log.warning("worker_killed_by_second_signal")
            os._exit(1)
        self._stop.set()

    def _retire(self) -> None:
        log.critical("engine_broken", exit_code=BROKEN)
        self.exit_code = BROKEN
        self._stop.set()

    def _give_up_engine(self) -> None:
        log.critical("engine_stuck", exit_code=STUCK)
        self.exit_code = STUCK
        self._stop.set()

    def _abort(self, claim: Claim, seconds: float) -> None:
        # On the watchdog's thread: the loop may be what hangs, so a loop and connections of their own write the end.
        log.critical("worker_stuck", job_id=claim.job_id, seconds=round(seconds), exit_code=STUCK)
        last_words = threading.Thread(target=lambda: asyncio.run(self._fail(claim, seconds)), daemon=True)
        last_words.start()
        last_words.join(LAST_WORDS_SECONDS)
        os._exit(STUCK)

    async def _fail(self, claim: Claim, seconds: float) -> None:
        async with open_resources(self._settings, name=f"{self._name}-watchdog", live=False) as resources:
            await fail_stuck(resources, claim, seconds=seconds)
