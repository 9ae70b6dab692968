"""The audio store of one machine: a folder. Uploads arrive through the API, over links that are signed here."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from audio_text.adapters.disk_parts import PartsFolder, remove_forgotten
from audio_text.adapters.disk_writing import DRAFT_PREFIX, DiskWriter, check_size
from audio_text.adapters.draft_file import in_thread, remove_abandoned
from audio_text.domain.grants import UploadGrant
from audio_text.domain.media import media_type
from audio_text.domain.multipart import MultipartUpload, in_words
from audio_text.domain.object_keys import UPLOAD_PREFIX, is_key, key_behind
from audio_text.errors import (
    ChecksumMismatchError,
    ForeignUrlError,
    StoreUnavailableError,
    UploadIncompleteError,
    UploadMismatchError,
    UploadMissingError,
    UploadNotFoundError,
)
from audio_text.ports import StoredObject, UploadTarget

UPLOAD_PATH = "/api/v1/audio/upload/"
"""Where the API takes uploads, followed by the key."""

IDLE_SECONDS = 60.0
"""An upload from which nothing comes for so long is given up."""

PAGE = 1_000
"""Keys listed at a time."""

T = TypeVar("T")


class DiskAudioStore:
    """Recordings as files under `folder`.

    `base_url` is how clients reach the API; `signing_key` is the same in all its processes, and a process
    that makes and takes no uploads (a worker) needs none. An upload leaves `reserve_bytes` of the disk free.
    """

    def __init__(
        self,
        folder: Path,
        *,
        base_url: str,
        signing_key: bytes = b"",
        reserve_bytes: int = 0,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._folder = folder
        self._prefix = base_url.rstrip("/") + UPLOAD_PATH
        self._signing_key = signing_key
        self._writer = DiskWriter(folder, reserve_bytes=reserve_bytes, idle_seconds=idle_seconds)

    async def prepare(self) -> None:
        """Create the folder, for its owner's eyes only; one that exists keeps its mode."""
        with self._writer.errors():
            await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)

    async def presign_upload(
        self, key: str, *, content_type: str | None, size_bytes: int, expires_seconds: int, sha256: str | None = None
    ) -> UploadTarget:
        """A URL of the API bound to this key, exactly this size and, when given, this content type and SHA-256."""
        grant = UploadGrant(
            key=key,
            size_bytes=size_bytes,
            expires=int(time.time()) + expires_seconds,
            content_type=media_type(content_type) or "",
            sha256=sha256 or "",
        )
        return self._target(grant)

    async def begin_multipart(
        self,
        key: str,
        *,
        content_type: str | None,  # noqa: ARG002 -- a file does not remember it
        size_bytes: int,
        sha256: str | None = None,  # noqa: ARG002 -- the upload itself says it when it is complete
    ) -> str:
        """Make the folder of its parts; a disk has no name of its own for it. Raises DiskFullError."""
        with self._writer.errors():
            await self._writer.make_room(key, size_bytes)
            await in_thread(self._parts(key).create)
        return ""

    async def presign_part(self, upload: MultipartUpload, number: int, *, expires_seconds: int) -> UploadTarget:
        """A URL of the API bound to this part, with exactly its size."""
        grant = UploadGrant(
            key=upload.key,
            size_bytes=upload.size_of(number),
            expires=int(time.time()) + expires_seconds,
            part=number,
            offset=upload.offset_of(number),
        )
        return self._target(grant)

    async def received_parts(self, upload: MultipartUpload) -> list[int]:
        """The numbers of the parts that are there whole, ascending. Raises UploadNotFoundError."""
        with self._writer.errors(UploadNotFoundError):
            return await in_thread(self._parts(upload.key).received)

    async def complete_multipart(self, upload: MultipartUpload) -> None:
        """Give the file its name; with a SHA-256 it is read once before.

        Raises UploadIncompleteError, ChecksumMismatchError, UploadNotFoundError.
        """
        parts = self._parts(upload.key)
        with self._writer.errors(UploadNotFoundError):
            async with parts.locked() as data:
                if missing := upload.missing(await in_thread(parts.received)):
                    raise UploadIncompleteError(f"Parts of the upload are missing: {in_words(missing)}.")
                if upload.sha256 and await data.sha256() != upload.sha256:
                    raise ChecksumMismatchError
                await in_thread(parts.publish, data)
            await in_thread(parts.remove)

    async def abort_multipart(self, upload: MultipartUpload) -> None:
        """Remove the parts of an upload; not an error when it is gone or complete."""
        parts = self._parts(upload.key)
        with suppress(UploadNotFoundError), self._writer.errors(UploadNotFoundError):
            async with parts.locked():
                await in_thread(parts.remove)

    async def write(self, key: str, *, content_type: str | None, body: AsyncIterator[bytes]) -> StoredObject:  # noqa: ARG002 -- a file does not remember it
        """Stream to the disk what comes, however much. Raises StoreUnavailableError; errors of `body` pass through."""
        size = 0
        async with self._writer.new_file(key) as draft:
            while (chunk := await self._writer.next(body)) is not None:
                size += len(chunk)
                await draft.append(chunk)
        return StoredObject(key=key, size_bytes=size, content_type=None)

    def url_of(self, key: str) -> str:
        """The address of an object, for `key_of`."""
        return self._prefix + key

    def key_of(self, url: str) -> str:
        """The key behind a URL that `presign_upload` made, expired or not. Raises ForeignUrlError."""
        key = key_behind(url, [self._prefix])
        if key is None:
            raise ForeignUrlError
        return key

    async def receive(
        self,
        key: str,
        *,
        query: Mapping[str, str],
        content_type: str | None,
        content_length: int | None,
        body: AsyncIterator[bytes],
    ) -> StoredObject:
        """Take an upload: check its link, stream it to the disk, and let it appear whole or not at all.

        Raises UploadLinkError, UploadMismatchError, UploadTooLargeError and DiskFullError as soon as they are known,
        and reads no further then; ChecksumMismatchError; UploadNotFoundError for a part; StoreUnavailableError. Other
        errors of `body` pass through.
        """
        grant = UploadGrant.from_query(key, query, signing_key=self._signing_key, now=time.time())
        if grant.content_type and content_type != grant.content_type:
            raise UploadMismatchError(f"This link takes an upload of type {grant.content_type} only.")
        if content_length is not None:
            check_size(content_length, grant.size_bytes, is_whole=True)
        if grant.part:
            await self._receive_part(grant, body)
        else:
            await self._receive_file(grant, body)
        return StoredObject(key=key, size_bytes=grant.size_bytes, content_type=None)

    async def stat(self, key: str) -> StoredObject:
        """The size; a file does not remember its content type. Raises UploadMissingError."""
        with self._writer.errors(UploadMissingError):
            facts = await asyncio.to_thread(self._writer.path(key).stat)
        return StoredObject(key=key, size_bytes=facts.st_size, content_type=None)

    async def read_range(self, key: str, start: int, length: int) -> bytes:
        """Bytes [start, start + length), fewer at the end. Raises UploadMissingError."""
        with self._writer.errors(UploadMissingError):
            return await asyncio.to_thread(_read_range, self._writer.path(key), start, length)

    @asynccontextmanager
    async def fetch(self, key: str) -> AsyncGenerator[Path]:
        """The stored file itself: nothing is copied, so treat it as read-only. Raises UploadMissingError."""
        await self.stat(key)
        yield self._writer.path(key)

    async def delete(self, key: str) -> None:
        """Remove the object; not an error when it is gone already."""
        with suppress(UploadMissingError), self._writer.errors(UploadMissingError):
            await asyncio.to_thread(self._writer.path(key).unlink)

    async def check(self) -> None:
        """Raise StoreUnavailableError unless the folder can be written."""
        if not await asyncio.to_thread(os.access, self._folder, os.W_OK | os.X_OK):
            raise StoreUnavailableError

    async def list_older(self, *, seconds: float) -> AsyncGenerator[list[str], None]:
        """Keys of the objects that were written longer ago, in pages of at most PAGE."""
        oldest = time.time() - seconds
        for folder in await self._in_thread(_folders, self._folder / UPLOAD_PREFIX):
            names = await self._in_thread(_older, folder, oldest)
            keys = [key for name in names if is_key(key := f"{UPLOAD_PREFIX}{folder.name}/{name}")]
            for start in range(0, len(keys), PAGE):
                yield keys[start : start + PAGE]

    async def remove_abandoned(self) -> int:
        """Remove what processes left unfinished when they were killed, and uploads in parts that nobody completed."""
        drafts = await self._in_thread(remove_abandoned, self._folder, f"{UPLOAD_PREFIX}*/{DRAFT_PREFIX}*")
        return drafts + await self._in_thread(remove_forgotten, self._folder / UPLOAD_PREFIX)

    def _target(self, grant: UploadGrant) -> UploadTarget:
        return UploadTarget(
            url=f"{self._prefix}{grant.key}?{grant.query(self._signing_key)}",
            headers={"Content-Type": grant.content_type} if grant.content_type else {},
            expires_at=datetime.fromtimestamp(grant.expires, UTC),
        )

    async def _receive_file(self, grant: UploadGrant, body: AsyncIterator[bytes]) -> None:
        digest = hashlib.sha256() if grant.sha256 else None
        async with self._writer.new_file(grant.key, size_bytes=grant.size_bytes, digest=digest) as draft:
            await self._writer.copy(body, draft, grant.size_bytes)
            if digest and digest.hexdigest() != grant.sha256:
                raise ChecksumMismatchError

    async def _receive_part(self, grant: UploadGrant, body: AsyncIterator[bytes]) -> None:
        parts = self._parts(grant.key)
        with self._writer.errors(UploadNotFoundError):
            await in_thread(parts.check)
            # It comes beside the others first: what breaks off must not damage a part that was there.
            await self._writer.make_room(grant.key, 2 * grant.size_bytes)
            async with self._writer.draft(grant.key) as draft:
                await self._writer.copy(body, draft, grant.size_bytes)
                async with parts.locked() as data:
                    await in_thread(parts.place, data, draft.path, grant)

    def _parts(self, key: str) -> PartsFolder:
        return PartsFolder(self._writer.path(key))

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        with self._writer.errors():
            return await in_thread(call, *args)


def _read_range(path: Path, start: int, length: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        return file.read(max(0, length))


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []


def _older(folder: Path, oldest: float) -> list[str]:
    names: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.is_file(follow_symlinks=False) and entry.stat().st_mtime < oldest:
                    names.append(entry.name)
    return names
