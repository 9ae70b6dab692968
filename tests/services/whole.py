"""A whole service with the demo model, as processes of their own."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from audio_text.settings import Settings
from services.api import ApiProcess, api_process
from services.worker import worker_process

NOBODYS = "medium"
"""A model on whose tier nobody works: its jobs wait."""


@contextmanager
def whole_service(settings: Settings, folder: Path) -> Iterator[ApiProcess]:
    """Start an API, and a worker for the smallest tier."""
    raw = msgspec.to_builtins(settings)
    raw["job"]["default_model"] = "demo"
    raw["engine"] |= {"preload": ["demo"], "offline": True}
    settings = msgspec.convert(raw, Settings)
    with worker_process(settings, folder, "audio_small"), api_process(settings, folder) as api:
        yield api
