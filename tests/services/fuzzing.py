"""schemathesis over the whole API: real processes of API and worker, PostgreSQL, Redis, a disk store, a mail server."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copy
from typing import Any

import httpx
import msgspec
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Sink

from audio_text.settings import Settings
from recordings import DATA
from services.api import ApiProcess, api_process, free_port
from services.worker import worker_process

CONFIG = Path(__file__).with_name("schemathesis.toml")
OPERATOR_TOKEN = "a token that only tests know"
RECORDING = DATA / "one_a.flac"
JOBS = 3
SERVER_ERROR = "ST101"
"""How schemathesis calls an answer of 500 and more."""


@dataclass(frozen=True)
class Findings:
    """What a run came to; `account` is schemathesis's own, with a curl command for each failure."""

    cases: int
    server_errors: int
    violations: int
    is_complete: bool
    account: str

    @property
    def is_clean(self) -> bool:
        return self.is_complete and not self.server_errors and not self.violations


@contextmanager
def fuzzed_service(settings: Settings, folder: Path) -> Iterator[ApiProcess]:
    """Start it. What is submitted is worked on, so that whoever follows a job sees its end."""
    mail = Controller(Sink(), hostname="127.0.0.1", port=free_port())
    raw = msgspec.to_builtins(settings)
    raw["job"]["default_model"] = "demo"
    raw["engine"] |= {"preload": ["demo"], "offline": True}
    raw["mail"] |= {"host": mail.hostname, "port": mail.port, "security": "none"}
    raw["secrets"] |= {"operator_token": OPERATOR_TOKEN, "webhooks_signing_key": OPERATOR_TOKEN}
    raw["access"]["open"] = False
    raw["limits"] |= dict.fromkeys(("requests_per_minute", "requests_per_hour", "refused_per_minute"), 0)
    settings = msgspec.convert(raw, Settings)
    mail.start()
    try:
        with worker_process(settings, folder), api_process(settings, folder) as api:
            yield api
    finally:
        mail.stop()


def fuzz(api: ApiProcess, folder: Path, *, examples: int, seed: int, seconds: float) -> Findings:
    """Run schemathesis with the project's configuration, at most so many examples for each operation and phase."""
    config, report = folder / CONFIG.name, folder / "report.json"
    copy(CONFIG, config)
    key = _key(api)
    with httpx.Client(base_url=f"http://{api.address}/api/v1", headers=_bearer(key)) as client:
        uploads = [_upload(client) for _ in range(JOBS)]
        _write(folder / "uploads.txt", uploads)
        _write(folder / "jobs.txt", [_submit(client, url) for url in uploads])
    done = subprocess.run(
        [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
            *("run", f"http://{api.address}/openapi.json", "--report-json-path", str(report)),
            *("--max-examples", str(examples), "--seed", str(seed), "--no-color"),
        ],
        env={"KEY": key},
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
    if not report.exists():
        raise RuntimeError(done.stdout)
    return _findings(msgspec.json.decode(report.read_bytes()), done.stdout)


def _findings(report: dict[str, Any], account: str) -> Findings:
    errors = [failure["count"] for failure in report["failures"] if failure["code"] == SERVER_ERROR]
    return Findings(
        cases=report["test_cases"]["generated"],
        server_errors=sum(errors),
        violations=report["test_cases"]["unique_failures"] - sum(errors),
        is_complete=report["complete"] and not report["errors"] and not report["operations"]["skipped"],
        account=account,
    )


def _key(api: ApiProcess) -> str:
    """A key that may do everything: what others may not do is for the tests of tenants."""
    scopes, limits = ["submit", "read", "admin"], {"highest_priority": "high"}
    asked = {"owner": "fuzz", "name": "fuzz", "scopes": scopes, "limits": limits}
    answer = httpx.post(f"http://{api.address}/api/v1/keys", json=asked, headers=_bearer(OPERATOR_TOKEN))
    return answer.raise_for_status().json()["secret"]


def _bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def _upload(client: httpx.Client) -> str:
    content = RECORDING.read_bytes()
    request = {"filename": RECORDING.name, "content_type": "audio/flac", "file_size": len(content)}
    target = client.post("/audio/presigned-url", json=request).raise_for_status().json()
    httpx.put(target["url"], content=content, headers=target["headers"]).raise_for_status()
    return target["url"]


def _submit(client: httpx.Client, url: str) -> str:
    request = {"filename": RECORDING.name, "url": url}
    return client.post("/job/transcribe", json=request).raise_for_status().json()["id"]


def _write(path: Path, words: list[str]) -> None:
    path.write_text("".join(f'"{word}"\n' for word in words))
