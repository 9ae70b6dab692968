"""Run as a script: start workers and APIs as they are ordered on standard input, with a fault on their way.

Each is forked from here, where everything is imported and nothing has run. The composition root is the hook: what it
opens passes through a trap. The service itself knows nothing of faults.
"""

import asyncio
import inspect
import os
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any

import msgspec

sys.path.insert(0, sys.argv[1])

from audio_text import bootstrap, logs
from audio_text.adapters import draft_file, models
from audio_text.api import serve
from audio_text.domain.events import JobUpdate
from audio_text.errors import (
    DatabaseUnavailableError,
    EventsUnavailableError,
    QueueUnavailableError,
    StoreUnavailableError,
)
from audio_text.ports import Resources
from audio_text.services import reconciliation
from audio_text.worker import run
from audio_text.worker.groups import worker_groups
from services.faulty import Fault, Kind, Moment, Order

HASTE = {"LOOK_SECONDS": 1.0, "OVERDUE_SECONDS": 0.5, "UNTOLD_SECONDS": 0.5}
"""A test does not wait for the reconciliation as long as a service may."""

LOOK_SECONDS = 0.02

ERRORS: dict[str, Callable[[], Exception]] = {
    "jobs": DatabaseUnavailableError,
    "store": StoreUnavailableError,
    "queue": QueueUnavailableError,
    "events": EventsUnavailableError,
    "draft": lambda: OSError("the disk is gone"),
    "model": MemoryError,
}
"""What the part raises that does not answer."""


class Trap:
    """Strikes once: the file is gone then, also for a process that takes this one's place."""

    def __init__(self, fault: Fault, file: Path) -> None:
        self._fault = fault
        self._file = file
        self._passed = 0
        self._part, _, self._method = fault.step.partition(".")
        self._method, _, self._passing = self._method.partition(":")

    def lay(self, parts: dict[str, object]) -> None:
        """Put it on the way to the method, if one of these parts has it."""
        if part := parts.get(self._part):
            setattr(part, self._method, self._watched(getattr(part, self._method)))
        held_part, _, held_method = self._fault.held.partition(".")
        if part := parts.get(held_part):
            setattr(part, held_method, self._held(getattr(part, held_method)))

    def _watched(self, call: Callable[..., Any]) -> Callable[..., Any]:
        if inspect.isasyncgenfunction(inspect.unwrap(call)):
            return self._watched_context(call)
        if not inspect.iscoroutinefunction(call):
            return self._watched_function(call)

        @wraps(call)
        async def watched(*arguments: Any, **options: Any) -> Any:
            number = self._count(arguments, options)
            self._pass(Moment.before, number)
            answer = await call(*arguments, **options)
            self._pass(Moment.after, number)
            return answer

        return watched

    def _watched_context(
        self, call: Callable[..., AbstractAsyncContextManager[Any]]
    ) -> Callable[..., AbstractAsyncContextManager[Any]]:
        @asynccontextmanager
        async def watched(*arguments: Any, **options: Any) -> AsyncGenerator[Any]:
            number = self._count(arguments, options)
            self._pass(Moment.before, number)
            async with call(*arguments, **options) as value:
                self._pass(Moment.after, number)
                yield value

        return watched

    def _watched_function(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def watched(*arguments: Any, **options: Any) -> Any:
            number = self._count(arguments, options)
            self._pass(Moment.before, number)
            answer = call(*arguments, **options)
            self._pass(Moment.after, number)
            return answer

        return watched

    def _held(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        async def held(*arguments: Any, **options: Any) -> Any:
            while self._file.exists():
                await asyncio.sleep(LOOK_SECONDS)
            return await call(*arguments, **options)

        return held

    def _count(self, arguments: tuple[Any, ...], options: dict[str, Any]) -> int:
        told = [it.status.value for it in arguments if isinstance(it, JobUpdate)]
        passing = told or [name.removesuffix("_id") for name, value in options.items() if value]
        if self._passing and self._passing not in passing:
            return 0
        self._passed += 1
        return self._passed

    def _pass(self, moment: Moment, number: int) -> None:
        if (moment, number) != (self._fault.moment, self._fault.number):
            return
        try:
            self._file.unlink()
        except FileNotFoundError:
            return
        match self._fault.kind:
            case Kind.kill:
                os.kill(os.getpid(), signal.SIGKILL)
            case Kind.freeze:
                os.kill(os.getpid(), signal.SIGSTOP)
            case Kind.error:
                error = ERRORS[self._part]
                raise error()


def lay(trap: Trap) -> None:
    """Have everything that is opened from now on pass through the trap."""
    open_resources = bootstrap.open_resources

    @asynccontextmanager
    async def opened(*arguments: Any, **options: Any) -> AsyncGenerator[Resources]:
        async with open_resources(*arguments, **options) as resources:
            trap.lay({name: getattr(resources, name) for name in resources.__struct_fields__})
            yield resources

    bootstrap.open_resources = run.open_resources = opened
    trap.lay({"draft": draft_file.DraftFile, "model": models})


def main() -> None:
    for name, seconds in HASTE.items():
        assert hasattr(reconciliation, name)
        setattr(reconciliation, name, seconds)
    children: dict[int, Order] = {}
    signal.signal(signal.SIGCHLD, lambda *_: bury(children))
    for line in sys.stdin.buffer:
        order = msgspec.json.decode(line, type=Order)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
            live(order)
        children[pid] = order
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        print(pid, flush=True)  # noqa: T201 -- the answer to the order
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for pid in children:
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def bury(children: dict[int, Order]) -> None:
    """Write down how each child ended that has."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            file = children.pop(pid).exit_file
            draft = file.with_suffix(".draft")
            draft.write_text(str(os.waitstatus_to_exitcode(status)))
            draft.rename(file)


def live(order: Order) -> None:
    """Be the process that was ordered, and nothing else afterwards."""
    os.setpgid(0, 0)
    status = 1
    try:
        for target, path in ((0, os.devnull), (1, order.log), (2, order.log)):
            os.dup2(os.open(path, os.O_RDWR), target)
        settings = order.settings
        logs.configure(settings.log.level, settings.log.format)
        if order.fault:
            lay(Trap(order.fault, Path(order.trap)))
        if order.tiers:
            (group,) = worker_groups(settings, order.tiers)
            run.main(settings, group)
        else:
            serve.main(settings)
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 -- a child must not go on as its parent
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
