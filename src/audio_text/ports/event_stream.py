"""What happens to jobs, as it happens."""

from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from audio_text.domain.events import JobUpdate, Published


class Subscription(Protocol):
    """The live events of one job, from a known point on, each once and in order."""

    @property
    def start(self) -> str:
        """The cursor after which events are delivered: what was asked for, or `position`."""
        ...

    @property
    def position(self) -> str:
        """The newest event in the log when this subscription began; "0-0" for an empty log."""
        ...

    @property
    def is_continuous(self) -> bool:
        """Whether the log reaches back to the cursor that was asked for; False also when none was."""
        ...

    def __aiter__(self) -> AsyncIterator[Published]:
        """Yield for ever; raises StreamGapError when events were lost (subscribe again, from the row).

        A wait for the next event may be cancelled and taken up again.
        """
        ...


class EventStream(Protocol):
    """The event log of every job, with live followers."""

    async def publish(self, update: JobUpdate) -> str:
        """Append to the job's log; returns the event's id. Raises EventsUnavailableError within 2 seconds.

        What is no news is left out: an update of an earlier claim than the log's newest event, and whatever comes after
        the end of its claim but a retried job's `pending`. The id is the newest event's then.
        """
        ...

    def follow(self, job_id: str, *, after: str | None = None) -> AbstractAsyncContextManager[Subscription]:
        """Subscribe: with `after`, from that event on (replayed from the log), else from now.

        Raises EventsUnavailableError within 2 seconds.
        """
        ...

    async def forget(self, job_ids: Collection[str]) -> None:
        """Remove the logs of these jobs. Raises EventsUnavailableError within 2 seconds."""
        ...

    async def check(self) -> None:
        """Raise EventsUnavailableError unless the stream answers."""
        ...
