"""Waiting for what another process brings about."""

import asyncio
from collections.abc import Callable

LONGEST_SECONDS = 60.0


async def until(condition: Callable[[], object]) -> None:
    """Wait until the condition, which may block for a moment, is true. Raises TimeoutError."""
    async with asyncio.timeout(LONGEST_SECONDS):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.02)
