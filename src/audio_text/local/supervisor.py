"""Keeps child processes alive: started in order, started again after a crash, stopped in reverse order.

    async with open_supervisor(Output(sys.stdout.buffer)) as supervisor:
        await supervisor.start(database, redis)     # returns when both are ready
        await supervisor.start(api, worker)
        await supervisor.wait()                     # a signal ends the block, wherever it is: StoppedError

SIGTERM, SIGINT and SIGHUP stop all children, the last started first, each within its grace period; a second
SIGINT kills them at once. On Linux nothing survives the supervisor, not even when it is killed itself.
"""

import asyncio
import secrets
import signal
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress

import msgspec
import structlog

from audio_text.errors import ChildFailedError, StoppedError
from audio_text.local.child import Child, ChildProcess, Output

log = structlog.get_logger(__name__)

UNUSABLE = 2
"""The exit code of a program that refuses its settings or its command line: trying again would not help."""

KILLED = 128 + signal.SIGKILL
"""Our own exit code after a stop in which a child had to be killed; it is 0 when all ended in good order."""


class Backoff(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait before a crashed child is started again, in seconds.

    Failures count in a row, until a life of `steady_seconds`; an end with exit code 0 after a life of
    `recycle_seconds` is none at all, and the child is started again at once. One that never was ready, or never lived
    for `up_seconds` when it cannot be asked, has so many `tries`.
    """

    first_seconds: float = 0.25
    max_seconds: float = 30.0
    jitter: float = 0.2
    steady_seconds: float = 30.0
    recycle_seconds: float = 1.0
    up_seconds: float = 5.0
    tries: int = 5

    def delay(self, failures: int) -> float:
        """Give the wait after this many failures in a row (from 1): doubled each time, give or take the jitter."""
        spread = 1 + self.jitter * secrets.SystemRandom().uniform(-1, 1)
        return min(self.max_seconds, self.first_seconds * 2 ** min(failures - 1, 30)) * spread


class Supervisor:
    """The children of this process, in the order of their start; made by open_supervisor."""

    def __init__(self, tasks: asyncio.TaskGroup, output: Output, backoff: Backoff) -> None:
        self._tasks = tasks
        self._output = output
        self._backoff = backoff
        self._stages: list[list[_Keeper]] = []
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.hurry = asyncio.Event()
        self.stopped_by: signal.Signals | None = None
        self.is_stopping = False

    async def start(self, *children: Child) -> None:
        """Start children side by side and wait until all are ready. Raises ChildFailedError."""
        keepers = [_Keeper(child, self._output, self._backoff) for child in children]
        self._stages.append(keepers)
        for keeper in keepers:
            self._tasks.create_task(self._keep(keeper))
        await asyncio.gather(*(keeper.ready for keeper in keepers))

    async def run(self, child: Child) -> None:
        """Run a child to its end, which must be a good one within its ready_seconds. Raises ChildFailedError."""
        try:
            process = await ChildProcess.start(child, self._tasks, self._output)
        except OSError as error:
            raise ChildFailedError(f"{child.name} could not be started: {error.strerror}.") from error
        try:
            async with asyncio.timeout(child.ready_seconds):
                await process.ended()
        except TimeoutError:
            raise ChildFailedError(f"{child.name} took longer than {child.ready_seconds:g} seconds.") from None
        finally:
            process.kill()
        if process.exit_code != 0:
            raise ChildFailedError(f"{child.name} failed: {_ending(process.exit_code)}.")

    async def wait(self) -> None:
        """Wait until a signal ends the block. Raises ChildFailedError when a child can never run again."""
        await self._failure

    async def stop(self) -> None:
        """Stop the children, the last started first, those started together side by side."""
        self.is_stopping = True
        for keepers in reversed(self._stages):
            await asyncio.gather(*(keeper.stop(self.hurry) for keeper in keepers))

    @property
    def exit_code(self) -> int:
        """What a stop by a signal ends with."""
        return KILLED if any(keeper.was_killed for stage in self._stages for keeper in stage) else 0

    async def _keep(self, keeper: "_Keeper") -> None:
        error = await keeper.keep()
        for outcome in (keeper.ready, self._failure):
            if error is not None and not outcome.done():
                outcome.set_exception(error)
                outcome.exception()  # asked for here, as nobody may be waiting for it


@asynccontextmanager
async def open_supervisor(output: Output, *, backoff: Backoff = Backoff()) -> AsyncGenerator[Supervisor, None]:  # noqa: B008 -- immutable
    """Supervise until the block ends, then stop all children. Raises StoppedError when a signal ended the block.

    Only in the main thread.
    """
    failure: Exception | None = None
    async with asyncio.TaskGroup() as tasks:
        supervisor = Supervisor(tasks, output, backoff)
        with _ended_by_signals(supervisor):
            try:
                yield supervisor
            except Exception as error:  # noqa: BLE001 -- kept out of the group, which would wrap it
                failure = error
            except asyncio.CancelledError:
                if supervisor.stopped_by is None:
                    raise
            finally:
                await supervisor.stop()
    if supervisor.stopped_by is not None:
        raise StoppedError(f"Stopped by {supervisor.stopped_by.name}.", exit_code=supervisor.exit_code)
    if failure is not None:
        raise failure


async def supervise(children: Sequence[Child], output: Output) -> int:
    """Keep these children until a signal comes, and give the exit code. Raises ChildFailedError."""
    try:
        async with open_supervisor(output) as supervisor:
            await supervisor.start(*children)
            await supervisor.wait()
    except StoppedError as stopped:
        return stopped.exit_code
    return 0


@contextmanager
def _ended_by_signals(supervisor: Supervisor) -> Generator[None, None, None]:
    loop, body = asyncio.get_running_loop(), asyncio.current_task()
    assert body is not None  # noqa: S101 -- we are in it

    def end(number: signal.Signals) -> None:
        log.info("stopping", signal=number.name)
        if supervisor.stopped_by is None and not supervisor.is_stopping:
            supervisor.stopped_by = number
            body.cancel()
        elif number is signal.SIGINT:
            supervisor.hurry.set()

    numbers = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup asks us to outlive the terminal
        numbers.append(signal.SIGHUP)
    for number in numbers:
        loop.add_signal_handler(number, end, number)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
        if supervisor.stopped_by is not None:
            body.uncancel()


class _Keeper:
    """Keeps one child alive from its first start to its stop."""

    def __init__(self, child: Child, output: Output, backoff: Backoff) -> None:
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.was_killed = False
        self._child = child
        self._output = output
        self._backoff = backoff
        self._failures = 0
        self._was_up = False
        self._process: ChildProcess | None = None
        self._stop = asyncio.Event()
        self._starting = asyncio.Lock()

    async def keep(self) -> ChildFailedError | None:
        """Start the child, and start it again whenever it ends, until told to stop; or give up, and say why."""
        async with asyncio.TaskGroup() as tasks:
            while not self._stop.is_set():
                process = await self._start(tasks)
                if process is not None:
                    await self._see_to_its_end(process)
                if self._stop.is_set():
                    break
                if self._is_hopeless(process):
                    code = process.exit_code if process else None
                    return ChildFailedError(f"{self._child.name} does not start: {_ending(code)}.")
                await self._pause(process)
        return None

    async def stop(self, hurry: asyncio.Event) -> None:
        """End the child for good."""
        self._stop.set()
        async with self._starting:
            process = self._process
        if process is None or process.exit_code is not None:
            return
        log.info("child_stopping", child=self._child.name, pid=process.pid)
        await process.stop(hurry)
        self.was_killed = process.was_killed
        log.info("child_stopped", child=self._child.name, ending=_ending(process.exit_code))

    async def _start(self, tasks: asyncio.TaskGroup) -> ChildProcess | None:
        async with self._starting:
            self._process = None
            if not self._stop.is_set():
                try:
                    self._process = await ChildProcess.start(self._child, tasks, self._output)
                except OSError as error:
                    log.warning("child_not_started", child=self._child.name, reason=error.strerror)
        return self._process

    async def _see_to_its_end(self, process: ChildProcess) -> None:
        try:
            if await process.ready():
                if self._child.is_ready is not None:
                    log.info("child_ready", child=self._child.name, seconds=round(process.lived_seconds, 2))
                    self._was_up = True
                if not self.ready.done():
                    self.ready.set_result(None)
        except TimeoutError:
            log.warning("child_not_ready", child=self._child.name, seconds=self._child.ready_seconds)
            process.kill()
        await process.ended()

    def _is_hopeless(self, process: ChildProcess | None) -> bool:
        """Count the failure; whether another try makes no sense."""
        code = process.exit_code if process else None
        lived_seconds = process.lived_seconds if process else 0.0
        is_steady = lived_seconds > (self._backoff.recycle_seconds if code == 0 else self._backoff.steady_seconds)
        self._was_up |= lived_seconds > self._backoff.up_seconds or (is_steady and code == 0)
        self._failures = int(code != 0) if is_steady else self._failures + 1
        return (code == UNUSABLE and not is_steady) or not (self._was_up or self._failures < self._backoff.tries)

    async def _pause(self, process: ChildProcess | None) -> None:
        code = process.exit_code if process else None
        if self._failures == 0:
            log.info("child_recycled", child=self._child.name)
            return
        delay = self._backoff.delay(self._failures)
        log.warning("child_ended", child=self._child.name, ending=_ending(code), restart_in_seconds=round(delay, 2))
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._stop.wait()


def _ending(code: int | None) -> str:
    if code is None:
        return "not started"
    if code < 0:
        return f"ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
