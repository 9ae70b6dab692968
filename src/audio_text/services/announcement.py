"""Tell followers how a job moved, after its row says so; remember on the row that its end was told."""

import structlog

from audio_text.domain.events import JobUpdate
from audio_text.errors import EventsUnavailableError, TransientError
from audio_text.ports import EventStream, JobUpkeep

log = structlog.get_logger(__name__)


class Announcer:
    """The way from a written row to everybody who follows the job."""

    def __init__(self, *, jobs: JobUpkeep, events: EventStream) -> None:
        self._jobs = jobs
        self._events = events

    async def tell(self, update: JobUpdate) -> None:
        """Publish, without failing: an event is a hint, and losing one must not cost the job."""
        try:
            await self.publish(update)
        except EventsUnavailableError as error:
            # The reconciliation tells an end again.
            log.warning("event_not_published", job_id=update.job_id, status=update.status.value, error=error.detail)

    async def publish(self, update: JobUpdate) -> None:
        """Publish, and remember it when this is the job's end. Raises EventsUnavailableError."""
        await self._events.publish(update)
        if not update.status.is_terminal:
            return
        try:
            await self._jobs.mark_announced([update.job_id])
        except TransientError as error:
            # It will be told a second time: followers do not mind.
            log.warning("announcement_not_remembered", job_id=update.job_id, error=error.detail)
