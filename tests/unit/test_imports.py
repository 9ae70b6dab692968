"""Importing opens nothing, and no process loads what belongs to another."""

import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

WATCHED = """
import sys

PREFIXES = ("socket.connect", "socket.bind", "socket.send", "socket.getaddrinfo", "socket.gethost", "subprocess.",
            "os.fork", "os.exec", "os.posix_spawn", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "tempfile.")
opened = []

def watch(event, arguments):
    is_written = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    is_ours = event == "open" and str(arguments[0]).endswith((".toml", ".env"))
    if event == "socket.bind" and arguments[1] == ("::1", 0):
        return  # urllib3 asks at import whether there is IPv6
    if event.startswith(PREFIXES) or is_written or is_ours:
        opened.append((event, *map(str, arguments)))

sys.dont_write_bytecode = True
sys.addaudithook(watch)
"""
UNTOUCHED = """
import threading
assert not opened, opened
assert threading.active_count() == 1, threading.enumerate()
"""


def imported(module: str, *, watched: bool = False) -> str:
    before, after = (WATCHED, UNTOUCHED) if watched else ("import sys\n", "")
    program = f"{before}import {module}\n{after}print(*sys.modules, sep='\\n')"
    finished = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120, env={"PATH": "/bin"}
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


def libraries(module: str) -> set[str]:
    return {name.partition(".")[0] for name in imported(module).splitlines()}


@pytest.mark.parametrize(
    "module", ["audio_text.api.app", "audio_text.api.serve", "audio_text.client", "audio_text.worker.run"]
)
def test_importing_a_process_opens_no_socket_no_file_and_no_thread(module: str) -> None:
    imported(module, watched=True)


WEB = {"litestar", "granian"}
MODEL = {"faster_whisper", "ctranslate2", "onnxruntime", "huggingface_hub"}


@pytest.mark.parametrize(
    ("module", "foreign"),
    [
        ("audio_text.cli.api", MODEL),
        ("audio_text.api.app", MODEL),
        ("audio_text.cli.worker", WEB),
        ("audio_text.worker.run", WEB),
        ("audio_text.cli.migrate", WEB | MODEL),
        ("audio_text.cli.up", WEB | MODEL),
        ("audio_text.cli.demo", WEB | MODEL),
        ("audio_text.client", WEB | MODEL | {"dramatiq", "piccolo", "redis", "aioboto3", "structlog"}),
        ("audio_text.cli.transcribe", WEB | MODEL | {"dramatiq", "piccolo", "redis", "aioboto3"}),
        ("audio_text.cli.settings", WEB | MODEL | {"dramatiq", "piccolo", "redis", "aioboto3", "httpx"}),
        ("audio_text.__main__", WEB | MODEL | {"dramatiq", "piccolo", "redis", "aioboto3", "httpx", "rich", "msgspec"}),
    ],
)
def test_a_command_loads_nothing_that_belongs_to_another(module: str, foreign: set[str]) -> None:
    assert not libraries(module) & foreign


@pytest.mark.parametrize("module", ["audio_text.client", "audio_text.cli.transcribe", "audio_text.cli.settings"])
def test_what_is_installed_without_extras_is_enough_for_a_client(module: str) -> None:
    owners = metadata.packages_distributions()
    waiting, base = ["audio-text"], set[str]()
    while waiting:
        name = waiting.pop()
        if name in base:
            continue
        base.add(name)
        lines = PROJECT["dependencies"] if name == "audio-text" else metadata.requires(name) or []
        required = list(map(Requirement, lines))
        waiting += [canonicalize_name(r.name) for r in required if not r.marker or r.marker.evaluate({"extra": ""})]

    loaded = {name for name in libraries(module) if not name.startswith("_")}

    assert "msgspec" in loaded
    assert {canonicalize_name(owner) for name in loaded for owner in owners.get(name, [])} <= base
