"""Several jobs followed as one: what `LiveService` tells of each, on one line."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from contextlib import aclosing, asynccontextmanager

import msgspec

from audio_text.errors import JobNotFoundError, TooManyJobsError, TransientError
from audio_text.services.live import LiveService, LiveUpdate


class Gone(msgspec.Struct, frozen=True, kw_only=True):
    """There is no such job, or no longer."""

    job_id: str


Admit = Callable[[str], Awaitable[None]]
"""Asked with a job's id before it is followed. Raises JobNotFoundError for one that does not exist for the follower."""


class Following:
    """The jobs that one follower follows; one update waits for it at a time, whatever their number.

    A job is followed from `add` until its end was given out, it is gone, or `remove`.
    """

    def __init__(
        self, live: LiveService, *, admit: Admit, group: asyncio.TaskGroup, limit: int, idle_seconds: float | None
    ) -> None:
        self._live = live
        self._admit = admit
        self._group = group
        self._limit = limit
        self._idle_seconds = idle_seconds
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._news: asyncio.Queue[tuple[str, object, LiveUpdate | Gone | TransientError]] = asyncio.Queue(maxsize=1)

    @property
    def jobs(self) -> Collection[str]:
        """Those that are followed now."""
        return self._tasks.keys()

    def add(self, job_id: str, *, after: str | None = None) -> None:
        """Follow a job, from the cursor on; one that is followed already begins anew. Raises TooManyJobsError."""
        self.remove(job_id)
        if len(self._tasks) >= self._limit:
            raise TooManyJobsError(f"At most {self._limit} jobs can be followed at once.")
        self._tasks[job_id] = self._group.create_task(self._pass_on(job_id, after))

    def remove(self, job_id: str) -> bool:
        """Give out nothing more of this job; False when it is not followed."""
        task = self._tasks.pop(job_id, None)
        if task is not None:
            task.cancel()
        return task is not None

    def close(self) -> None:
        """Follow nothing any more."""
        for job_id in tuple(self._tasks):
            self.remove(job_id)

    async def news(self) -> LiveUpdate | Gone | None:
        """Wait for what there is to tell next, of any of the jobs; None: there was nothing for `idle_seconds`.

        Raises DatabaseUnavailableError, EventsUnavailableError.
        """
        while True:
            try:
                async with asyncio.timeout(self._idle_seconds):
                    job_id, task, news = await self._news.get()
            except TimeoutError:
                return None
            if self._tasks.get(job_id) is not task:
                continue  # it was removed, or added again, while this waited to be given out
            if isinstance(news, TransientError):
                raise news
            if isinstance(news, Gone) or news.update.status.is_terminal:
                del self._tasks[job_id]
            return news

    async def _pass_on(self, job_id: str, after: str | None) -> None:
        task = asyncio.current_task()
        try:
            await self._admit(job_id)
            async with aclosing(self._live.follow(job_id, after=after, idle_seconds=self._idle_seconds)) as updates:
                async for update in updates:
                    if update is not None:
                        await self._news.put((job_id, task, update))
        except JobNotFoundError:
            await self._news.put((job_id, task, Gone(job_id=job_id)))
        except TransientError as error:
            await self._news.put((job_id, task, error))


@asynccontextmanager
async def following(
    live: LiveService, *, admit: Admit, limit: int, idle_seconds: float | None = None
) -> AsyncGenerator[Following, None]:
    """Follow up to `limit` jobs at once that `admit` lets through, none at first.

    The body's own errors pass as they are.
    """
    failure = None
    async with asyncio.TaskGroup() as group:
        followed = Following(live, admit=admit, group=group, limit=limit, idle_seconds=idle_seconds)
        try:
            yield followed
        except Exception as error:  # noqa: BLE001 -- raised again below: the group would wrap the body's own error
            failure = error
        finally:
            followed.close()
    if failure is not None:
        raise failure
