"""A whole service with the demo model, for clients that were written for OpenAI's."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import msgspec

from audio_text.settings import Settings
from services.api import ApiProcess, api_process
from services.worker import WorkerProcess, worker_process

GRACE_SECONDS = 1.0


@dataclass
class Service:
    """API and worker as processes of their own."""

    api: ApiProcess
    worker: WorkerProcess | None

    @property
    def base_url(self) -> str:
        return f"http://{self.api.address}/v1"

    def job(self, job_id: str) -> dict[str, object]:
        return httpx.get(f"http://{self.api.address}/api/v1/job/status/{job_id}").raise_for_status().json()

    def jobs(self) -> list[dict[str, object]]:
        """Newest first."""
        return httpx.get(f"http://{self.api.address}/api/v1/job/read").raise_for_status().json()

    def stored(self) -> list[Path]:
        return [path for path in Path(self.api.settings.disk.folder).rglob("*") if path.is_file()]


@contextmanager
def openai_service(settings: Settings, folder: Path, *, works: bool = True, **openai: object) -> Iterator[Service]:
    """Start it; without `works` nobody takes the jobs. Other arguments are settings of the table [openai]."""
    raw = msgspec.to_builtins(settings)
    raw["job"]["default_model"] = "demo"
    raw["engine"] |= {"preload": ["demo"], "offline": True}
    raw["openai"] |= {"grace_seconds": GRACE_SECONDS} | openai
    settings = msgspec.convert(raw, Settings)
    with ExitStack() as stack:
        worker = stack.enter_context(worker_process(settings, folder)) if works else None
        yield Service(stack.enter_context(api_process(settings, folder)), worker)
