"""Routes of an operator: the jobs that were given up, and what becomes of each."""

from litestar import Response, Router, delete, get, post

from audio_text.api.access import Access
from audio_text.api.dependencies import GivenCaller, GivenServices, GivenSettings
from audio_text.api.dto import DeadLetterView, JobView
from audio_text.api.ids import checked_id
from audio_text.api.jobs import JobId
from audio_text.api.paging import LINK, Cursor, Limit, moment, page, page_size
from audio_text.api.problems import documented, documented_header
from audio_text.domain.job import Job
from audio_text.domain.listing import Place
from audio_text.errors import (
    DatabaseUnavailableError,
    InvalidRequestError,
    JobNotFoundError,
    JobStateError,
    StoreUnavailableError,
    UploadMissingError,
)

PATH = "/api/v1/dead-letters"

ALWAYS = (InvalidRequestError, DatabaseUnavailableError)


@get(
    "/",
    opt={"access": Access.admin},
    summary="List dead letters",
    response_description="Jobs, the newest failure first.",
    response_headers=[documented_header("Link", LINK)],
    responses=documented(*ALWAYS),
)
async def read_dead_letters(
    *, services: GivenServices, caller: GivenCaller, settings: GivenSettings, limit: Limit = None, cursor: Cursor = None
) -> Response[list[JobView]]:
    """List jobs whose attempts were used up, whoever submitted them, a page at a time."""
    size = page_size(limit, settings)
    found = await services.dead_letters.newest(limit=size + 1, before=moment(cursor, of=PATH))
    jobs, headers = page(found, size, at=_place, path=PATH, query=[("limit", size)], of=PATH)
    return Response([JobView.of(job, caller=caller) for job in jobs], headers=headers)


@get(
    "/{job_id:str}",
    opt={"access": Access.admin},
    summary="Read a dead letter",
    response_description="The job, and how each attempt at it ended.",
    responses=documented(*ALWAYS, JobNotFoundError, JobStateError),
)
async def read_dead_letter(job_id: JobId, services: GivenServices, caller: GivenCaller) -> DeadLetterView:
    """Tell why each attempt at a job failed, and on which worker."""
    job, attempts = await services.dead_letters.show(checked_id(job_id, JobNotFoundError))
    return DeadLetterView.of(job, attempts, caller=caller)


@post(
    "/{job_id:str}/requeue",
    opt={"access": Access.admin},
    status_code=200,
    summary="Requeue a dead letter",
    response_description="The job, pending.",
    responses=documented(*ALWAYS, JobNotFoundError, UploadMissingError, JobStateError, StoreUnavailableError),
)
async def requeue_dead_letter(job_id: JobId, services: GivenServices, caller: GivenCaller) -> JobView:
    """Have it done again with all its attempts, behind what was decoded already."""
    return JobView.of(await services.dead_letters.requeue(checked_id(job_id, JobNotFoundError)), caller=caller)


@delete(
    "/{job_id:str}",
    opt={"access": Access.admin},
    summary="Drop a dead letter",
    response_description="It is off the list.",
    responses=documented(*ALWAYS, JobNotFoundError, JobStateError),
)
async def drop_dead_letter(job_id: JobId, services: GivenServices) -> None:
    """Take it off the list. The job stays, failed."""
    await services.dead_letters.drop(checked_id(job_id, JobNotFoundError))


def _place(job: Job) -> Place:
    return job.finished_at or job.update_date, job.id


router = Router(
    "/dead-letters",
    route_handlers=[read_dead_letters, read_dead_letter, requeue_dead_letter, drop_dead_letter],
    tags=["dead letters"],
)
