"""The audio store of one machine: a folder. Uploads arrive through the API, over links that are signed here."""

import asyncio
import os
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from audio_text.adapters.draft_file import FULL, DraftFile, check_room, draft_file, in_thread, remove_abandoned
from audio_text.domain.grants import UploadGrant
from audio_text.domain.keys import UPLOAD_PREFIX, is_key, key_behind
from audio_text.domain.media import media_type
from audio_text.errors import (
    DiskFullError,
    ForeignUrlError,
    StoreUnavailableError,
    UploadMismatchError,
    UploadMissingError,
    UploadTooLargeError,
)
from audio_text.ports import StoredObject, UploadTarget

UPLOAD_PATH = "/api/v1/audio/upload/"
"""Where the API takes uploads, followed by the key."""

IDLE_SECONDS = 60.0
"""An upload from which nothing comes for so long is given up."""

DRAFT_PREFIX = ".draft-"
"""What is still being written: no key has a name like that."""

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
        self._reserve_bytes = reserve_bytes
        self._idle_seconds = idle_seconds

    async def prepare(self) -> None:
        """Create the folder, for its owner's eyes only; one that exists keeps its mode."""
        with self._disk_errors():
            await asyncio.to_thread(self._folder.mkdir, mode=0o700, parents=True, exist_ok=True)

    async def presign_upload(
        self, key: str, *, content_type: str | None, size_bytes: int, expires_seconds: int
    ) -> UploadTarget:
        """A URL of the API bound to this key, exactly this size and, when given, this content type."""
        content_type = media_type(content_type)
        expires = int(time.time()) + expires_seconds
        grant = UploadGrant(key=key, size_bytes=size_bytes, content_type=content_type or "", expires=expires)
        return UploadTarget(
            url=f"{self._prefix}{key}?{grant.query(self._signing_key)}",
            headers={"Content-Type": content_type} if content_type else {},
            expires_at=datetime.fromtimestamp(expires, UTC),
        )

    async def write(self, key: str, *, content_type: str | None, body: AsyncIterator[bytes]) -> StoredObject:  # noqa: ARG002 -- a file does not remember it
        """Stream to the disk what comes, however much. Raises StoreUnavailableError; errors of `body` pass through."""
        size = 0
        async with self._new_file(key) as draft:
            while (chunk := await self._next(body)) is not None:
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
        and reads no further then; StoreUnavailableError. Other errors of `body` pass through.
        """
        grant = UploadGrant.from_query(key, query, signing_key=self._signing_key, now=time.time())
        if grant.content_type and content_type != grant.content_type:
            raise UploadMismatchError(f"This link takes an upload of type {grant.content_type} only.")
        if content_length is not None:
            _check_size(content_length, grant.size_bytes, is_whole=True)
        async with self._new_file(key, size_bytes=grant.size_bytes) as draft:
            await self._copy(body, draft, grant.size_bytes)
        return StoredObject(key=key, size_bytes=grant.size_bytes, content_type=None)

    async def stat(self, key: str) -> StoredObject:
        """The size; a file does not remember its content type. Raises UploadMissingError."""
        with self._disk_errors(UploadMissingError):
            facts = await asyncio.to_thread(self._path(key).stat)
        return StoredObject(key=key, size_bytes=facts.st_size, content_type=None)

    async def read_range(self, key: str, start: int, length: int) -> bytes:
        """Bytes [start, start + length), fewer at the end. Raises UploadMissingError."""
        with self._disk_errors(UploadMissingError):
            return await asyncio.to_thread(_read_range, self._path(key), start, length)

    @asynccontextmanager
    async def fetch(self, key: str) -> AsyncGenerator[Path]:
        """The stored file itself: nothing is copied, so treat it as read-only. Raises UploadMissingError."""
        await self.stat(key)
        yield self._path(key)

    async def delete(self, key: str) -> None:
        """Remove the object; not an error when it is gone already."""
        with suppress(UploadMissingError), self._disk_errors(UploadMissingError):
            await asyncio.to_thread(self._path(key).unlink)

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
        """Remove the uploads that processes left unfinished when they were killed; how many there were."""
        return await self._in_thread(remove_abandoned, self._folder, f"{UPLOAD_PREFIX}*/{DRAFT_PREFIX}*")

    async def _in_thread(self, call: Callable[..., T], *args: object) -> T:
        with self._disk_errors():
            return await in_thread(call, *args)

    @asynccontextmanager
    async def _new_file(self, key: str, *, size_bytes: int = 0) -> AsyncGenerator[DraftFile]:
        """A file to write, that appears under its key when the context ends well; `size_bytes` where that is known."""
        target = self._path(key)
        with self._disk_errors():
            await asyncio.to_thread(_make_parents, target)
            await asyncio.to_thread(check_room, target.parent, size_bytes, reserve_bytes=self._reserve_bytes)
            async with draft_file(target.parent, prefix=DRAFT_PREFIX) as draft:
                yield draft
                await draft.publish(target)

    async def _copy(self, body: AsyncIterator[bytes], draft: DraftFile, size_bytes: int) -> None:
        """Copy all of the body. Raises as soon as it has more than `size_bytes`, or at its end when it has less."""
        received = 0
        while (chunk := await self._next(body)) is not None:
            received += len(chunk)
            _check_size(received, size_bytes, is_whole=False)
            await draft.append(chunk)
        _check_size(received, size_bytes, is_whole=True)

    async def _next(self, body: AsyncIterator[bytes]) -> bytes | None:
        try:
            async with asyncio.timeout(self._idle_seconds):
                return await anext(body, None)
        except OSError as error:  # TimeoutError is one, and so is a connection that breaks
            raise UploadMismatchError("The upload stopped before it was complete.") from error

    def _path(self, key: str) -> Path:
        if not is_key(key):
            raise UploadMissingError
        return self._folder / key

    @contextmanager
    def _disk_errors(self, missing: type[Exception] = StoreUnavailableError) -> Generator[None]:
        """Map the system's errors to ours; `missing` is what an absent file means while the folder is there."""
        try:
            yield
        except FileNotFoundError as error:
            raise (missing if self._folder.is_dir() else StoreUnavailableError) from error
        except OSError as error:
            if error.errno in FULL:
                raise DiskFullError(
                    "The disk of the audio store is full: whoever runs this service has to free some of it, or give "
                    "disk.folder a larger one."
                ) from error
            raise StoreUnavailableError from error


def _check_size(received: int, declared: int, *, is_whole: bool) -> None:
    if received > declared:
        raise UploadTooLargeError(f"The upload is larger than the {declared} bytes that were declared for it.")
    if is_whole and received < declared:
        raise UploadMismatchError(f"The upload has {received} bytes, and {declared} were declared for it.")


def _make_parents(target: Path) -> None:
    """The folders between the store's own and the file; a missing store is a disk that is away, not ours to make."""
    target.parent.parent.mkdir(mode=0o700, exist_ok=True)
    target.parent.mkdir(mode=0o700, exist_ok=True)


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
