"""Use cases of uploads: hand out a place to put a recording, or take one that comes with a request."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Protocol

import msgspec
import structlog

from audio_text.domain.access import Caller
from audio_text.domain.media import BEGINNING_BYTES, extension_of, possible_extensions
from audio_text.domain.object_keys import belongs_to, new_key
from audio_text.errors import EmptyAudioError, TransientError, UnsupportedMediaError, UploadTooLargeError
from audio_text.ports import AudioStore, UploadTarget
from audio_text.settings import UploadSettings

log = structlog.get_logger(__name__)


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """A recording that came with a request and lies in the store; `sha256` is that of its bytes, in hexadecimal."""

    key: str
    url: str
    filename: str
    sha256: str


def sees_upload(caller: Caller, key: str) -> bool:
    """Whether the upload with this key exists for the caller."""
    return caller.sees_all or belongs_to(key, caller.owner)


class _Digest(Protocol):
    def update(self, data: bytes, /) -> None: ...


class UploadService:
    """Presigned uploads, bound to what the client declared, and uploads that arrive here."""

    def __init__(self, *, store: AudioStore, settings: UploadSettings) -> None:
        self._store = store
        self._settings = settings

    async def create(
        self,
        *,
        filename: str,
        content_type: str | None,
        size_bytes: int,
        sha256: str | None = None,
        owner: str | None = None,
    ) -> UploadTarget:
        """Make a PUT target for a file. Its name is only a label; its extension decides whether it is accepted.

        Nobody but its owner can submit what is put there.

        The content type is what the browser says and is bound, not judged: browsers report `video/mp4` for
        m4a and nothing at all for opus. `sha256` is in hexadecimal.

        Raises UnsupportedMediaError, UploadTooLargeError, EmptyAudioError.
        """
        extension = self.check_extension(filename)
        self.check_size(size_bytes)
        return await self._store.presign_upload(
            new_key(extension, owner=owner),
            content_type=content_type or None,
            size_bytes=size_bytes,
            expires_seconds=self._settings.expires_seconds,
            sha256=sha256.lower() if sha256 else None,
        )

    async def receive(
        self,
        *,
        filename: str,
        content_type: str | None,
        body: AsyncIterator[bytes],
        owner: str | None = None,
        key: str | None = None,
    ) -> Recording:
        """Store a recording of this owner as it arrives, whole or not at all, under this key or a fresh one.

        What its name does not tell of its kind, its type or its beginning may. Raises UnsupportedMediaError,
        UploadTooLargeError, EmptyAudioError, StoreUnavailableError; errors of `body` pass through.
        """
        beginning = await _beginning(body)
        if not beginning:
            raise EmptyAudioError
        extension = self._accepted_extension(filename, content_type, beginning)
        digest = hashlib.sha256()
        key = key or new_key(extension, owner=owner)
        pieces = self._measured(beginning, body, digest)
        await self._store.write(key, content_type=content_type or None, body=pieces)
        return Recording(
            key=key,
            url=self._store.url_of(key),
            filename=filename or f"recording.{extension}",
            sha256=digest.hexdigest(),
        )

    async def discard(self, recording: Recording) -> None:
        """Remove a recording that leads to no job; what cannot be removed now is left to the store's sweep."""
        try:
            await self._store.delete(recording.key)
        except TransientError as error:
            log.warning("audio_not_deleted", object_key=recording.key, error=error.detail)

    def check_extension(self, filename: str) -> str:
        """Return the lower-case extension. Raises UnsupportedMediaError when it is not accepted."""
        extension = extension_of(filename)
        if extension not in self._settings.extensions:
            found = f"'.{extension}' files are" if extension else "A file without an extension is"
            accepted = ", ".join(self._settings.extensions)
            raise UnsupportedMediaError(f"{found} not accepted here. Accepted: {accepted}.")
        return extension

    def is_accepted(self, filename: str) -> bool:
        """Whether its name alone tells that it is of an accepted kind."""
        return extension_of(filename) in self._settings.extensions

    def check_size(self, size_bytes: int) -> None:
        """Raise UploadTooLargeError or EmptyAudioError for a size that is not accepted."""
        if size_bytes > self._settings.max_bytes:
            raise UploadTooLargeError(
                f"The file has {size_bytes} bytes; this service accepts at most {self._settings.max_bytes}."
            )
        if size_bytes == 0:
            raise EmptyAudioError

    def _accepted_extension(self, filename: str, content_type: str | None, beginning: bytes) -> str:
        for extension in possible_extensions(filename, content_type, beginning):
            if extension in self._settings.extensions:
                return extension
        return self.check_extension(filename)

    async def _measured(
        self, beginning: bytes, rest: AsyncIterator[bytes], digest: _Digest
    ) -> AsyncGenerator[bytes, None]:
        """All of the pieces, digested. Raises UploadTooLargeError as soon as there are too many bytes."""
        digest.update(beginning)
        yield beginning
        size = len(beginning)
        async for piece in rest:
            size += len(piece)
            if size > self._settings.max_bytes:
                raise UploadTooLargeError(
                    f"The file is larger than {self._settings.max_bytes} bytes, the most that this service accepts."
                )
            digest.update(piece)
            yield piece


async def _beginning(body: AsyncIterator[bytes]) -> bytes:
    """Enough of the first pieces to tell what it is; less when there is no more."""
    beginning = b""
    while len(beginning) < BEGINNING_BYTES and (piece := await anext(body, b"")):
        beginning += piece
    return beginning
