"""Work that is done for a client as long as it is there."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from litestar.types import Receive

from audio_text.errors import ClientGoneError

T = TypeVar("T")


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """Do the work, and cancel it when the client closes the connection: ClientGoneError. Its own errors are raised."""
    return await unless(_leave(receive), work, error=ClientGoneError)


async def unless(end: Coroutine[Any, Any, object], work: Coroutine[Any, Any, T], *, error: type[Exception]) -> T:
    """Do the work; should `end` come first, cancel it and raise `error`. The work's own errors are raised."""
    try:
        async with asyncio.TaskGroup() as group:
            working, ending = group.create_task(work), group.create_task(end)
            await asyncio.wait({working, ending}, return_when=asyncio.FIRST_COMPLETED)
            for task in (working, ending):
                task.cancel()
    except ExceptionGroup as failures:
        raise failures.exceptions[0] from failures
    if working.cancelled():
        raise error
    return working.result()


async def _leave(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
