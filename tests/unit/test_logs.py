"""Every line of a process looks alike, whoever logged it, and carries what is bound to the context."""

import json
import subprocess
import sys
from datetime import datetime, timedelta

import pytest

PROGRAM = """
import logging, sys, warnings
import structlog
log = structlog.get_logger("audio_text.somewhere")  # before configure, as modules do
from audio_text import logs

logs.configure(sys.argv[1], sys.argv[2])
structlog.contextvars.bind_contextvars(request_id="r-1", job_id="j-1")
log.debug("thing_seen")
log.info("thing_done", count=3, name="a\\udcff", other=object())
logging.getLogger("dramatiq.worker").warning("Worker %s is back", "w-1")
logging.getLogger("_granian").info("Listening at: %s", "http://127.0.0.1:3203")
logging.getLogger("httpx").info("GET https://store/key?X-Amz-Signature=hunter2")
logging.getLogger("botocore.auth").debug("hunter2")
warnings.warn("old thing", DeprecationWarning, stacklevel=1)
def fail():
    password = "hunter2"
    raise RuntimeError("broken")
try:
    fail()
except RuntimeError:
    log.exception("thing_failed")
logs.configure("error", sys.argv[2])
log.info("thing_too_quiet")
log.error("thing_loud")
"""


def run(level: str, style: str) -> str:
    command = [sys.executable, "-W", "always", "-c", PROGRAM, level, style]
    finished = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert finished.stdout == ""
    return finished.stderr


@pytest.fixture(scope="module")
def lines() -> list[dict[str, object]]:
    return [json.loads(line) for line in run("debug", "json").splitlines()]


def test_every_line_is_json_with_event_level_logger_and_time_in_utc(lines: list[dict[str, object]]) -> None:
    for line in lines:
        assert {"event", "level", "logger", "timestamp"} <= line.keys()
        assert datetime.fromisoformat(str(line["timestamp"])).utcoffset() == timedelta(0)


def test_what_is_bound_to_the_context_stands_in_every_line_also_of_libraries(lines: list[dict[str, object]]) -> None:
    assert {(line["request_id"], line["job_id"]) for line in lines} == {("r-1", "j-1")}


def test_events_are_static_and_data_is_in_fields(lines: list[dict[str, object]]) -> None:
    done = next(line for line in lines if line["event"] == "thing_done")
    assert done["count"] == 3
    assert done["logger"] == "audio_text.somewhere"


def test_libraries_speak_through_the_same_renderer(lines: list[dict[str, object]]) -> None:
    by_logger = {line["logger"]: line["event"] for line in lines}
    assert by_logger["dramatiq.worker"] == "Worker w-1 is back"
    assert by_logger["_granian"] == "Listening at: http://127.0.0.1:3203"
    assert "old thing" in str(by_logger["py.warnings"])


@pytest.mark.parametrize("style", ["json", "console"])
def test_an_exception_shows_its_traceback_and_no_local_variables(style: str) -> None:
    text = run("debug", style)
    assert "RuntimeError: broken" in text
    assert "thing_failed" in text
    assert "hunter2" not in text


@pytest.mark.parametrize("style", ["json", "console"])
def test_no_library_logs_signatures_or_credentials(style: str) -> None:
    text = run("debug", style)
    assert "X-Amz-Signature" not in text
    assert "botocore" not in text


def test_the_level_holds_for_ours_and_theirs_and_may_change() -> None:
    text = run("warning", "json")
    assert "thing_seen" not in text
    assert "thing_done" not in text
    assert "Listening" not in text
    assert "Worker w-1 is back" in text
    text = run("debug", "json")
    assert "thing_seen" in text
    assert "thing_too_quiet" not in text
    assert "thing_loud" in text


def test_importing_the_module_changes_nothing() -> None:
    program = """
import logging
before = (list(logging.root.handlers), logging.root.level, logging.lastResort)
import audio_text.logs, structlog
assert before == (list(logging.root.handlers), logging.root.level, logging.lastResort)
assert not structlog.is_configured()
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
