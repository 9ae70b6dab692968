"""A child process: what it is, its life from start to end, its output line by line."""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import BinaryIO

import msgspec
import structlog

from audio_text.local.process import Command

log = structlog.get_logger(__name__)

LINE_BYTES = 65_536
"""Longer lines are passed on in pieces."""

LAST_OUTPUT_SECONDS = 2.0
"""How long output may still come after the process ended: descendants hold its end of the pipe."""

PROBE_INTERVAL_SECONDS = 0.03


class Child(msgspec.Struct, frozen=True, kw_only=True):
    """A process to keep running. Without `is_ready` it is ready as soon as it runs."""

    name: str
    command: Command
    is_ready: Callable[[], Awaitable[bool]] | None = None
    ready_seconds: float = 60.0
    grace_seconds: float = 10.0


class Output:
    """Where the lines of all children go, each behind its child's name; a stalled reader stalls the children only."""

    def __init__(self, file: BinaryIO, *, name_width: int = 8) -> None:
        self._file = file
        self._name_width = name_width
        self._is_open = True
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="output")

    async def write(self, name: str, lines: Sequence[bytes]) -> None:
        """Write whole lines, given without their ends."""
        if lines and self._is_open:
            prefix = f"{name:<{self._name_width}} | ".encode()
            text = b"".join(prefix + line + b"\n" for line in lines)
            await asyncio.get_running_loop().run_in_executor(self._thread, self._write, text)

    def _write(self, text: bytes) -> None:
        try:
            self._file.write(text)
            self._file.flush()
        except (OSError, ValueError):  # the reader has gone: nobody is left to tell
            self._is_open = False


class ChildProcess:
    """One life of a child."""

    def __init__(self, child: Child, process: asyncio.subprocess.Process) -> None:
        self._child = child
        self._process = process
        self._began_at = asyncio.get_running_loop().time()
        self._ended = asyncio.Event()
        self.was_killed = False

    @classmethod
    async def start(cls, child: Child, tasks: asyncio.TaskGroup, output: Output) -> "ChildProcess":
        """Start the process; a task of the group passes its output on and sees its end. Raises OSError."""
        reader = asyncio.StreamReader(limit=LINE_BYTES)
        read_end, write_end = os.pipe()
        try:
            # A pipe of our own: asyncio's does not report the end of a process whose descendants hold its output.
            pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
            )
            try:
                process = await asyncio.create_subprocess_exec(
                    *child.command.tethered(),
                    env=child.command.environment,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=write_end,
                    stderr=write_end,
                    process_group=0,  # Ctrl-C in a terminal is for us; we tell the children
                )
            except BaseException:
                pipe.close()
                raise
        finally:
            os.close(write_end)
        self = cls(child, process)
        pump = tasks.create_task(_pass_on(child.name, reader, output))
        tasks.create_task(self._watch(pump, pipe))
        log.info("child_started", child=child.name, pid=process.pid)
        return self

    @property
    def pid(self) -> int:
        """The process's id, also of the group that it leads."""
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs, negative for the signal that ended it."""
        return self._process.returncode

    @property
    def lived_seconds(self) -> float:
        """Time since the start."""
        return asyncio.get_running_loop().time() - self._began_at

    async def ended(self) -> None:
        """Wait for the end of the process and of its output."""
        await self._ended.wait()

    async def ready(self) -> bool:
        """Wait until it is ready; False when it ends first. Raises TimeoutError."""
        if self._child.is_ready is None:
            return not self._ended.is_set()
        async with asyncio.timeout(self._child.ready_seconds):
            while not self._ended.is_set():
                if await self._child.is_ready():
                    return True
                with suppress(TimeoutError):
                    async with asyncio.timeout(PROBE_INTERVAL_SECONDS):
                        await self._ended.wait()
        return False

    async def stop(self, hurry: asyncio.Event) -> None:
        """Ask it to end; kill it after its grace period, or when told to hurry."""
        self._signal(self._child.command.stop_signal)
        with suppress(TimeoutError):
            async with asyncio.timeout(self._child.grace_seconds):
                await first_of(self._ended, hurry)
        if not self._ended.is_set():
            self.was_killed = True
            log.warning("child_killed", child=self._child.name, pid=self.pid)
            self.kill()
            await self._ended.wait()

    def kill(self) -> None:
        """End it and the group it leads, at once."""
        with suppress(ProcessLookupError, PermissionError):  # gone already; a zombie's group on macOS
            os.killpg(self.pid, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _watch(self, pump: asyncio.Task[None], pipe: asyncio.ReadTransport) -> None:
        try:
            await self._process.wait()
            self.kill()  # what the process left behind would hold its port or its files
            await asyncio.wait([pump], timeout=LAST_OUTPUT_SECONDS)
        finally:
            if self._process.returncode is None:  # nobody watches it any longer
                self.kill()
            pump.cancel()
            pipe.close()
            self._ended.set()


async def first_of(*events: asyncio.Event) -> None:
    """Wait until one of the events is set."""
    async with asyncio.TaskGroup() as tasks:
        waits = [tasks.create_task(event.wait()) for event in events]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()


async def _pass_on(name: str, reader: asyncio.StreamReader, output: Output) -> None:
    rest = b""
    while chunk := await reader.read(LINE_BYTES):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) >= LINE_BYTES:
            lines, rest = [*lines, rest], b""
        await output.write(name, lines)
    await output.write(name, [rest] if rest else [])
