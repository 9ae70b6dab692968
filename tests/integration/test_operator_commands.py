"""The operator's commands against real servers: migrate twice, run the workers of two tiers, stop them."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from services.commands import COMMAND, environ
from services.database import Database
from services.redis import RedisServer


def test_migrate_creates_the_tables_and_then_has_nothing_to_do(
    empty_database: Database, redis_server: RedisServer, tmp_path: Path
) -> None:
    environment = environ(empty_database, redis_server, tmp_path)

    def migrate() -> list[str]:
        finished = subprocess.run(
            [*COMMAND, "migrate"], env=environment, capture_output=True, text=True, check=True, timeout=60
        )
        return finished.stdout.splitlines()

    first = migrate()
    assert first[-1] == "The database is up to date."
    assert all(line.startswith("applied ") for line in first[:-1])
    assert len(first) > 1
    assert migrate() == ["The database is up to date."]


def test_migrate_says_in_a_sentence_that_it_may_not_enter(
    empty_database: Database, redis_server: RedisServer, tmp_path: Path
) -> None:
    environment = environ(empty_database, redis_server, tmp_path) | {"AUDIO_TEXT_DATABASE_PASSWORD": "wrong"}
    finished = subprocess.run(
        [*COMMAND, "migrate"], env=environment, capture_output=True, text=True, check=False, timeout=60
    )
    assert finished.returncode == 2
    assert finished.stderr.splitlines()[-1].startswith("error: ")
    assert "wrong" not in finished.stderr
    assert "Traceback" not in finished.stderr


class Workers:
    """`audio-text worker …` as it runs, and what it has logged."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def events(self, name: str, count: int) -> list[dict[str, object]]:
        """Read on until an event was logged so often; the timeout of pytest ends a wait for what never comes."""
        found: list[dict[str, object]] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            _, _, entry = line.rpartition(" | ")
            logged = json.loads(entry) if entry.startswith("{") else {}
            if logged.get("event") == name:
                found.append(logged)
                if len(found) == count:
                    return found
        pytest.fail(f"ended before {count} times {name}")

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=30)
        return self.process.returncode


@contextmanager
def workers(environment: dict[str, str], *tiers: str) -> Iterator[Workers]:
    with subprocess.Popen([*COMMAND, "worker", *tiers], env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield Workers(process)
        finally:
            process.kill()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_workers_of_two_tiers_are_started_again_and_stop_together(
    database: Database, redis_server: RedisServer, tmp_path: Path
) -> None:
    with workers(environ(database, redis_server, tmp_path), "audio_small", "audio_large") as running:
        pids = [int(str(event["pid"])) for event in running.events("child_started", 2)]
        ready = running.events("worker_ready", 2)
        assert {str(event["group"]): event["concurrency"] for event in ready} == {"audio_small": 4, "audio_large": 1}
        os.kill(pids[0], signal.SIGKILL)
        again = int(str(running.events("child_started", 1)[0]["pid"]))
        running.events("worker_ready", 1)
        assert running.stop() == 0
        assert not any(is_running(pid) for pid in (*pids, again))


def test_the_workers_of_one_tier_are_this_very_process(
    database: Database, redis_server: RedisServer, tmp_path: Path
) -> None:
    with workers(environ(database, redis_server, tmp_path), "audio_medium") as running:
        (ready,) = running.events("worker_ready", 1)
        assert ready["tiers"] == ["audio_medium"]
        assert running.stop() == 0
