"""Use case: whose a job is. To anybody else it does not exist."""

from collections import OrderedDict

from audio_text.domain.access import Caller
from audio_text.errors import JobNotFoundError
from audio_text.ports import JobRepository

KNOWN_JOBS = 20_000
"""Some 4 MB: more than clients follow at once, for a job's owner is asked for with every look at it."""


class OwnershipService:
    """Tells callers' jobs from those of others, and remembers: the owner of a job never changes."""

    def __init__(self, *, jobs: JobRepository, known_jobs: int = KNOWN_JOBS) -> None:
        self._jobs = jobs
        self._known_jobs = known_jobs
        self._owners: OrderedDict[str, str | None] = OrderedDict()

    async def require_job(self, job_id: str, caller: Caller) -> None:
        """Raise JobNotFoundError for a job that does not exist, or not for this caller; DatabaseUnavailableError.

        Who sees all is not asked, and whether the job exists is left to what comes next: nothing is read for them.
        """
        if not caller.sees_all and not caller.sees(await self._owner_of(job_id)):
            raise JobNotFoundError

    async def _owner_of(self, job_id: str) -> str | None:
        if job_id in self._owners:
            self._owners.move_to_end(job_id)
            return self._owners[job_id]
        owner = self._owners[job_id] = await self._jobs.owner_of(job_id)
        if len(self._owners) > self._known_jobs:
            self._owners.popitem(last=False)
        return owner
