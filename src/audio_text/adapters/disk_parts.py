"""An upload in parts on the disk: a folder beside the file that it will be.

`data` holds every part at its place, so that nothing is left to be put together at the end; an empty file with a
part's number for its name says that this part is there, whole and on the disk. Whoever changes any of it has `data`
locked.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from audio_text.adapters.draft_file import in_thread, publish
from audio_text.domain.grants import UploadGrant
from audio_text.domain.multipart import UNFINISHED_SECONDS

PARTS_PREFIX = ".parts-"
"""No key has a name like that."""

DATA = "data"

FORGOTTEN_SECONDS = UNFINISHED_SECONDS + 3_600
"""When the folder of an upload may go to which nothing was added: its time is over, and nobody is at it any more."""

COPY_BYTES = 1024 * 1024
DIGEST_BYTES = 64 * COPY_BYTES
"""Read in one errand of a thread, that a cancelled caller waits for."""

LOCK_SECONDS = 60.0
"""A part takes a fraction of a second, the SHA-256 of 5 GB several."""

LOCK_PAUSE_SECONDS = 0.02


class PartsFolder:
    """The parts of the file `target`. Methods block and raise OSError: FileNotFoundError when the upload is gone."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._folder = target.with_name(PARTS_PREFIX + target.name)
        self._data = self._folder / DATA

    def create(self) -> None:
        """Begin."""
        self._folder.mkdir(mode=0o700)
        os.close(os.open(self._data, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode=0o600))

    def check(self) -> None:
        """Do nothing, if the upload is there."""
        self._data.stat()

    def received(self) -> list[int]:
        """The numbers of the parts that are there, ascending."""
        self.check()
        return sorted(int(path.name) for path in self._folder.iterdir() if path.name.isdecimal())

    def place(self, data: "DataFile", part: Path, grant: UploadGrant) -> None:
        """Put a part where it belongs."""
        mark = self._folder / str(grant.part)
        mark.unlink(missing_ok=True)
        data.write_from(part, grant.offset)
        mark.touch(mode=0o600)

    def publish(self, data: "DataFile") -> None:
        """Have the file appear, at once and to survive a power cut."""
        publish(data.descriptor, self._data, self._target)

    def remove(self) -> None:
        """Give the upload up, unless it was published, and tidy up."""
        self._data.unlink(missing_ok=True)
        shutil.rmtree(self._folder)

    @asynccontextmanager
    async def locked(self) -> AsyncGenerator["DataFile", None]:
        """Keep everybody else from changing it. Does not block; raises TimeoutError."""
        data = DataFile(await in_thread(os.open, self._data, os.O_RDWR))
        try:
            async with asyncio.timeout(LOCK_SECONDS):
                while not data.try_lock():  # noqa: ASYNC110 -- other processes lock it, too
                    await asyncio.sleep(LOCK_PAUSE_SECONDS)
            await in_thread(data.check_is, self._data)
            yield data
        finally:
            await in_thread(data.close)


class DataFile:
    """What has come of a file, open. Methods block and raise OSError."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def try_lock(self) -> bool:
        """Lock it until it is closed, unless somebody else has it; never waits."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def check_is(self, path: Path) -> None:
        """Raise FileNotFoundError when it was published or removed before it was locked."""
        if not os.path.samestat(os.fstat(self.descriptor), path.stat()):
            raise FileNotFoundError(path)

    def write_from(self, part: Path, offset: int) -> None:
        """Copy a part to its place, to survive a power cut."""
        with part.open("rb", buffering=0) as file:
            while piece := file.read(COPY_BYTES):
                offset += _write(self.descriptor, piece, offset)
        os.fsync(self.descriptor)

    async def sha256(self) -> str:
        """Of all of it, in hexadecimal. Does not block."""
        digest = hashlib.sha256()
        size, offset = os.fstat(self.descriptor).st_size, 0

        def add(end: int) -> int:
            place = offset
            while place < end and (piece := os.pread(self.descriptor, COPY_BYTES, place)):
                digest.update(piece)
                place += len(piece)
            return place

        while offset < size:
            offset = await in_thread(add, min(offset + DIGEST_BYTES, size))
        return digest.hexdigest()

    def close(self) -> None:
        """Close and unlock it."""
        os.close(self.descriptor)


def remove_forgotten(uploads: Path) -> int:
    """Remove uploads in parts to which nothing was added for long; returns how many. Blocks."""
    oldest = time.time() - FORGOTTEN_SECONDS
    count = 0
    for folder in uploads.glob(f"*/{PARTS_PREFIX}*"):
        with suppress(FileNotFoundError):  # somebody else removes it, too
            if folder.stat().st_mtime < oldest:
                shutil.rmtree(folder)
                count += 1
    return count


def _write(descriptor: int, piece: bytes, offset: int) -> int:
    rest = memoryview(piece)
    while rest:
        count = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[count:], offset + count
    return len(piece)
