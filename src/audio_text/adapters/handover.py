"""From a worker thread to the event loop: what is not taken in time is taken together.

The thread waits for the consumer before it goes on from one window to the next but one: whatever happens to the
process, little more than the window that it was at is lost.
"""

import asyncio
import threading
from concurrent.futures import CancelledError

import msgspec

from audio_text.domain.transcript import Segment, TranscriptChunk

LOOK_SECONDS = 1.0
"""How often a waiting thread looks around, should a wake-up have been lost."""


class Handover:
    """Holds at most one chunk, which grows until somebody takes it."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._changed = threading.Condition()
        self._waiting: TranscriptChunk | None = None
        self._taken: tuple[Segment, ...] = ()
        self._is_closed = False

    def put(self, chunk: TranscriptChunk) -> None:
        """Called by the thread: leave a chunk. Raises concurrent.futures.CancelledError when nobody wants it."""
        with self._changed:
            while self._is_ahead(chunk) and not self._is_closed:
                self._changed.wait(LOOK_SECONDS)
            self.check()
            if self._waiting:
                chunk = msgspec.structs.replace(chunk, segments=self._waiting.segments + chunk.segments)
            self._waiting = chunk
        self._loop.call_soon_threadsafe(self._ready.set)

    def _is_ahead(self, chunk: TranscriptChunk) -> bool:
        """Whether segments of an earlier window, of the same channel, are not done with yet."""
        undone = (*self._taken, *(self._waiting.segments if self._waiting else ()))
        return any(
            segment.channel == new.channel and segment.seek != new.seek
            for new in chunk.segments[:1]
            for segment in undone
        )

    def check(self) -> None:
        """Called by the thread: raise concurrent.futures.CancelledError when nobody wants its work any more."""
        if self._is_closed:
            raise CancelledError

    def take(self) -> TranscriptChunk | None:
        """Called on the loop: all that was left since the last time, which is done with; None for nothing."""
        self._ready.clear()
        with self._changed:
            chunk, self._waiting = self._waiting, None
            self._taken = chunk.segments if chunk else ()
            self._changed.notify_all()
        return chunk

    async def wait(self) -> None:
        """Called on the loop: until there may be something to take."""
        await self._ready.wait()

    def wake(self) -> None:
        """Called on the loop: let `wait` return, because the thread has ended."""
        self._ready.set()

    def close(self) -> None:
        """Called on the loop: nothing more is wanted."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
