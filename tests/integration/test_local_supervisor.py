import asyncio
import os
import signal
import subprocess
import sys
import time
from functools import partial
from io import BytesIO
from pathlib import Path

import msgspec
import psutil
import pytest

from audio_text.errors import ChildFailedError
from audio_text.local.child import Child, Output
from audio_text.local.process import Command
from audio_text.local.supervisor import Backoff, Supervisor, open_supervisor
from services.waiting import until

QUICK = Backoff(first_seconds=0.01, max_seconds=0.05, recycle_seconds=0.0)
SUPERVISED = Path(__file__).parents[1] / "services" / "supervised.py"


def python(name: str, script: str, *arguments: object, grace_seconds: float = 20.0) -> Child:
    """A stand-in child that runs a script."""
    command = Command(arguments=(sys.executable, "-uc", script, *map(str, arguments)))
    return Child(name=name, command=command, grace_seconds=grace_seconds)


def ready_when_exists(child: Child, path: Path) -> Child:
    return msgspec.structs.replace(child, is_ready=partial(asyncio.to_thread, path.exists))


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


APPEND = "import os, sys; open(sys.argv[1], 'a').write(f'{os.getpid()}\\n')\n"
STAY = "import signal; signal.sigwait([signal.SIGTERM])\n"


async def test_children_start_when_those_before_them_are_ready_and_stop_in_reverse(tmp_path: Path) -> None:
    story = tmp_path / "story"
    script = (
        "import signal, sys, time\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
        "time.sleep(0.2); say = lambda what: open(sys.argv[1], 'a').write(f'{sys.argv[2]} {what}\\n')\n"
        "say('ready'); open(sys.argv[1] + sys.argv[2], 'w')\n"
        "signal.sigwait([signal.SIGTERM]); say('ends')\n"
    )
    first, second = (
        ready_when_exists(python(name, script, story, name), tmp_path / f"story{name}") for name in ("first", "second")
    )
    async with open_supervisor(Output(BytesIO())) as supervisor:
        await supervisor.start(first)
        await supervisor.start(second)
    assert lines(story) == ["first ready", "second ready", "second ends", "first ends"]


async def test_a_crashed_child_is_started_again(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    async with open_supervisor(Output(BytesIO()), backoff=QUICK) as supervisor:
        await supervisor.start(ready_when_exists(python("crasher", APPEND + STAY, pids), pids))
        for life in range(1, 8):
            await until(lambda life=life: len(lines(pids)) == life)
            os.kill(int(lines(pids)[-1]), signal.SIGKILL)
        await until(lambda: len(lines(pids)) == 8)
    assert len(set(lines(pids))) == 8


async def test_a_child_that_recycles_itself_is_started_again_at_once(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    patient = Backoff(first_seconds=600.0, recycle_seconds=0.0)
    async with open_supervisor(Output(BytesIO()), backoff=patient) as supervisor:
        await supervisor.start(python("recycler", APPEND + "import time; time.sleep(0.1)", pids))
        await until(lambda: len(lines(pids)) >= 3)


def test_the_wait_after_a_crash_doubles_up_to_a_limit() -> None:
    backoff = Backoff(first_seconds=1.0, max_seconds=30.0, jitter=0.0)
    assert [backoff.delay(failures) for failures in (1, 2, 3, 4, 5, 6, 10_000)] == [1, 2, 4, 8, 16, 30, 30]


def test_the_wait_after_a_crash_is_spread() -> None:
    delays = {Backoff(first_seconds=1.0, jitter=0.2).delay(1) for _ in range(20)}
    assert len(delays) > 1
    assert all(0.8 <= delay <= 1.2 for delay in delays)


async def test_a_child_that_never_gets_ready_fails_the_start_and_the_others_are_stopped(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    broken = ready_when_exists(python("broken", "raise SystemExit(3)"), tmp_path / "never")

    async def start(supervisor: Supervisor) -> None:
        await supervisor.start(python("good", APPEND + STAY, pids))
        await until(lambda: lines(pids))
        await supervisor.start(broken)

    with pytest.raises(ChildFailedError, match="broken does not start: ended with exit code 3"):
        async with open_supervisor(Output(BytesIO()), backoff=QUICK) as supervisor:
            await start(supervisor)
    assert not psutil.pid_exists(int(lines(pids)[0]))


async def test_a_child_that_refuses_its_settings_is_not_tried_again(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    refusing = ready_when_exists(python("refusing", APPEND + "sys.exit(2)", pids), tmp_path / "never")
    with pytest.raises(ChildFailedError, match="exit code 2"):
        async with open_supervisor(Output(BytesIO()), backoff=QUICK) as supervisor:
            await supervisor.start(refusing)
    assert len(lines(pids)) == 1


async def test_a_child_that_later_refuses_its_settings_ends_the_wait(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    async with open_supervisor(Output(BytesIO()), backoff=QUICK) as supervisor:
        await supervisor.start(python("refusing", APPEND + "sys.exit(2)", pids))
        with pytest.raises(ChildFailedError, match="refusing does not start: ended with exit code 2"):
            await supervisor.wait()
    assert len(lines(pids)) == 1


async def test_a_child_that_cannot_be_asked_and_never_stays_up_ends_the_wait(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    async with open_supervisor(Output(BytesIO()), backoff=QUICK) as supervisor:
        await supervisor.start(python("broken", APPEND + "sys.exit(1)", pids))
        with pytest.raises(ChildFailedError, match="broken does not start: ended with exit code 1"):
            await supervisor.wait()
    assert len(lines(pids)) == QUICK.tries


async def test_a_child_that_hangs_before_it_is_ready_is_killed_and_reported(tmp_path: Path) -> None:
    hanging = Child(
        name="hanging",
        command=Command(arguments=(sys.executable, "-c", STAY)),
        is_ready=_never,
        ready_seconds=0.1,
    )
    with pytest.raises(ChildFailedError, match="hanging does not start: ended by SIGKILL"):
        async with open_supervisor(Output(BytesIO()), backoff=QUICK) as supervisor:
            await supervisor.start(hanging)


async def test_a_program_that_is_not_there_is_reported_by_name() -> None:
    missing = Child(name="missing", command=Command(arguments=("/no/such program",)), is_ready=_never)
    out = BytesIO()
    with pytest.raises(ChildFailedError, match="missing does not start"):
        async with open_supervisor(Output(out), backoff=QUICK) as supervisor:
            await supervisor.start(missing)
    assert b"missing  | /no/such program cannot be started: No such file or directory" in out.getvalue()


async def test_a_start_that_the_system_refuses_is_reported() -> None:
    too_much = Command(arguments=(sys.executable, "-c", STAY), environment={"LONG": "x" * 1_000_000})
    with pytest.raises(ChildFailedError, match="refused does not start: not started"):
        async with open_supervisor(Output(BytesIO()), backoff=QUICK) as supervisor:
            await supervisor.start(Child(name="refused", command=too_much))
    async with open_supervisor(Output(BytesIO())) as supervisor:
        with pytest.raises(ChildFailedError, match=r"refused could not be started: Argument list too long\."):
            await supervisor.run(Child(name="refused", command=too_much))


async def test_a_cancelled_block_stops_its_children_and_stays_cancelled(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    async def block() -> None:
        async with open_supervisor(Output(BytesIO())) as supervisor:
            await supervisor.start(ready_when_exists(python("child", APPEND + STAY, pids), pids))
            await supervisor.wait()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(block())
        await until(lambda: lines(pids))
        task.cancel()
    assert task.cancelled()
    assert not psutil.pid_exists(int(lines(pids)[0]))


async def _never() -> bool:
    return False


async def test_a_child_that_ignores_the_stop_signal_is_killed_after_its_grace_and_the_exit_code_says_so(
    tmp_path: Path,
) -> None:
    pids = tmp_path / "pids"
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + APPEND + "time.sleep(600)"
    async with open_supervisor(Output(BytesIO())) as supervisor:
        await supervisor.start(python("deaf", deaf, pids, grace_seconds=0.1))
        await until(lambda: lines(pids))
    assert supervisor.exit_code == 137
    assert not psutil.pid_exists(int(lines(pids)[0]))


async def test_what_a_dead_child_leaves_behind_is_ended_too(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    parent = APPEND + (
        "import subprocess, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        "open(sys.argv[1], 'a').write(f'{child.pid}\\n'); time.sleep(600)"
    )
    async with open_supervisor(Output(BytesIO())) as supervisor:
        await supervisor.start(python("parent", parent, pids))
        await until(lambda: len(lines(pids)) == 2)
        leader, descendant = map(int, lines(pids))
        os.kill(leader, signal.SIGKILL)
        await until(lambda: not psutil.pid_exists(descendant) or _is_dead(descendant))


def _is_dead(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


async def test_output_is_passed_on_line_by_line_behind_the_childs_name() -> None:
    out = BytesIO()
    async with open_supervisor(Output(out, name_width=5)) as supervisor:
        script = "import sys; print('one'); print('two', file=sys.stderr); print('x' * 200_000); print('end', end='')"
        await supervisor.run(python("talk", script))
    told = out.getvalue().decode().splitlines()
    assert {"talk  | one", "talk  | two", "talk  | end"} <= set(told)
    assert sum(line.count("x") for line in told) == 200_000
    assert max(map(len, told)) <= 2 * 65_536 + 8


async def test_children_outlive_the_reader_of_their_output(tmp_path: Path) -> None:
    closed = BytesIO()
    closed.close()
    done = tmp_path / "done"
    async with open_supervisor(Output(closed)) as supervisor:
        await supervisor.run(python("talk", "import sys; print('x' * 500_000); open(sys.argv[1], 'w')", done))
    assert done.exists()


async def test_a_step_that_fails_or_takes_too_long_is_reported() -> None:
    async with open_supervisor(Output(BytesIO())) as supervisor:
        with pytest.raises(ChildFailedError, match="step failed: ended with exit code 7"):
            await supervisor.run(python("step", "raise SystemExit(7)"))
        endless = Child(name="endless", command=Command(arguments=(sys.executable, "-c", STAY)), ready_seconds=0.1)
        with pytest.raises(ChildFailedError, match=r"endless took longer than 0\.1 seconds"):
            await supervisor.run(endless)


async def test_an_error_in_the_block_stops_the_children_and_stays_what_it_is(tmp_path: Path) -> None:
    pids = tmp_path / "pids"

    async def body(supervisor: Supervisor) -> None:
        await supervisor.start(python("child", APPEND + STAY, pids))
        await until(lambda: lines(pids))
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        async with open_supervisor(Output(BytesIO())) as supervisor:
            await body(supervisor)
    assert not psutil.pid_exists(int(lines(pids)[0]))


class Supervised:
    """A supervisor in a process of its own, with two children; `deaf` ones ignore SIGTERM."""

    def __init__(self, folder: Path, *, deaf: bool = False) -> None:
        self._pids = folder / "pids"
        arguments = [sys.executable, str(SUPERVISED), str(self._pids), "deaf" if deaf else "polite"]
        self.process = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def children(self) -> list[psutil.Process]:
        deadline = time.monotonic() + 30
        while len(lines(self._pids)) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        return [psutil.Process(int(pid)) for pid in lines(self._pids)]

    def output(self) -> str:
        return self.process.communicate(timeout=30)[0].decode()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_stops_the_supervisor_and_its_children(tmp_path: Path, number: signal.Signals) -> None:
    supervised = Supervised(tmp_path)
    children = supervised.children()
    supervised.process.send_signal(number)
    supervised.output()
    assert supervised.process.returncode == 0
    assert not any(child.is_running() for child in children)


def test_a_second_interrupt_kills_the_children_at_once(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, deaf=True)
    children = supervised.children()
    supervised.process.send_signal(signal.SIGINT)
    assert supervised.process.stdout is not None
    while b"child_stopping" not in supervised.process.stdout.readline():
        pass
    supervised.process.send_signal(signal.SIGINT)
    supervised.output()
    assert supervised.process.returncode == 137
    assert not any(child.is_running() for child in children)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_no_child_survives_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path, deaf=True)
    children = supervised.children()
    supervised.process.kill()
    supervised.output()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


def test_a_ctrl_c_of_the_terminal_reaches_only_the_supervisor(tmp_path: Path) -> None:
    supervised = Supervised(tmp_path)
    children = supervised.children()
    groups = {os.getpgid(child.pid) for child in children}
    assert os.getpgid(supervised.process.pid) not in groups
    assert len(groups) == 2
    supervised.process.terminate()
    supervised.output()
