"""Workers and APIs as processes of their own, whose way leads through one fault that a test has laid."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import psutil

from audio_text.settings import Settings
from services.waiting import until

SCRIPT = Path(__file__).with_name("faulty_process.py")
STOP_SECONDS = 30.0

_numbers = count(1)


class Moment(StrEnum):
    before = "before"
    after = "after"


class Kind(StrEnum):
    kill = "kill"
    """The process ends at once, as from a power cut or the kernel's killer."""

    error = "error"
    """The part does not answer: before, nothing was done; after, it was done and nobody heard so."""

    freeze = "freeze"
    """The process stands still until the test thaws it."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What happens, once, at a step: `part.method`.

    After a colon stands what passes there: the status of an event, or `job` for a wake-up because of one.
    `number`: the how-manieth passing of the step is struck. `held` names a step that waits until it has struck.
    """

    kind: Kind
    moment: Moment
    step: str
    number: int = 1
    held: str = ""

    def __str__(self) -> str:
        which = f" number {self.number}" if self.number > 1 else ""
        return f"{self.kind.value} {self.moment.value} {self.step}{which}"


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What the script is asked to start. `trap` is a file that exists until the fault has struck."""

    settings: Settings
    tiers: tuple[str, ...] = ()
    """Of a worker; without any it is the API."""

    fault: Fault | None = None
    trap: str = ""
    log: str = ""

    @property
    def exit_file(self) -> Path:
        return Path(self.log).with_suffix(".exit")


class FaultyProcess:
    """One that was started; `has_struck` once its fault has."""

    def __init__(self, order: Order, pid: int) -> None:
        self.pid = pid
        self.fault = order.fault
        self.is_worker = bool(order.tiers)
        self._order = order

    @property
    def has_struck(self) -> bool:
        return not Path(self._order.trap).exists()

    @property
    def exit_status(self) -> int | None:
        """As subprocess has it: the negative number of the signal that ended it; None while it lives."""
        try:
            return int(self._order.exit_file.read_text())
        except FileNotFoundError:
            return None

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines of this event that the process has logged so far."""
        lines = Path(self._order.log).read_bytes().splitlines()
        return [
            line for text in lines if text.startswith(b"{") and (line := msgspec.json.decode(text))["event"] == event
        ]

    async def wait_for(self, event: str) -> None:
        await until(lambda: self.logged(event) or self.exit_status is not None)
        assert self.logged(event), self.output()

    async def struck(self) -> None:
        """Wait until the fault has done what it does to the process."""
        assert self.fault is not None
        await until(lambda: self.has_struck or self.exit_status is not None)
        assert self.has_struck, self.output()
        if self.fault.kind is Kind.kill and self.is_worker:
            await self.ended()
        if self.fault.kind is Kind.freeze:
            await until(self.frozen)

    def frozen(self) -> list[psutil.Process]:
        """Those of the process and its children that stand still."""
        family = psutil.Process(self.pid)
        return [it for it in (family, *family.children()) if it.status() == psutil.STATUS_STOPPED]

    def thaw(self) -> None:
        for it in self.frozen():
            it.resume()

    async def ended(self) -> int:
        await until(lambda: self.exit_status is not None)
        assert self.exit_status is not None
        return self.exit_status

    async def terminate(self) -> int:
        """Send SIGTERM; the exit status."""
        if self.is_worker and self.exit_status is None:
            await self.wait_for("worker_ready")  # before, nobody would catch the signal
        if self.exit_status is None:
            psutil.Process(self.pid).terminate()
        return await self.ended()

    def output(self) -> str:
        return Path(self._order.log).read_text(errors="replace")[-4_000:]


class Nursery:
    """Starts such processes, each in a few milliseconds: the libraries are imported once for all of them."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self._process = process
        self._folder = folder

    def worker(self, settings: Settings, tier: str, fault: Fault | None = None) -> FaultyProcess:
        """A worker of this tier; it is not waited for."""
        return self._start(Order(settings=settings, tiers=(tier,)), fault)

    def api(self, settings: Settings, fault: Fault | None = None) -> FaultyProcess:
        """An API on the settings' port; it is not waited for."""
        return self._start(Order(settings=settings), fault)

    def _start(self, order: Order, fault: Fault | None) -> FaultyProcess:
        trap = self._folder / f"{next(_numbers)}.trap"
        if fault:
            trap.touch()
        order = msgspec.structs.replace(order, fault=fault, trap=str(trap), log=str(trap.with_suffix(".log")))
        Path(order.log).touch()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()
        return FaultyProcess(order, int(self._process.stdout.readline()))


@contextmanager
def nursery(folder: Path) -> Generator[Nursery]:
    """Whatever is left of its processes at the end is killed."""
    arguments = [sys.executable, "-P", str(SCRIPT), str(SCRIPT.parents[1])]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        yield Nursery(process, folder)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(STOP_SECONDS)
