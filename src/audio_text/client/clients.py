"""The two clients: all that a program opens and closes."""

import ssl
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from functools import partial
from typing import ClassVar, Self, Unpack

from audio_text.client import upload
from audio_text.client.answers import Segment, Upload
from audio_text.client.awaiting import AsyncTransport
from audio_text.client.blocking import Blocking, BlockingTransport, blocking, blocking_stream
from audio_text.client.jobs import AsyncJobs, Jobs
from audio_text.client.options import JobOptions
from audio_text.client.recording import Recording, Source
from audio_text.client.session import Session
from audio_text.client.transport import Reach

TIMEOUT_SECONDS = 120.0
"""A store may answer only after it has written the whole upload away."""

CONNECT_SECONDS = 10.0
MAX_RETRIES = 3

MAX_RECONNECTS = 8
"""With their delays about half a minute: an API that is started again is back sooner."""


class AsyncClient:
    """Speaks with the service at `base_url`, such as `https://speech.example.org`; close it, or use `async with`.

    `timeout`: seconds that any single wait on the network may take; connections have 10. `max_retries`: how often a
    failed request is repeated; `max_reconnects`: how often in a row a live connection is opened again. `api_key` and
    `headers` go to the service, not to the store. `ssl_context` is for certificates that the system does not know.
    """

    _transport: ClassVar[type[AsyncTransport] | type[BlockingTransport]] = AsyncTransport

    def __init__(  # noqa: PLR0913 -- each of them by its name
        self,
        base_url: str,
        *,
        timeout: float = TIMEOUT_SECONDS,
        max_retries: int = MAX_RETRIES,
        max_reconnects: int = MAX_RECONNECTS,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        base_url = base_url.rstrip("/")
        connect_seconds = min(CONNECT_SECONDS, timeout)
        reach = Reach(base_url=base_url, connect_seconds=connect_seconds, wait_seconds=timeout, ssl_context=ssl_context)
        self._session = Session(
            base_url,
            self._transport(reach),
            headers=({"Authorization": f"Bearer {api_key}"} if api_key else {}) | dict(headers or {}),
            max_retries=max_retries,
            max_reconnects=max_reconnects,
        )
        self.jobs = AsyncJobs(self._session)

    async def upload(
        self,
        source: Source,
        *,
        filename: str | None = None,
        content_type: str | None = None,
        size: int | None = None,
        sha256: str | None = None,
        on_progress: Callable[[int], object] | None = None,
    ) -> Upload:
        """Send a recording to the service's store, from a path, bytes or an open file, a chunk at a time.

        Bytes and nameless streams need a `filename`, streams that cannot seek their `size` in bytes. With `sha256`, in
        hexadecimal, no other file is taken for this one. `on_progress` is told the bytes sent so far, maybe from
        another thread. Raises OSError for what cannot be read.
        """
        open_recording = partial(
            Recording, source, filename=filename, content_type=content_type, size=size, on_progress=on_progress
        )
        recording = await self._session.transport.run(open_recording)
        return await upload.send(self._session, recording, sha256=sha256)

    async def transcribe(
        self, source: Source, *, filename: str | None = None, **options: Unpack[JobOptions]
    ) -> AsyncGenerator[Segment]:
        """Upload, submit, and yield segments as they are decoded. A job that is left goes on without this client.

        Raises JobFailedError if it does not complete.
        """
        job = await self.jobs.submit(await self.upload(source, filename=filename), **options)
        async with aclosing(self.jobs.segments(job.id)) as segments:
            async for segment in segments:
                yield segment

    async def close(self) -> None:
        """Let go of every connection."""
        await self._session.transport.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class _UnawaitedClient(AsyncClient):
    _transport = BlockingTransport


class Client(Blocking[AsyncClient]):
    """The same for programs that do not await: use `with`. Threads may share one."""

    def __init__(  # noqa: PLR0913 -- each of them by its name
        self,
        base_url: str,
        *,
        timeout: float = TIMEOUT_SECONDS,
        max_retries: int = MAX_RETRIES,
        max_reconnects: int = MAX_RECONNECTS,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(
            _UnawaitedClient(
                base_url,
                timeout=timeout,
                max_retries=max_retries,
                max_reconnects=max_reconnects,
                api_key=api_key,
                headers=headers,
                ssl_context=ssl_context,
            )
        )
        self.jobs = Jobs(self._awaiting.jobs)

    upload = blocking(AsyncClient.upload)
    transcribe = blocking_stream(AsyncClient.transcribe)
    close = blocking(AsyncClient.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
