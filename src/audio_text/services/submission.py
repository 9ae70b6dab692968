"""Use case: accept a job. Look at what was uploaded, store the row, and only then wake a worker."""

from datetime import UTC, datetime
from functools import partial
from typing import cast
from uuid import uuid4

import msgspec
import structlog

from audio_text.domain.job import Job, JobStatus
from audio_text.domain.options import TranscriptionOptions
from audio_text.errors import InvalidRequestError, QueueUnavailableError
from audio_text.ports import AudioProbe, Resources
from audio_text.services.uploads import UploadService
from audio_text.settings import Settings

log = structlog.get_logger(__name__)


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for: an upload, a model, and the options that differ from the settings' defaults."""

    filename: str
    url: str
    model: str | None = None
    options: dict[str, object] = {}
    description: str | None = None
    request_id: str | None = None


class SubmissionService:
    """Turns a submission into a pending job."""

    def __init__(self, resources: Resources, *, probe: AudioProbe, settings: Settings) -> None:
        self._jobs = resources.jobs
        self._store = resources.store
        self._queue = resources.queue
        self._probe = probe
        self._settings = settings
        self._uploads = UploadService(store=resources.store, settings=settings.upload)

    async def submit(self, submission: Submission) -> Job:
        """Check, store, commit, then enqueue; the job is safe once this returns.

        Raises UnknownModelError, ForeignUrlError, UploadMissingError, UploadTooLargeError, UnsupportedMediaError and
        its kinds, InvalidRequestError for options, and TransientError when the store or the database is away.
        """
        model = submission.model or self._settings.job.default_model
        tier = self._settings.route(model)
        options = self._options(submission.options)
        key = self._store.key_of(submission.url)
        self._uploads.check_extension(key)
        stored = await self._store.stat(key)
        self._uploads.check_size(stored.size_bytes)
        facts = await self._probe.probe(partial(self._store.read_range, key), stored.size_bytes)
        now = datetime.now(UTC)
        job = Job(
            id=str(uuid4()),
            filename=submission.filename,
            url=submission.url.partition("?")[0],
            object_key=key,
            file_size_bytes=stored.size_bytes,
            content_type=stored.content_type,
            status=JobStatus.pending,
            whisper_model=model,
            tier=tier,
            options=options,
            description=submission.description,
            request_id=submission.request_id,
            duration=facts.duration,
            creation_date=now,
            update_date=now,
        )
        await self._jobs.add(job)
        await self._wake(job)
        return job

    def _options(self, changes: dict[str, object]) -> TranscriptionOptions:
        defaults = msgspec.to_builtins(self._settings.options)
        try:
            options = msgspec.convert(_merged(defaults, changes), TranscriptionOptions)
        except msgspec.ValidationError as error:
            raise InvalidRequestError(f"These options are not usable: {error}.") from error
        end = options.clip_end_seconds
        if end is not None and end <= options.clip_start_seconds:
            raise InvalidRequestError("clip_end_seconds must be greater than clip_start_seconds.")
        return options

    async def _wake(self, job: Job) -> None:
        # The row is the truth and the message a hint: without it the job only starts later.
        try:
            await self._queue.enqueue(job.tier, job_id=job.id, request_id=job.request_id)
        except QueueUnavailableError:
            log.warning("job_stored_but_not_enqueued", job_id=job.id, tier=job.tier)


def _merged(defaults: dict[str, object], changes: dict[str, object]) -> dict[str, object]:
    # The one nested table is merged key by key, so that a job may change a single threshold.
    default_vad = cast("dict[str, object]", defaults["vad"])
    changed_vad = cast("dict[str, object]", changes.get("vad") or {})
    return defaults | changes | {"vad": default_vad | changed_vad}
