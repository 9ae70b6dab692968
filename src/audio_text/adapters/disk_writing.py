"""The folder of the disk store as its writers know it: paths, room, and bytes as they arrive."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from audio_text.adapters.draft_file import FULL, Digest, DraftFile, check_room, draft_file
from audio_text.domain.object_keys import is_key
from audio_text.errors import (
    DiskFullError,
    StoreUnavailableError,
    UploadMismatchError,
    UploadMissingError,
    UploadTooLargeError,
)

DRAFT_PREFIX = ".draft-"
"""What is still being written: no key has a name like that."""


class DiskWriter:
    """Writes files under `folder`, and leaves `reserve_bytes` of its disk free.

    A body from which nothing comes for `idle_seconds` is given up; whoever hands it over sees to those that drip.
    """

    def __init__(self, folder: Path, *, reserve_bytes: int, idle_seconds: float) -> None:
        self._folder = folder
        self._reserve_bytes = reserve_bytes
        self._idle_seconds = idle_seconds

    def path(self, key: str) -> Path:
        """Where an object lies. Raises UploadMissingError for what is no key."""
        if not is_key(key):
            raise UploadMissingError
        return self._folder / key

    @contextmanager
    def errors(self, missing: type[Exception] = StoreUnavailableError) -> Generator[None]:
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

    @asynccontextmanager
    async def new_file(
        self, key: str, *, size_bytes: int = 0, digest: Digest | None = None
    ) -> AsyncGenerator[DraftFile]:
        """A file to write, that appears under its key when the context ends well; `size_bytes` where that is known."""
        target = self.path(key)
        with self.errors():
            await self.make_room(key, size_bytes)
            async with self.draft(key, digest=digest) as draft:
                yield draft
                await draft.publish(target)

    @asynccontextmanager
    async def draft(self, key: str, *, digest: Digest | None = None) -> AsyncGenerator[DraftFile]:
        """A file to write beside the object of that key; gone when the context ends. Raises OSError."""
        async with draft_file(self.path(key).parent, prefix=DRAFT_PREFIX, digest=digest) as draft:
            yield draft

    async def make_room(self, key: str, size_bytes: int) -> None:
        """See to the folders of an object, and that the disk can take so much. Raises OSError."""
        target = self.path(key)
        await asyncio.to_thread(_make_parents, target)
        await asyncio.to_thread(check_room, target.parent, size_bytes, reserve_bytes=self._reserve_bytes)

    async def copy(self, body: AsyncIterator[bytes], draft: DraftFile, size_bytes: int) -> None:
        """Write all of the body. Raises as soon as it has more than `size_bytes`, or at its end when it has less."""
        received = 0
        while (chunk := await self.next(body)) is not None:
            received += len(chunk)
            check_size(received, size_bytes, is_whole=False)
            await draft.append(chunk)
        check_size(received, size_bytes, is_whole=True)
        await draft.flush()

    async def next(self, body: AsyncIterator[bytes]) -> bytes | None:
        """The next piece, None at the end. Raises UploadMismatchError when it stops on the way."""
        try:
            async with asyncio.timeout(self._idle_seconds):
                return await anext(body, None)
        except OSError as error:  # TimeoutError is one, and so is a connection that breaks
            raise UploadMismatchError("The upload stopped before it was complete.") from error


def check_size(received: int, declared: int, *, is_whole: bool) -> None:
    """Raise UploadTooLargeError or UploadMismatchError for what is not the declared size."""
    if received > declared:
        raise UploadTooLargeError(f"The upload is larger than the {declared} bytes that were declared for it.")
    if is_whole and received < declared:
        raise UploadMismatchError(f"The upload has {received} bytes, and {declared} were declared for it.")


def _make_parents(target: Path) -> None:
    """The folders between the store's own and the file; a missing store is a disk that is away, not ours to make."""
    target.parent.parent.mkdir(mode=0o700, exist_ok=True)
    target.parent.mkdir(mode=0o700, exist_ok=True)
