import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from audio_text.local.process import free_port
from audio_text.settings import resource
from services.folders import open_folder
from services.up import Up, clean_environment, running
from services.waiting import until

RECORDING = "recordings/memo_35s.wav"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder / "a stack"


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def up(folder: Path, port: int) -> Iterator[Up]:
    with running(Up(folder, "--port", str(port), "--model", "demo")) as up:
        yield up


def transcribe(up: Up, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "audio_text", "transcribe", str(resource(RECORDING)), "--output", "-"]
    return subprocess.run(
        [*command, "--server", up.url, *options],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def job_ids(up: Up) -> list[str]:
    answer = httpx.get(f"{up.url}/api/v1/job/read", timeout=10, trust_env=False)
    return [job["id"] for job in answer.json()]


def test_a_recording_becomes_text_and_where_everything_is_was_said(up: Up, port: int, folder: Path) -> None:
    assert up.url == f"http://127.0.0.1:{port}"
    for told in (str(folder), f"{up.url}/docs", "Ctrl-C stops it", "knows 123 English words", "transcribe RECORDING"):
        assert told in up.output
    done = transcribe(up)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_secrets_are_on_no_command_line_and_in_no_log(up: Up, folder: Path) -> None:
    secrets = [text for text in (folder / "secrets.json").read_text().split('"') if len(text) > 40]
    assert len(secrets) == 3
    command_lines = [" ".join(process.cmdline()) for process in up.processes()]
    for secret in secrets:
        assert not any(secret in told for told in (up.output, *command_lines))


def test_a_second_instance_on_the_folder_is_refused_with_a_sentence(up: Up, folder: Path) -> None:
    second = Up(folder, "--port", str(free_port()))
    assert second.close() == 2
    assert f"Another audio-text runs on {folder} (process {up.process.pid})" in second.output


def test_a_port_that_is_taken_is_refused_with_a_sentence(up: Up, port: int) -> None:
    with open_folder() as other:
        second = Up(other, "--port", str(port))
        assert second.close() == 2
    assert f"Port {port} on 127.0.0.1 is taken" in second.output
    assert "--port" in second.output


async def test_a_killed_database_comes_back_with_every_job(up: Up) -> None:
    assert transcribe(up).returncode == 0
    before = job_ids(up)
    up.child("postgres").kill()
    up.wait_for("child_ready .*child=postgres", times=2)
    await until(up.is_ready)
    assert before
    assert job_ids(up) == before


@pytest.mark.parametrize("name", ["redis", "api", "worker"])
async def test_a_killed_part_is_started_again_and_the_service_goes_on(up: Up, name: str) -> None:
    killed = up.child(name)
    killed.kill()
    up.wait_for(f"child_started .*child={name}", times=2)
    await until(up.is_ready)
    done = transcribe(up)
    assert done.returncode == 0, done.stderr
    assert not killed.is_running()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_nothing_survives_the_supervisor_and_the_next_start_has_the_jobs_and_stops_cleanly(
    up: Up, folder: Path, port: int
) -> None:
    jobs, processes = job_ids(up), up.processes()
    assert len(processes) > 4
    up.process.kill()
    _, alive = psutil.wait_procs(processes, timeout=60)
    assert not alive
    with running(Up(folder, "--port", str(port))) as again:
        assert job_ids(again) == jobs
        processes = again.processes()
        assert again.stop(signal.SIGTERM) == 0
    assert not any(process.is_running() for process in processes)
    assert not [path for path in folder.rglob("*") if path.is_socket()]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def test_an_ordinary_user_runs_a_worker_per_tier_in_a_folder_with_a_long_name_and_spaces() -> None:
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    with open_folder() as place:
        python = sys.executable if user is None else python_for(user.pw_uid, place)
        home = place / "a home"
        home.mkdir()
        if user is not None:
            os.chown(home, user.pw_uid, user.pw_gid)
        environment = clean_environment(HOME=str(home), TMPDIR=str(home), LD_LIBRARY_PATH=libraries_of(python))
        folder = home / ("a long name " * 10).strip() / "of its own"
        up = Up(
            folder,
            *("--port", str(free_port()), "--mode", "multi-queue"),
            user=user.pw_uid if user else None,
            environment=environment,
            python=python,
        )
        with running(up):
            owners = {process.uids().real for process in up.processes()}
            done = transcribe(up, "--model", "demo")
            assert up.stop() == 0, up.output
    assert owners == {user.pw_uid if user else os.geteuid()}
    assert done.stdout.strip()
    assert "child=audio_large" in up.output


def python_for(user: int, place: Path) -> str:
    """Give a Python with our packages that the user can run: ours, or where that is closed to others a copy of it."""
    if runs_as(user, sys.executable):
        return sys.executable
    library, copy = Path(sysconfig.get_path("stdlib")), place / "python"
    skip = shutil.ignore_patterns("test", "site-packages", "config-*", "__pycache__")
    shutil.copytree(library, copy / "lib" / library.name, symlinks=True, ignore=skip)
    for shared in library.parent.glob("libpython*"):
        shutil.copy2(shared, copy / "lib", follow_symlinks=False)
    python = copy / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    python.parent.mkdir()
    shutil.copy2(Path(sys.executable).resolve(), python)
    packages = copy / "lib" / library.name / "site-packages" / "ours.pth"
    packages.parent.mkdir()
    packages.write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    if not runs_as(user, str(python)):
        pytest.skip("this Python's packages are in a folder that is closed to others")
    return str(python)


def libraries_of(python: str) -> str:
    return str(Path(python).parents[1] / "lib")


def runs_as(user: int, python: str) -> bool:
    try:
        probe = subprocess.run(
            [python, "-P", "-c", "import audio_text.settings, msgspec"],
            env=clean_environment(LD_LIBRARY_PATH=libraries_of(python)),
            user=user,
            group=user,
            extra_groups=[],
            check=False,
            cwd="/",
        )
    except OSError:
        return False
    return probe.returncode == 0


def test_an_interrupt_during_the_start_stops_what_was_started() -> None:
    with open_folder() as place:
        up = Up(place / "data", "--port", str(free_port()))
        up.wait_for("child_started .*child=postgres")
        processes = up.processes()
        assert up.stop() == 0
        assert not any(process.is_running() for process in processes)
        assert "audio-text is running" not in up.output


def test_an_interrupted_demo_says_so_by_its_exit_code_and_leaves_nothing() -> None:
    with open_folder() as place:
        command = [sys.executable, "-P", "-u", "-m", "audio_text", "demo"]
        environment = clean_environment(TMPDIR=str(place))
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, process_group=0) as process:
            assert process.stdout is not None
            while b"ready after" not in process.stdout.readline():
                assert process.poll() is None
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == 130
        assert not any(child.is_running() for child in children)
        assert list(place.iterdir()) == []


def demo(environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "audio_text", "demo", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def test_the_demo_shows_a_transcript_and_its_times_and_leaves_nothing() -> None:
    with open_folder() as place:
        environment = clean_environment(TMPDIR=str(place))
        done = demo(environment)
        assert done.returncode == 0, done.stdout + done.stderr
        assert list(place.iterdir()) == []  # onnxruntime's own traces, were it not told, among them
    for told in ("ready after", "first segment", "done", "123 English words"):
        assert told in done.stdout


def test_the_demo_takes_no_notice_of_the_callers_settings_and_says_what_failed() -> None:
    with open_folder() as place:
        (place / "secrets.json").write_text("{}")
        done = demo(clean_environment(AUDIO_TEXT_NONSENSE="1"), "--data", str(place))
    assert done.returncode == 2
    assert "secrets.json cannot be read" in done.stderr
    assert "AUDIO_TEXT_NONSENSE" not in done.stderr
