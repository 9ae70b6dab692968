"""Nothing lies elsewhere, for tests that are about something else."""

from contextlib import AbstractAsyncContextManager
from typing import Any

from audio_text.ports import Resources
from audio_text.services.ingest import IngestService
from audio_text.settings import Settings
from fakes.probe import FakeProbe


class NoRemoteHttp:
    """A RemoteHttp that nobody may use."""

    async def post(self, url: str, **_: Any) -> Any:
        raise AssertionError(url)

    def stream(self, url: str, **_: Any) -> AbstractAsyncContextManager[Any]:
        raise AssertionError(url)


def no_ingest(resources: Resources, settings: Settings) -> IngestService:
    return IngestService(resources, http=NoRemoteHttp(), buckets=None, probe=FakeProbe(), settings=settings)
