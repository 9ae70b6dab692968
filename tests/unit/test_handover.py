"""Chunks on their way from a thread to the event loop."""

import asyncio
from concurrent.futures import CancelledError

import pytest

from audio_text.adapters.handover import Handover
from audio_text.domain.transcript import TranscriptChunk
from factories import make_chunk, make_segment


def chunk_of(number: int, *, window: int = 0) -> TranscriptChunk:
    """One segment that was decoded in this window."""
    return make_chunk(make_segment(number, seek=window))


async def test_what_was_not_taken_in_time_is_taken_together() -> None:
    handover = Handover()
    for number in range(3):
        await asyncio.to_thread(handover.put, chunk_of(number))
    chunk = handover.take()
    assert chunk is not None
    assert [segment.id for segment in chunk.segments] == [0, 1, 2]
    assert chunk.position == make_segment(2).end
    assert handover.take() is None


async def test_somebody_who_waits_is_told_at_once() -> None:
    handover = Handover()
    async with asyncio.TaskGroup() as group, asyncio.timeout(10):
        group.create_task(asyncio.to_thread(handover.put, make_chunk(make_segment(0))))
        await handover.wait()
    assert handover.take()


async def test_a_thread_does_not_pass_a_window_whose_segments_are_not_stored_yet() -> None:
    handover = Handover()
    await asyncio.to_thread(handover.put, chunk_of(0))
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        ahead = group.create_task(asyncio.to_thread(handover.put, chunk_of(1, window=3_000)))
        await asyncio.sleep(0.05)
        assert not ahead.done()
        assert handover.take() == chunk_of(0)
        await asyncio.sleep(0.05)
        assert not ahead.done()  # taken, but who took it has not come back yet
        assert handover.take() is None
        await handover.wait()
    assert handover.take() == chunk_of(1, window=3_000)


async def test_windows_of_other_channels_are_not_waited_for() -> None:
    def chunk(number: int, channel: int, window: int) -> TranscriptChunk:
        return make_chunk(make_segment(number, channel=channel, seek=window))

    handover = Handover()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        await asyncio.to_thread(handover.put, chunk(0, 1, 0))
        await asyncio.to_thread(handover.put, chunk(1, 2, 500))
        ahead = group.create_task(asyncio.to_thread(handover.put, chunk(2, 1, 3_000)))
        await asyncio.sleep(0.05)
        assert not ahead.done()
        assert handover.take()
        assert handover.take() is None
    assert handover.take() == chunk(2, 1, 3_000)


async def test_what_holds_no_segment_never_waits() -> None:
    handover = Handover()
    await asyncio.to_thread(handover.put, chunk_of(0))
    async with asyncio.timeout(10):
        await asyncio.to_thread(handover.put, make_chunk(position=9.0))
    chunk = handover.take()
    assert chunk is not None
    assert (len(chunk.segments), chunk.position) == (1, 9.0)


async def test_closing_releases_a_thread_that_waits() -> None:
    handover = Handover()
    await asyncio.to_thread(handover.put, chunk_of(0))
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        ahead = group.create_task(asyncio.to_thread(refused, handover))
        await asyncio.sleep(0.05)
        handover.close()
    assert ahead.result()


def refused(handover: Handover) -> bool:
    try:
        handover.put(chunk_of(1, window=3_000))
    except CancelledError:
        return True
    return False


async def test_after_closing_nothing_is_wanted() -> None:
    handover = Handover()
    handover.check()
    handover.close()
    with pytest.raises(CancelledError):
        handover.check()
    with pytest.raises(CancelledError):
        handover.put(make_chunk())
