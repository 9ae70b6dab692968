"""Where recordings lie, and how they get there."""

from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol

import msgspec

from audio_text.domain.multipart import MultipartUpload


class UploadTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Where a client PUTs the raw bytes, and the headers it must send with them."""

    url: str
    headers: dict[str, str]
    expires_at: datetime


class StoredObject(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows of an object."""

    key: str
    size_bytes: int
    content_type: str | None


class AudioStore(Protocol):
    """Where recordings lie between upload and transcript. Methods may raise StoreUnavailableError."""

    async def prepare(self) -> None:
        """Create what is missing: bucket, CORS rule, lifecycle rule; or the folder. Safe to repeat."""
        ...

    async def presign_upload(
        self, key: str, *, content_type: str | None, size_bytes: int, expires_seconds: int, sha256: str | None = None
    ) -> UploadTarget:
        """A URL bound to this key, exactly this size and, when given, this content type and SHA-256 (hexadecimal).

        Where the store itself does not refuse other bytes, `fetch` does. Raises UploadTooLargeError for what the store
        takes only in parts.
        """
        ...

    async def begin_multipart(
        self, key: str, *, content_type: str | None, size_bytes: int, sha256: str | None = None
    ) -> str:
        """Begin an upload in parts; what the store calls it. Raises DiskFullError."""
        ...

    async def presign_part(self, upload: MultipartUpload, number: int, *, expires_seconds: int) -> UploadTarget:
        """A URL bound to this part, with exactly its size; to send a part again replaces it."""
        ...

    async def received_parts(self, upload: MultipartUpload) -> list[int]:
        """The numbers of the parts that are there whole, ascending. Raises UploadNotFoundError."""
        ...

    async def complete_multipart(self, upload: MultipartUpload) -> None:
        """Make the object of its parts. It appears whole, or not at all, and the parts stay.

        Raises UploadIncompleteError, UploadNotFoundError also when it is complete, and ChecksumMismatchError unless
        that is left to `fetch`.
        """
        ...

    async def abort_multipart(self, upload: MultipartUpload) -> None:
        """Remove the parts of an upload; not an error when it is gone or complete."""
        ...

    async def write(self, key: str, *, content_type: str | None, body: AsyncIterator[bytes]) -> StoredObject:
        """Store bytes as they arrive, however many; the object appears whole, or not at all.

        No more than a few MiB are in memory. Errors of `body` pass through.
        """
        ...

    def url_of(self, key: str) -> str:
        """The address of an object, for `key_of`: it opens nothing."""
        ...

    def key_of(self, url: str) -> str:
        """The key behind a URL that `presign_upload` made, expired or not. Raises ForeignUrlError."""
        ...

    async def stat(self, key: str) -> StoredObject:
        """Raises UploadMissingError."""
        ...

    async def read_range(self, key: str, start: int, length: int) -> bytes:
        """Bytes [start, start + length), fewer at the end. Raises UploadMissingError."""
        ...

    def fetch(self, key: str) -> AbstractAsyncContextManager[Path]:
        """The object as a local file, for as long as the context is open.

        Raises UploadMissingError, DiskFullError, ChecksumMismatchError.
        """
        ...

    async def delete(self, key: str) -> None:
        """Remove the object; not an error when it is gone already."""
        ...

    def list_older(self, *, seconds: float) -> AsyncGenerator[list[str], None]:
        """Keys of the objects written longer ago, in pages of at most 1,000; they may be deleted meanwhile."""
        ...

    async def remove_abandoned(self) -> int:
        """Remove from this machine what dead processes and uploads in parts left unfinished; how many there were."""
        ...

    async def check(self) -> None:
        """Raise StoreUnavailableError unless the store answers."""
        ...


class UploadReceiver(Protocol):
    """Takes uploads itself: a store whose upload URLs lead to this service."""

    async def receive(
        self,
        key: str,
        *,
        query: Mapping[str, str],
        content_type: str | None,
        content_length: int | None,
        body: AsyncIterator[bytes],
    ) -> StoredObject:
        """Store the body of a PUT to a URL of `presign_upload` or `presign_part`, as it arrives, whole or not at all.

        Raises UploadLinkError, UploadMismatchError, ChecksumMismatchError, UploadTooLargeError, UploadNotFoundError for
        a part, DiskFullError, StoreUnavailableError.
        """
        ...
