"""A recording that is about to be sent: a file, bytes or a stream, read a little at a time."""

import mimetypes
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TypeAlias

CHUNK_BYTES = 256 * 1024

Source: TypeAlias = str | os.PathLike[str] | bytes | BinaryIO
"""A path, the bytes themselves, or a file that is open for reading in binary."""


class Recording:
    """Name, type and exact size of a source, and its bytes, never more than a chunk of them in memory.

    Opening one asks the file system. Raises OSError, and TypeError where name or size have to be passed and are not.
    """

    def __init__(
        self,
        source: Source,
        *,
        filename: str | None = None,
        content_type: str | None = None,
        size: int | None = None,
        on_progress: Callable[[int], object] | None = None,
    ) -> None:
        self._source = Path(source) if isinstance(source, str | os.PathLike) else source
        self._on_progress = on_progress
        self.filename = filename or _name(self._source)
        self.content_type = content_type if content_type is not None else mimetypes.guess_type(self.filename)[0] or ""
        with self._open() as file:
            self.is_repeatable = file.seekable()
            self._origin = file.tell() if self.is_repeatable else 0
            self.size = _size(file) if size is None else size

    def chunks(self, start: int = 0, length: int | None = None) -> Iterator[bytes]:
        """Yield `length` bytes from `start` on, telling progress after each chunk that was taken."""
        end = self.size if length is None else start + length
        with self._open() as file:
            if self.is_repeatable:
                file.seek(self._origin + start)
            position = start
            while position < end and (chunk := file.read(min(CHUNK_BYTES, end - position))):
                yield chunk
                position += len(chunk)
                if self._on_progress is not None:
                    self._on_progress(position)

    @contextmanager
    def _open(self) -> Generator[BinaryIO]:
        match self._source:
            case Path() as path:
                with path.open("rb") as file:
                    yield file
            case bytes() as data:
                yield BytesIO(data)
            case stream:
                yield stream  # its owner closes it


def _name(source: Path | bytes | BinaryIO) -> str:
    """Spell a file's name so that it can travel as JSON, whatever bytes it is made of."""
    path = source if isinstance(source, Path) else getattr(source, "name", None)
    if not isinstance(path, str | Path):
        raise TypeError("Bytes and streams have no name: pass `filename`, whose extension says what they are.")
    return Path(path).name.encode(errors="surrogateescape").decode(errors="replace")


def _size(file: BinaryIO) -> int:
    if not file.seekable():
        raise TypeError("The size of this stream cannot be found out: pass `size`, in bytes.")
    start = file.tell()
    size = file.seek(0, os.SEEK_END) - start
    file.seek(start)
    return size
