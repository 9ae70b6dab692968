"""The probe: FFmpeg's demuxers, through PyAV, look at a few ranges of a stored object and decode nothing."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import SEEK_CUR, SEEK_END, SEEK_SET

import av
from av.container import InputContainer

from audio_text.domain.media import DEMUXER_OPTIONS
from audio_text.domain.transcript import AudioFacts
from audio_text.errors import (
    AudioTextError,
    EmptyAudioError,
    InvalidAudioError,
    NoSoundTrackError,
    StoreUnavailableError,
    TransientError,
)

ReadRange = Callable[[int, int], Awaitable[bytes]]
"""(start, length) to bytes, as AudioStore.read_range of one object."""

BLOCK_BYTES = 256 * 1024
"""One request to the store; all nine formats need one or two, whatever their length."""

CACHED_BLOCKS = 8
"""FFmpeg goes back and forth between head and tail: 2 MiB per running probe."""

MAX_BYTES = 32 * 1024 * 1024
"""The index of a 10-hour mp4 takes up to 20 MiB (12 bytes a frame, 4 a block of sound); a head takes one block."""

PROBE_OPTIONS = {**DEMUXER_OPTIONS, "probesize": str(BLOCK_BYTES)}
"""FFmpeg's own 5 MB of looking ahead find nothing more about a sound track."""

TIMEOUT_SECONDS = 10.0
"""All of it, waiting for a thread included: a client waits for the answer."""

MAX_THREADS = 4
"""Probes at once; a pool of our own, because the disk store's reads need the event loop's."""

UNTIMED_CONTAINERS = frozenset({"aac"})
"""Raw streams say nothing of their length, and FFmpeg's guess from the bit rate is not a fact."""

SECOND = 1_000_000
"""FFmpeg's AV_TIME_BASE: the unit of a container's duration."""


class PyAvProbe:
    """Reads what a container says of itself; blocks no event loop, opens nothing but the object it was given."""

    def __init__(self, *, timeout_seconds: float = TIMEOUT_SECONDS, max_bytes: int = MAX_BYTES) -> None:
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes
        self._threads = ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="probe")

    async def probe(self, read_range: ReadRange, size_bytes: int) -> AudioFacts:
        """Read as little as possible of the object.

        Raises InvalidAudioError, EmptyAudioError, NoSoundTrackError; StoreUnavailableError when the ranges
        take too long to come, TransientError when too many other probes run; and what `read_range` raises.
        """
        if size_bytes <= 0:
            raise EmptyAudioError
        loop = asyncio.get_running_loop()
        file = RangeFile(
            read_range, size_bytes, loop=loop, timeout_seconds=self._timeout_seconds, max_bytes=self._max_bytes
        )
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await loop.run_in_executor(self._threads, _look, file)
        except TimeoutError:
            if not file.is_started:
                raise TransientError("Too many uploads are being checked just now: try again shortly.") from None
            raise (StoreUnavailableError if file.is_waiting else InvalidAudioError) from None
        finally:
            file.close()


class RangeFile:
    """A seekable file for a thread, whose reads are range requests made on the event loop.

    A failed read looks like the end of the file to FFmpeg, which then lets go soon; `failure` has the
    reason. (An exception would have to cross FFmpeg's C code, and PyAV may drop it there.)
    """

    def __init__(
        self,
        read_range: ReadRange,
        size_bytes: int,
        *,
        loop: asyncio.AbstractEventLoop,
        timeout_seconds: float,
        max_bytes: int,
    ) -> None:
        self._read_range = read_range
        self._size_bytes = size_bytes
        self._loop = loop
        self._deadline = time.monotonic() + timeout_seconds
        self._budget_bytes = max_bytes
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._position = 0
        self._request: Future[bytes] | None = None
        self._is_closed = False
        self.is_started = False
        self.failure: Exception | None = None

    @property
    def is_waiting(self) -> bool:
        """Whether a range was asked for and did not come."""
        return self._request is not None

    @property
    def remaining_seconds(self) -> float:
        """Time left until the probe gives up; never negative."""
        return max(0.0, self._deadline - time.monotonic())

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position of the next read."""
        return self._position

    def seek(self, offset: int, whence: int = SEEK_SET) -> int:
        """Move, as any file does."""
        self._position = {SEEK_SET: 0, SEEK_CUR: self._position, SEEK_END: self._size_bytes}[whence] + offset
        return self._position

    def read(self, size: int) -> bytes:
        """At most `size` bytes, fewer at the end of a block, none at the end of the file or after a failure."""
        start = self._position
        if self.failure or self._is_closed or not 0 <= start < self._size_bytes:
            return b""
        try:
            block = self._block(start // BLOCK_BYTES)
        except Exception as error:  # noqa: BLE001 -- kept, and raised again once FFmpeg has let go
            self.failure = error
            return b""
        # never more than was asked for: PyAV copies it all into a buffer of that size
        data = block[start % BLOCK_BYTES :][:size]
        self._position += len(data)
        return data

    def close(self) -> None:
        """Let a thread that still reads end: it gets nothing more. Called on the event loop."""
        self._is_closed = True
        if self._request:
            self._request.cancel()

    def _block(self, index: int) -> bytes:
        if index in self._blocks:
            self._blocks.move_to_end(index)
            return self._blocks[index]
        start = index * BLOCK_BYTES
        length = min(BLOCK_BYTES, self._size_bytes - start)
        self._budget_bytes -= length
        if self._budget_bytes < 0:
            raise InvalidAudioError
        block = self._blocks[index] = self._wait_for(start, length)[:length]
        if len(self._blocks) > CACHED_BLOCKS:
            self._blocks.popitem(last=False)
        return block

    def _wait_for(self, start: int, length: int) -> bytes:
        async def read() -> bytes:
            return await self._read_range(start, length)

        self._request = request = asyncio.run_coroutine_threadsafe(read(), self._loop)
        if self._is_closed:  # just now, before it could see this request
            request.cancel()
        try:
            data = request.result(self.remaining_seconds)
        except TimeoutError as error:
            request.cancel()
            raise StoreUnavailableError from error
        self._request = None
        return data


def _look(file: RangeFile) -> AudioFacts:
    """Open the container in a thread of the probe's own."""
    file.is_started = True
    with (
        _vendor_errors(file),
        av.open(
            file,
            "r",
            options=PROBE_OPTIONS,
            metadata_errors="replace",
            timeout=(file.remaining_seconds, None),
        ) as container,
    ):
        return _facts(container)


@contextmanager
def _vendor_errors(file: RangeFile) -> Generator[None]:
    try:
        yield
    except AudioTextError:
        raise
    except Exception as error:
        # whatever PyAV makes of a stranger's bytes: they are no audio
        raise (file.failure or InvalidAudioError()) from error
    if file.failure:
        raise file.failure


def _facts(container: InputContainer) -> AudioFacts:
    if not container.streams.audio:
        raise NoSoundTrackError
    stream = container.streams.audio[0]
    # None, against PyAV's annotation, where FFmpeg has no decoder for it
    codec = stream.codec_context
    if codec is None or codec.sample_rate <= 0 or codec.channels <= 0:  # pyright: ignore[reportUnnecessaryComparison] -- see above
        raise InvalidAudioError
    return AudioFacts(
        container=container.format.name,
        codec=codec.name,
        sample_rate=codec.sample_rate,
        channels=codec.channels,
        duration=_duration(container),
    )


def _duration(container: InputContainer) -> float | None:
    """Seconds, where the container or its sound track says them."""
    if container.format.name in UNTIMED_CONTAINERS:
        return None
    stream = container.streams.audio[0]
    if container.duration is not None and container.duration > 0:
        return container.duration / SECOND
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return None
