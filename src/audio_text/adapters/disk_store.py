"""The audio store of one machine: a folder. Uploads arrive through the API, over links that are signed here."""

import asyncio
import errno
import os
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from audio_text.domain.grants import UploadGrant
from audio_text.domain.keys import is_key, key_behind
from audio_text.domain.media import media_type
from audio_text.errors import (
    ForeignUrlError,
    StoreUnavailableError,
    UploadMismatchError,
    UploadMissingError,
    UploadTooLargeError,
)
from audio_text.ports import StoredObject, UploadTarget

UPLOAD_PATH = "/api/v1/audio/upload/"
"""Where the API takes uploads, followed by the key."""

WRITE_BYTES = 256 * 1024
"""A thread's errand costs about 0.1 ms: gather the network's small pieces first."""

IDLE_SECONDS = 60.0
"""An upload from which nothing comes for so long is given up."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

PART_PREFIX = "."
"""What is still being written: no key has a name like that."""

T = TypeVar("T")


class DiskAudioStore:
    """Recordings as files under `folder`.

    `base_url` is how clients reach the API; `signing_key` is the same in all its processes, and a process
    that makes and takes no uploads (a worker) needs none.
    """

    def __init__(self, folder: Path, *, base_url: str, signing_key: bytes = b"") -> None:
        self._folder = folder
        self._prefix = base_url.rstrip("/") + UPLOAD_PATH
        self._signing_key = signing_key

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

        Raises UploadLinkError, UploadMismatchError and UploadTooLargeError as soon as they are known, and
        reads no further then; StoreUnavailableError, also for a full disk. Whatever `body` raises passes through.
        """
        grant = UploadGrant.from_query(key, query, signing_key=self._signing_key, now=time.time())
        if grant.content_type and content_type != grant.content_type:
            raise UploadMismatchError(f"This link takes an upload of type {grant.content_type} only.")
        if content_length is not None:
            _check_size(content_length, grant.size_bytes, is_whole=True)
        part = PartFile(self._path(key))
        try:
            await self._write(part.create)
            await self._copy(body, part, grant.size_bytes)
            await self._write(part.publish)
        finally:
            part.discard()
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
        with self._disk_errors():
            await asyncio.to_thread(self._path(key).unlink, missing_ok=True)

    async def check(self) -> None:
        """Raise StoreUnavailableError unless the folder can be written."""
        if not await asyncio.to_thread(os.access, self._folder, os.W_OK | os.X_OK):
            raise StoreUnavailableError

    async def sweep(self, older_than_seconds: float) -> int:
        """Delete every object and unfinished upload that nobody has written to for so long; how many there were.

        The safety net that a bucket's lifecycle rule is elsewhere.
        """
        with self._disk_errors():
            return await asyncio.to_thread(_sweep, self._folder, time.time() - older_than_seconds)

    async def _copy(self, body: AsyncIterator[bytes], part: "PartFile", size_bytes: int) -> None:
        """Write `size_bytes` of the body in pieces of at least WRITE_BYTES; raises when it has more or less."""
        received, piece = 0, bytearray()
        while (chunk := await _next(body)) is not None:
            received += len(chunk)
            _check_size(received, size_bytes, is_whole=False)
            piece += chunk
            if len(piece) >= WRITE_BYTES:
                await self._write(part.write, piece)
                piece = bytearray()
        _check_size(received, size_bytes, is_whole=True)
        await self._write(part.write, piece)

    async def _write(self, step: Callable[..., None], *args: object) -> None:
        with self._disk_errors():
            await _in_thread(step, *args)

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
                raise StoreUnavailableError("The disk of the audio store is full: try again later.") from error
            raise StoreUnavailableError from error


class PartFile:
    """A file that is written beside its target and takes the target's name when it is whole. Blocks."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._descriptor: int | None = None
        self._path: Path | None = None

    def create(self) -> None:
        """Open it, in a folder that is made when missing (but not the store's own: it may be a disk that is away)."""
        folder = self._target.parent
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        self._descriptor, name = tempfile.mkstemp(prefix=PART_PREFIX, dir=folder)
        self._path = Path(name)

    def write(self, data: bytes | bytearray) -> None:
        """Append all of it."""
        view = memoryview(data)
        while view and self._descriptor is not None:
            view = view[os.write(self._descriptor, view) :]

    def publish(self) -> None:
        """Let it appear under its name, and survive a power cut."""
        if self._descriptor is None or self._path is None:
            raise ValueError("nothing was created")
        os.fsync(self._descriptor)
        self._path.replace(self._target)
        self._path = None
        folder = os.open(self._target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def discard(self) -> None:
        """Close it, and remove it unless it was published."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None


async def _next(body: AsyncIterator[bytes]) -> bytes | None:
    try:
        async with asyncio.timeout(IDLE_SECONDS):
            return await anext(body, None)
    except TimeoutError as error:
        raise UploadMismatchError("The upload stopped before it was complete.") from error


def _check_size(received: int, declared: int, *, is_whole: bool) -> None:
    if received > declared:
        raise UploadTooLargeError(f"The upload is larger than the {declared} bytes that were declared for it.")
    if is_whole and received < declared:
        raise UploadMismatchError(f"The upload has {received} bytes, and {declared} were declared for it.")


async def _in_thread(call: Callable[..., T], *args: object) -> T:
    """As asyncio.to_thread, but a cancelled caller waits for the thread: it still holds the file."""
    work = asyncio.get_running_loop().run_in_executor(None, call, *args)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise


def _read_range(path: Path, start: int, length: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(start)
        return file.read(max(0, length))


def _sweep(folder: Path, oldest: float) -> int:
    count = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            if path.is_file() and path.stat().st_mtime < oldest:
                path.unlink()
                count += 1
    return count
