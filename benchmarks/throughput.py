"""Submits and status reads per second of one API process, beside the plainest FastAPI and SQLAlchemy.

The rounds alternate, on the same PostgreSQL, Redis, table and upload; no workers run. What each of them does is said in
rivals/. Ratios travel between machines; requests per second do not.
"""

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import asyncpg
import httpx
import msgspec

from audio_text import logs
from audio_text.adapters.migrations import migrate
from audio_text.settings import Settings
from services.api import WITH_SETTINGS, free_port, settings_of
from services.database import Database, temporary_database
from services.fuzzing import RECORDING
from services.postgres import postgres_server
from services.redis import redis_server

RIVALS = Path(__file__).parent / "rivals"
OURS, BLIND, PLAIN = WITH_SETTINGS, RIVALS / "without_probe.py", RIVALS / "plain_fastapi.py"
GOALS = {"submit": 2.0, "status read": 3.0}
PUBLIC_URL = "http://bench.test"
TEXT = "I will close the small contract at three o'clock. " * 20


class Round(NamedTuple):
    """What one server did in one round."""

    taken: list[float]
    rate: float
    generator: float
    """Share of a core that the load generator took: near 1 it would be what was measured."""


@contextmanager
def served(settings: Settings, folder: Path, script: Path, *arguments: str) -> Generator[str]:
    """Run a server as a process; its host and port."""
    settings = msgspec.structs.replace(settings, api=msgspec.structs.replace(settings.api, port=free_port()))
    address = f"{settings.api.host}:{settings.api.port}"
    config = folder / f"{settings.api.port}.json"
    config.write_bytes(msgspec.json.encode(settings))
    with (folder / f"{settings.api.port}.log").open("wb") as log:
        command = [sys.executable, "-P", str(script), str(config), *arguments]
        with subprocess.Popen(command, stdout=log, stderr=log) as process:
            try:
                _wait(address, process, Path(log.name))
                yield address
            finally:
                process.terminate()


def _wait(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(f"http://{address}/health/live").raise_for_status()
        except httpx.HTTPError:
            time.sleep(0.05)
        else:
            return
    raise TimeoutError(log.read_text(errors="replace")[-4_000:])


def load(address: str, request: str, status: int, *, connections: int, seconds: float) -> Round:
    host, _, port = address.rpartition(":")
    task = {
        "host": host,
        "port": int(port),
        "request": request,
        "status": f"http/1.1 {status}",
        "connections": connections,
        "seconds": seconds,
    }
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, str(RIVALS / "load.py")], input=json.dumps(task).encode(), capture_output=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr.decode()[-2_000:])
    told = json.loads(done.stdout)
    return Round(told["taken"], len(told["taken"]) / seconds, told["cpu_seconds"] / (time.perf_counter() - began))


def post(path: str, body: object) -> str:
    text = json.dumps(body)
    head = f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: {len(text)}"
    return f"{head}\r\n\r\n{text}"


def get(path: str) -> str:
    return f"GET {path} HTTP/1.1\r\nHost: bench\r\n\r\n"


def compare(name: str, ours: str, plain: str, request: str, status: int, arguments: argparse.Namespace) -> None:
    """Rounds of one and of the other in turn, after one of each that does not count."""
    kept: list[tuple[Round, Round]] = []
    for number in range(arguments.rounds + 1):
        pair = [
            load(address, request, status, connections=arguments.connections, seconds=arguments.seconds)
            for address in (ours, plain)
        ]
        if number:
            kept.append((pair[0], pair[1]))
    ratio = statistics.median(one.rate / other.rate for one, other in kept)
    goal = next((f" (goal {goal:.0f})" for kind, goal in GOALS.items() if name.startswith(kind)), "")
    print(f"{name}: {ratio:.2f} times as many{goal}")
    for who, rounds in (("ours", [pair[0] for pair in kept]), ("plain", [pair[1] for pair in kept])):
        taken = sorted(seconds for one in rounds for seconds in one.taken)
        p50, p99 = (taken[int(len(taken) * share)] * 1_000 for share in (0.5, 0.99))
        rate, generator = (
            statistics.median(values) for values in zip(*((r.rate, r.generator) for r in rounds), strict=True)
        )
        print(
            f"  {who:6} {rate:7.0f} /s  p50 {p50:6.1f} ms  p99 {p99:6.1f} ms  (load generator {generator:.0%} of a core)"  # noqa: E501 -- a line of the table
        )


async def prepared(database: Database, address: str) -> tuple[str, str]:
    """An upload's url, and the id of a completed job."""
    content = RECORDING.read_bytes()
    async with httpx.AsyncClient(base_url=f"http://{address}") as http:
        request = {"filename": RECORDING.name, "content_type": "audio/flac", "file_size": len(content)}
        target = (await http.post("/api/v1/audio/presigned-url", json=request)).raise_for_status().json()
        (
            await http.put(target["url"].removeprefix(PUBLIC_URL), content=content, headers=target["headers"])
        ).raise_for_status()
        job = await http.post("/api/v1/job/transcribe", json={"filename": RECORDING.name, "url": target["url"]})
        job_id = job.raise_for_status().json()["id"]
    connection = await asyncpg.connect(
        host=database.settings.host,
        port=database.settings.port,
        user=database.settings.user,
        password=database.password,
        database=database.settings.name,
    )
    await connection.execute(
        "UPDATE transcription_job SET status = 'completed', started_at = now(), finished_at = now(), progress = 100, "
        "duration_after_vad = 3.2, processing_time_seconds = 0.4, real_time_factor = 0.1, language = 'en', "
        "attempt = 1, language_probability = 0.99, result_text = $1, device = 'cpu', compute_type = 'int8' "
        "WHERE id = $2",
        TEXT,
        job_id,
    )
    await connection.close()
    return target["url"], job_id


async def main(arguments: argparse.Namespace) -> None:
    logs.configure("error", "console")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        postgres, redis = stack.enter_context(postgres_server()), stack.enter_context(redis_server())
        async with temporary_database(postgres, template="template0") as database:
            await migrate(database.settings, database.password)
            settings = settings_of(database, redis, folder)
            # One name for all of them, so that each takes the same url.
            settings = msgspec.structs.replace(
                settings, api=msgspec.structs.replace(settings.api, public_url=PUBLIC_URL)
            )
            with (
                served(settings, folder, OURS) as ours,
                served(settings, folder, BLIND) as blind,
                served(settings, folder, PLAIN) as plain,
                served(settings, folder, PLAIN, "probe") as probing,
            ):
                url, job_id = await prepared(database, ours)
                submit = post("/api/v1/job/transcribe", {"filename": RECORDING.name, "url": url})
                status = get(f"/api/v1/job/status/{job_id}")
                for name, one, other, request, code in (
                    ("status read", ours, plain, status, 200),
                    ("submit, both without looking into the file", blind, plain, submit, 201),
                    ("submit, both looking into the file", ours, probing, submit, 201),
                ):
                    await asyncio.to_thread(compare, name, one, other, request, code, arguments)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="of each, in turn")
    parser.add_argument("--seconds", type=float, default=4.0, help="of each round")
    parser.add_argument("--connections", type=int, default=32)
    asyncio.run(main(parser.parse_args()))
