"""Faults, one after another and some at once, drawn from a seed."""

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import islice

import msgspec
import psutil
from redis import Redis

from soak.system import TIER, System

FREEZE_LEASES = 1.3
"""How long a worker is frozen, in leases: long enough that others take its jobs."""


class Injected(msgspec.Struct, frozen=True):
    """A fault that was, in seconds of time.time(); `victim` is the worker that it hit, if it hit one."""

    kind: str
    began: float
    ended: float
    victim: str | None = None


class Chaos:
    """Injects faults until told that it is enough; then everything runs again."""

    def __init__(self, system: System, *, seed: int, pause: tuple[float, float], most: int | None = None) -> None:
        self.injected: list[Injected] = []
        self._system = system
        self._chance = random.Random(seed)
        self._pause = pause
        self._most = most
        self._enough = asyncio.Event()
        self._kinds: dict[str, Callable[[], Awaitable[str | None]]] = {
            "worker killed": self._kill_worker,
            "API killed": self._kill_api,
            "workers stopped together": self._terminate_workers,
            "Redis restarted": self._restart_redis,
            "Redis flushed": self._flush_redis,
            "PostgreSQL restarted": self._restart_postgres,
            "gateway stopped": self._stop_gateway,
            "wake-ups repeated, delayed": self._repeat_wake_ups,
            "worker frozen": self._freeze_worker,
        }

    @property
    def kinds(self) -> list[str]:
        return list(self._kinds)

    def stop(self) -> None:
        """Let the fault of this moment end, and inject no more."""
        self._enough.set()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for kind in islice(self._deck(), self._most):
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._enough.wait(), self._chance.uniform(*self._pause))
                if self._enough.is_set():
                    break
                fault = group.create_task(self._inject(kind))
                if kind != "worker frozen":  # that goes on beside the others
                    await fault

    def _deck(self) -> Iterator[str]:
        """Every kind equally often, in any order; twice as often the killing of a worker."""
        while True:
            deck = [*self._kinds, "worker killed"]
            self._chance.shuffle(deck)
            yield from deck

    async def _inject(self, kind: str) -> None:
        began = time.time()
        victim = await self._kinds[kind]()
        self.injected.append(Injected(kind, began, time.time(), victim))

    async def _kill_worker(self) -> str:
        name = self._chance.choice(self._system.worker_names)
        await _signal(self._system.worker(name), signal.SIGKILL)
        return name

    async def _kill_api(self) -> None:
        apis = self._system.apis()
        process = self._chance.choice(apis) if apis else None
        if process and self._chance.random() < 0.5:  # the process that serves, or the one that looks after it
            process = next(iter(process.children()), process)
        await _signal(process, signal.SIGKILL)

    async def _terminate_workers(self) -> None:
        for process in self._system.workers():
            await _signal(process, signal.SIGTERM)

    async def _restart_redis(self) -> None:
        await asyncio.to_thread(self._system.redis.stop)
        await self._down()
        await asyncio.to_thread(self._system.redis.start)

    async def _flush_redis(self) -> None:
        await asyncio.to_thread(flush, self._system)

    async def _restart_postgres(self) -> None:
        await asyncio.to_thread(self._system.postgres.stop, signal.SIGQUIT)  # "immediate": as in a crash
        await self._down()
        await asyncio.to_thread(self._system.postgres.start)

    async def _stop_gateway(self) -> None:
        await asyncio.to_thread(self._system.s3.kill)
        await self._down()
        await asyncio.to_thread(self._system.s3.start)

    async def _repeat_wake_ups(self) -> None:
        for _ in range(self._chance.randint(1, 8)):
            with suppress(Exception):  # while Redis is down, nothing is to be repeated
                delay = self._chance.choice([0.0, self._chance.uniform(0.5, 5.0)])
                await self._system.resources.queue.enqueue(TIER, job_id="", delay_seconds=delay)

    async def _freeze_worker(self) -> str:
        name = self._chance.choice(self._system.worker_names)
        process = self._system.worker(name)
        await _signal(process, signal.SIGSTOP)
        await asyncio.sleep(FREEZE_LEASES * self._system.settings.worker.lease_seconds)
        await _signal(process, signal.SIGCONT)
        return name

    async def _down(self) -> None:
        await asyncio.sleep(self._chance.uniform(0.0, 3.0))


def flush(system: System) -> None:
    """Take everything from Redis that it has."""
    redis, password = system.settings.redis, system.settings.secrets.redis_password
    with Redis(host=redis.host, port=redis.port, password=password) as client:
        client.flushall()


async def _signal(process: psutil.Process | None, number: signal.Signals) -> None:
    if process is not None:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
