"""Files that are written while the event loop goes on, and are gone afterwards unless they were published."""

import asyncio
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Protocol, TypeVar

WRITE_BYTES = 256 * 1024
"""A thread's errand costs about 0.1 ms: gather the network's small pieces first."""

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

T = TypeVar("T")


class Digest(Protocol):
    """One of hashlib's."""

    def update(self, data: bytearray, /) -> None:
        """Take more data in."""
        ...

    def hexdigest(self) -> str:
        """What it comes to, in hexadecimal."""
        ...


class DraftFile:
    """A file of ours under a random name, locked while we live. Every method may raise OSError.

    What is written also goes into `digest`, in the same thread.
    """

    def __init__(self, folder: Path, *, prefix: str, suffix: str = "", digest: Digest | None = None) -> None:
        self._folder = folder
        self._prefix = prefix
        self._suffix = suffix
        self._digest = digest
        self._descriptor: int | None = None
        self._path: Path | None = None
        self._piece = bytearray()

    @property
    def path(self) -> Path:
        """Where it lies, from create to publish."""
        if self._path is None:
            raise ValueError("there is no such file")
        return self._path

    async def append(self, data: bytes) -> None:
        """Add to its end; written in pieces of at least WRITE_BYTES."""
        self._piece += data
        if len(self._piece) >= WRITE_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Write what was gathered."""
        piece, self._piece = self._piece, bytearray()
        await in_thread(self._write, piece)

    async def publish(self, target: Path) -> None:
        """Give it its name in the same file system, at once and to survive a power cut."""
        await self.flush()
        await in_thread(self._publish, target)

    def create(self) -> None:
        """Open it. Blocks."""
        while self._descriptor is None:
            self._descriptor, name = tempfile.mkstemp(prefix=self._prefix, suffix=self._suffix, dir=self._folder)
            self._path = Path(name)
            if not _is_locked(self._descriptor):  # before that it looks abandoned, and somebody was just removing it
                self.discard()

    def discard(self) -> None:
        """Close it, and remove it unless it was published. Blocks: a large file takes a while to remove."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None

    def _write(self, data: bytearray) -> None:
        if self._digest:
            self._digest.update(data)
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._open_descriptor(), rest) :]

    def _publish(self, target: Path) -> None:
        publish(self._open_descriptor(), self.path, target)
        self._path = None

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise ValueError("the file is closed")
        return self._descriptor


@asynccontextmanager
async def draft_file(
    folder: Path, *, prefix: str, suffix: str = "", digest: Digest | None = None
) -> AsyncGenerator[DraftFile, None]:
    """A file to write in `folder`; removed at the end, whatever happens, unless it was published."""
    draft = DraftFile(folder, prefix=prefix, suffix=suffix, digest=digest)
    try:
        await in_thread(draft.create)
        yield draft
    finally:
        await in_thread(draft.discard)


def publish(descriptor: int, path: Path, target: Path) -> None:
    """Give an open file another name in the same file system, at once and to survive a power cut. Blocks."""
    os.fsync(descriptor)
    path.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def check_room(folder: Path, size_bytes: int, *, reserve_bytes: int) -> None:
    """Raise OSError (ENOSPC) when the disk of the folder cannot take so much and keep the reserve free. Blocks."""
    disk = shutil.disk_usage(folder)
    if disk.total and disk.free < size_bytes + reserve_bytes:  # some network file systems tell nothing
        raise OSError(errno.ENOSPC, f"{disk.free} bytes are free")


def remove_abandoned(folder: Path, pattern: str) -> int:
    """Remove the drafts whose processes are gone; returns how many. Blocks.

    The system drops a lock with its process, however that ends, and keeps it while the process is only frozen.
    """
    return sum(_remove_unlocked(path) for path in folder.glob(pattern))


def _remove_unlocked(path: Path) -> bool:
    with suppress(OSError):  # gone already, or somebody else's
        # Anybody may put anything into the system's temp folder: follow no link, wait for no writer of a pipe.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if _is_locked(descriptor):
                path.unlink()
                return True
        finally:
            os.close(descriptor)
    return False


def _is_locked(descriptor: int) -> bool:
    """Lock the file, unless somebody else has it; False also for a file that was removed before it was locked."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0


async def in_thread(call: Callable[..., T], *args: object) -> T:
    """As asyncio.to_thread, but a cancelled caller waits for the thread: it still holds the file."""
    work = asyncio.get_running_loop().run_in_executor(None, call, *args)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        raise
