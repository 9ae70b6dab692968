"""Chunks on their way from a thread to the event loop."""

import asyncio
from concurrent.futures import CancelledError

import pytest

from audio_text.adapters.handover import MOST_WAITING, Handover
from factories import make_chunk, make_segment


async def test_what_was_not_taken_in_time_is_taken_together() -> None:
    handover = Handover()
    for number in range(3):
        await asyncio.to_thread(handover.put, make_chunk(make_segment(number)))
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


async def test_a_thread_that_is_too_far_ahead_waits() -> None:
    handover = Handover()
    full = make_chunk(*map(make_segment, range(MOST_WAITING)))
    await asyncio.to_thread(handover.put, full)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        ahead = group.create_task(asyncio.to_thread(handover.put, make_chunk(make_segment(MOST_WAITING))))
        await asyncio.sleep(0.05)
        assert not ahead.done()
        assert handover.take() == full
        await handover.wait()
    chunk = handover.take()
    assert chunk is not None
    assert [segment.id for segment in chunk.segments] == [MOST_WAITING]


async def test_closing_releases_a_thread_that_waits() -> None:
    handover = Handover()
    await asyncio.to_thread(handover.put, make_chunk(*map(make_segment, range(MOST_WAITING))))
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        ahead = group.create_task(asyncio.to_thread(refused, handover))
        await asyncio.sleep(0.05)
        handover.close()
    assert ahead.result()


def refused(handover: Handover) -> bool:
    try:
        handover.put(make_chunk())
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
