"""Use case: take recordings that lie elsewhere. The API only looks at the address; the worker brings what is there.

Once it is in the store it is a recording like any other: another attempt, here or elsewhere, finds it there.
"""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_address

import msgspec
import structlog

from audio_text.domain.addresses import is_reachable
from audio_text.domain.answers import is_passing, retry_after_seconds
from audio_text.domain.job import Job
from audio_text.domain.media import extension_of, media_type
from audio_text.domain.object_keys import new_key
from audio_text.domain.sources import BucketObject, Source, name_of, source_of
from audio_text.domain.urls import WebUrl
from audio_text.errors import (
    ForeignUrlError,
    InvalidRequestError,
    LeaseLostError,
    PrivateAddressError,
    RemoteAnswerError,
    RemoteDisabledError,
    RemoteRefusedError,
    RemoteUnavailableError,
    RemoteUrlError,
    UploadMismatchError,
    UploadMissingError,
)
from audio_text.ports import (
    AudioProbe,
    BroughtRecording,
    Claim,
    RemoteBuckets,
    RemoteHttp,
    RemoteLimits,
    RemoteResponse,
    Resources,
)
from audio_text.services.choices import check_channels
from audio_text.services.uploads import UploadService
from audio_text.settings import Settings, StoreKind

log = structlog.get_logger(__name__)

OK, REFUSED = 200, 400
"""HTTP's statuses: a file, and from here on none."""


class Sources:
    """Which addresses a recording may be brought from. Asks nobody."""

    def __init__(self, settings: Settings) -> None:
        self._remote = settings.remote
        self._own_bucket = settings.s3.bucket if settings.store.kind is StoreKind.s3 else None
        self._uploads = settings.upload

    def named(self, url: str) -> Source:
        """What a client means by a URL that is not of an upload.

        Raises ForeignUrlError where that is no address elsewhere or nothing is brought here, RemoteUrlError,
        PrivateAddressError.
        """
        if not self._remote.enabled:
            raise ForeignUrlError
        source = source_of(url)
        if source is None:
            raise ForeignUrlError
        self.check(source)
        return source

    def check(self, source: Source) -> None:
        """Raise RemoteDisabledError, RemoteUrlError or PrivateAddressError unless it may be asked."""
        if not self._remote.enabled:
            raise RemoteDisabledError
        if isinstance(source, BucketObject):
            if source.bucket not in self._remote.allowed_buckets or source.bucket == self._own_bucket:
                raise RemoteUrlError(f"Recordings in the bucket {source.bucket[:100]} are not fetched here.")
            return
        source.check(ports=self._remote.ports, allow_http=self._remote.allow_http)
        try:
            address = ip_address(source.host)
        except ValueError:
            return  # a name: what it means is looked at when the connection is made
        if not is_reachable(address, self._remote.networks):
            raise PrivateAddressError

    def new_key(self, filename: str, source: Source, *, owner: str | None) -> str:
        """A fresh key for the recording, with an extension where a name tells an accepted one."""
        names = (filename, source.name if isinstance(source, BucketObject) else name_of(source))
        extensions = [extension_of(name) for name in names]
        extension = next((found for found in extensions if found in self._uploads.extensions), "")
        return new_key(extension, owner=owner)


class IngestService:
    """Brings recordings into the store, at the start of the attempt that needs them."""

    def __init__(
        self,
        resources: Resources,
        *,
        http: RemoteHttp,
        buckets: RemoteBuckets | None,
        probe: AudioProbe,
        settings: Settings,
    ) -> None:
        self._jobs = resources.jobs
        self._store = resources.store
        self._http = http
        self._buckets = buckets
        self._probe = probe
        self._uploads = UploadService(store=resources.store, settings=settings.upload)
        self._sources = Sources(settings)
        self._settings = settings

    async def bring(self, job: Job) -> Job:
        """See that the recording of a claimed job is stored; the job with what is known of it then.

        Raises LeaseLostError; RemoteUnavailableError and other TransientErrors; and for good RemoteDisabledError,
        RemoteUrlError, PrivateAddressError, RemoteRefusedError, RemoteAnswerError, UploadTooLargeError,
        UnsupportedMediaError and its kinds, TooManyChannelsError.
        """
        if job.source_url is None:
            return job
        try:
            size_bytes = (await self._store.stat(job.object_key)).size_bytes
        except UploadMissingError:
            content_type = await self._fetch(job, job.source_url)
            size_bytes = (await self._store.stat(job.object_key)).size_bytes
        else:
            if job.file_size_bytes:
                return job
            content_type = None  # who brought it ended before it could be written down
        return await self._noted(job, size_bytes=size_bytes, content_type=content_type)

    async def _noted(self, job: Job, *, size_bytes: int, content_type: str | None) -> Job:
        try:
            facts = await self._probe.probe(partial(self._store.read_range, job.object_key), size_bytes)
            check_channels(facts, job.options, most=self._settings.engine.max_channels)
        except InvalidRequestError:
            # It is nothing that we want to have; a retry fetches it again.
            await self._store.delete(job.object_key)
            raise
        found = BroughtRecording(size_bytes=size_bytes, content_type=content_type, duration=facts.duration)
        if not await self._jobs.note_recording(Claim(job.id, job.claims), found):
            raise LeaseLostError
        log.info("recording_brought", source=job.url, size_bytes=size_bytes, duration=facts.duration)
        duration = job.duration if facts.duration is None else facts.duration
        return msgspec.structs.replace(job, file_size_bytes=size_bytes, content_type=content_type, duration=duration)

    async def _fetch(self, job: Job, url: str) -> str | None:
        """Store what is there; its content type as its server says it."""
        source = source_of(url)
        if source is None:
            raise RemoteUrlError
        self._sources.check(source)
        opened = self._from_bucket(source) if isinstance(source, BucketObject) else self._from_web(source)
        async with opened as found:
            content_type = _told(found.content_type)
            names = (job.filename, found.name)
            filename = next((name for name in names if self._uploads.is_accepted(name)), job.filename)
            try:
                await self._uploads.receive(
                    filename=filename, content_type=content_type, body=self._held(job, found.pieces), key=job.object_key
                )
            except UploadMismatchError as error:
                raise RemoteUnavailableError("The server stopped before the file was complete.") from error
            return content_type

    async def _held(self, job: Job, pieces: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """The pieces; raises LeaseLostError at their end, before they become the recording of somebody else's job."""
        async for piece in pieces:
            yield piece
        claim = Claim(job.id, job.claims)
        if not await self._jobs.extend_lease(claim, lease_seconds=self._settings.worker.lease_seconds):
            raise LeaseLostError

    @asynccontextmanager
    async def _from_web(self, source: WebUrl) -> AsyncGenerator["_Found", None]:
        limits = RemoteLimits(
            seconds=self._settings.remote.total_seconds,
            max_bytes=self._settings.upload.max_bytes,
            redirects=self._settings.remote.redirects,
        )
        async with self._http.stream(str(source), limits=limits) as response:
            _check_status(response)
            yield _Found(
                name=name_of(response.url), content_type=response.headers.get("content-type"), pieces=response.pieces
            )

    @asynccontextmanager
    async def _from_bucket(self, source: BucketObject) -> AsyncGenerator["_Found", None]:
        if self._buckets is None:
            raise RemoteDisabledError
        async with self._buckets.stream(source.bucket, source.key) as response:
            self._uploads.check_size(response.size_bytes)
            yield _Found(name=source.name, content_type=response.content_type, pieces=response.pieces)


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """A file elsewhere, open."""

    name: str
    content_type: str | None
    pieces: AsyncIterator[bytes]


def _check_status(response: RemoteResponse) -> None:
    status, host = response.status, response.url.authority
    if is_passing(status):
        raise RemoteUnavailableError(
            f"{host} answers {status} just now.", retry_after_seconds=retry_after_seconds(response.headers)
        )
    if status >= REFUSED:
        raise RemoteRefusedError(f"{host} does not give this file away: it answers {status}.")
    if status != OK:
        raise RemoteAnswerError(f"{host} answers {status}, and no file.")


def _told(content_type: str | None) -> str | None:
    """What a server says of a file, where it makes sense."""
    try:
        return media_type(content_type)
    except InvalidRequestError:
        return None
