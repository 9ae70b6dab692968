"""Jobs: submit, read, list, follow, wait for, cancel, retry, delete, and their transcripts."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Unpack
from urllib.parse import parse_qs, quote, urlsplit
from uuid import uuid4

import httpx
from msgspec import UNSET, UnsetType

from audio_text.client import live
from audio_text.client.answers import Attempt, Job, Page, Segment, Transcript, Update, Upload, decoded
from audio_text.client.blocking import Blocking, blocking, blocking_stream
from audio_text.client.options import Choices, CueOptions, FormatName, JobFilters, JobOptions
from audio_text.client.session import Session
from audio_text.domain.job import JobStatus
from audio_text.errors import JobFailedError


class AsyncJobs:
    """The jobs of one service. Every method may raise ServerUnreachableError and what the service refuses with."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def submit(self, upload: Upload, *, idempotency_key: str | None = None, **options: Unpack[JobOptions]) -> Job:
        """Have an upload transcribed; the job is safe once this returns.

        Tries of one call are one job. Pass an `idempotency_key` of your own to make several calls with the same
        upload and options one job, such as those before and after a crash.
        """
        body = {"filename": upload.filename, "url": upload.url, **options}
        headers = {"Idempotency-Key": idempotency_key or str(uuid4())}
        return _job(await self._session.call("POST", "/api/v1/job/transcribe", body=body, headers=headers))

    async def get(self, job_id: str) -> Job:
        """Read a job, with its text once it is completed."""
        return _job(await self._session.call("GET", f"/api/v1/job/status/{_quoted(job_id)}"))

    async def list(self, *, limit: int | None = None, cursor: str | None = None, **filters: Unpack[JobFilters]) -> Page:
        """Read one page of jobs, newest first unless another order is asked for; go on with the page's `cursor`."""
        query = {"limit": limit, "cursor": cursor, **filters}
        answer = await self._session.call("GET", "/api/v1/job/read", query=query)
        return Page(jobs=decoded(answer.content, tuple[Job, ...]), cursor=_next_cursor(answer))

    async def iterate(self, *, limit: int | None = None, **filters: Unpack[JobFilters]) -> AsyncGenerator[Job]:
        """Yield all jobs that the filters let through, reading pages of `limit` as they are needed."""
        cursor: str | None = None
        while True:
            page = await self.list(limit=limit, cursor=cursor, **filters)
            for job in page.jobs:
                yield job
            if (cursor := page.cursor) is None:
                return

    async def follow(self, job_id: str, *, timeout: float | None = None) -> AsyncGenerator[Update]:  # noqa: ASYNC109 -- the transport bounds each wait, and one of them has no event loop
        """Yield how the job stands, then all its news up to its end, each segment once, whatever breaks meanwhile.

        Raises WaitTooLongError after `timeout` seconds.
        """
        async with aclosing(live.follow(self._session, job_id, timeout=timeout)) as updates:
            async for update in updates:
                yield update

    async def segments(self, job_id: str, *, timeout: float | None = None) -> AsyncGenerator[Segment]:  # noqa: ASYNC109 -- as above
        """Yield segments as they are decoded, from the first one on. Raises JobFailedError if it does not complete."""
        async with aclosing(live.follow(self._session, job_id, timeout=timeout)) as updates:
            async for update in updates:
                for segment in update.segments:
                    yield segment
                if update.status in {JobStatus.failed, JobStatus.cancelled}:
                    raise JobFailedError(update.error, error_code=update.error_code)

    async def wait(self, job_id: str, *, timeout: float | None = None) -> Job:  # noqa: ASYNC109 -- as above
        """Return the job when it is over, however it ended. Raises WaitTooLongError after `timeout` seconds."""
        async with aclosing(live.follow(self._session, job_id, timeout=timeout)) as updates:
            async for _ in updates:
                pass
        return await self.get(job_id)

    async def cancel(self, job_id: str) -> Job:
        """End a job that waits or runs; what was transcribed is kept."""
        return _job(await self._session.call("POST", f"/api/v1/job/{_quoted(job_id)}/cancel"))

    async def retry(self, job_id: str, **choices: Unpack[Choices]) -> Job:
        """Have a failed or cancelled job done again, with another model or other options if they are given."""
        return _job(await self._session.call("POST", f"/api/v1/job/{_quoted(job_id)}/retry", body=choices))

    async def annotate(
        self,
        job_id: str,
        *,
        description: str | UnsetType | None = UNSET,
        metadata: Mapping[str, str | None] | UnsetType | None = UNSET,
    ) -> Job:
        """Change what is noted on a job: what is left out stays, None removes, of `metadata` also a single key."""
        notes = {"description": description, "metadata": metadata}
        body = {name: value for name, value in notes.items() if value is not UNSET}
        return _job(await self._session.call("PATCH", f"/api/v1/job/{_quoted(job_id)}", body=body))

    async def delete(self, job_id: str) -> None:
        """Remove a job in any state, with all it has."""
        await self._session.call("DELETE", f"/api/v1/job/{_quoted(job_id)}")

    async def attempts(self, job_id: str) -> tuple[Attempt, ...]:
        """Read when workers took the job and how they fared, oldest first."""
        answer = await self._session.call("GET", f"/api/v1/job/{_quoted(job_id)}/attempts")
        return decoded(answer.content, tuple[Attempt, ...])

    async def transcript(self, job_id: str) -> Transcript:
        """Read what a job has transcribed, with all that Whisper tells of it, also before it is over."""
        answer = await self._transcript(job_id, {"format": "verbose_json"})
        return decoded(answer.content, Transcript)

    async def document(self, job_id: str, format: FormatName, **cues: Unpack[CueOptions]) -> str:  # noqa: A002 -- the name on the wire
        """Read the same as a document, such as subtitles: `srt` or `vtt`, whose cues can be limited."""
        return (await self._transcript(job_id, {"format": format, **cues})).text

    async def mail(self, job_id: str, *, to: str) -> None:
        """Send the text of a completed job to an address. Asked once: it is not known whether a mail went out twice."""
        path = f"/api/v1/job/{_quoted(job_id)}/email"
        await self._session.call("POST", path, body={"email": to}, may_repeat=False)

    async def _transcript(self, job_id: str, query: dict[str, object]) -> httpx.Response:
        return await self._session.call("GET", f"/api/v1/job/{_quoted(job_id)}/transcript", query=query)


class Jobs(Blocking[AsyncJobs]):
    """The same methods, without `await`."""

    submit = blocking(AsyncJobs.submit)
    get = blocking(AsyncJobs.get)
    list = blocking(AsyncJobs.list)
    iterate = blocking_stream(AsyncJobs.iterate)
    follow = blocking_stream(AsyncJobs.follow)
    segments = blocking_stream(AsyncJobs.segments)
    wait = blocking(AsyncJobs.wait)
    cancel = blocking(AsyncJobs.cancel)
    retry = blocking(AsyncJobs.retry)
    annotate = blocking(AsyncJobs.annotate)
    delete = blocking(AsyncJobs.delete)
    attempts = blocking(AsyncJobs.attempts)
    transcript = blocking(AsyncJobs.transcript)
    document = blocking(AsyncJobs.document)
    mail = blocking(AsyncJobs.mail)


def _job(answer: httpx.Response) -> Job:
    return decoded(answer.content, Job)


def _quoted(job_id: str) -> str:
    return quote(job_id, safe="")


def _next_cursor(answer: httpx.Response) -> str | None:
    """Read the Link header (RFC 8288)."""
    target = answer.links.get("next", {}).get("url", "")
    return next(iter(parse_qs(urlsplit(target).query).get("cursor", [])), None)
