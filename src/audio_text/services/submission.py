"""Use case: accept a job. Look at what was uploaded, store the row, and only then wake a worker.

What lies elsewhere is looked at by the worker that brings it.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import uuid4

import msgspec

from audio_text.domain.access import ANYBODY, Caller
from audio_text.domain.idempotency import IdempotencyKey
from audio_text.domain.job import Job, JobStatus, Priority
from audio_text.domain.transcript import AudioFacts
from audio_text.errors import (
    DatabaseUnavailableError,
    ForeignUrlError,
    IdempotencyKeyReusedError,
    InvalidRequestError,
    PriorityTooHighError,
    RecordingTooLongError,
)
from audio_text.ports import AudioProbe, Resources, StoredObject
from audio_text.services.admission import AdmissionService
from audio_text.services.choices import check_channels, chosen_options
from audio_text.services.ingest import Sources
from audio_text.services.uploads import UploadService, sees_upload
from audio_text.services.waking import wake
from audio_text.settings import Settings

TRIES = 3
"""A key may expire, or its job be deleted, between the moment when it is taken and the one when it is looked up."""


class Submission(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for: an upload, a model, and the options that differ from the settings' defaults.

    A recording that is known to last more than `longest_seconds` is refused. `expires_in`: seconds from the job's end
    until it is removed; `deadline_in`: seconds from now within which somebody has to begin it. `reuse`: whether an
    earlier job may answer it; None: as the settings say.
    """

    filename: str
    url: str
    caller: Caller = ANYBODY
    model: str | None = None
    options: dict[str, object] = {}
    description: str | None = None
    metadata: dict[str, str] = {}
    expires_in: int | None = None
    deadline_in: int | None = None
    request_id: str | None = None
    priority: Priority = Priority.normal
    reuse: bool | None = None
    longest_seconds: float | None = None


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at an upload found: what the store says of it, and what its container says."""

    stored: StoredObject
    facts: AudioFacts


Look = Callable[[str], Awaitable[Recording]]
"""Key of an object to what it is, as SubmissionService.look."""


class SubmissionService:
    """Turns a submission into a pending job."""

    def __init__(self, resources: Resources, *, probe: AudioProbe, settings: Settings) -> None:
        self._jobs = resources.jobs
        self._store = resources.store
        self._queue = resources.queue
        self._probe = probe
        self._settings = settings
        self._uploads = UploadService(store=resources.store, settings=settings.upload)
        self._sources = Sources(settings)
        self.admission = AdmissionService(resources.jobs, settings=settings)

    async def submit(self, submission: Submission) -> Job:
        """Check, store, commit, then enqueue; the job is safe once this returns.

        Raises what `check` raises, and QuotaExceededError and its kinds.
        """
        job = await self.check(submission)
        await self.admission.add(job, caller=submission.caller)
        await wake(self._queue, job.tier, job)
        return job

    async def submit_once(self, submission: Submission, *, key: IdempotencyKey) -> tuple[Job, bool]:
        """Submit, or find what was submitted under the key: the job as it was then; and whether it is new.

        Raises what `submit` raises, and IdempotencyKeyReusedError when that was something else.
        """
        for _ in range(TRIES):
            if not key.takes_over and (earlier := await self.submitted(key)) is not None:
                return earlier, False
            job = await self.check(submission)
            if await self.admission.add(job, caller=submission.caller, key=key):
                await wake(self._queue, job.tier, job)
                return job, True
        raise DatabaseUnavailableError("This key is given to one job after another: try again.")

    async def submitted(self, key: IdempotencyKey) -> Job | None:
        """Find the job that was submitted under the key, as it was then. Raises IdempotencyKeyReusedError."""
        earlier = await self._jobs.submitted(key)
        if earlier is None:
            return None
        if earlier.fingerprint != key.fingerprint:
            raise IdempotencyKeyReusedError
        return earlier.job

    async def look(self, key: str) -> Recording:
        """Look at an object of the store. Raises what `check` raises because of it."""
        self._uploads.check_extension(key)
        stored = await self._store.stat(key)
        self._uploads.check_size(stored.size_bytes)
        facts = await self._probe.probe(partial(self._store.read_range, key), stored.size_bytes)
        return Recording(stored=stored, facts=facts)

    async def check(self, submission: Submission, *, look: Look | None = None) -> Job:
        """Look at the upload, or have `look` do it, and make the job, which is stored by nobody yet.

        Raises UnknownModelError, PriorityTooHighError, TierFullError, ForeignUrlError, RemoteUrlError,
        PrivateAddressError, UploadMissingError, UploadTooLargeError, UnsupportedMediaError and its kinds,
        RecordingTooLongError, TooManyChannelsError, InvalidRequestError for options and expires_in, and TransientError
        when the store or the database is away.
        """
        model = submission.model or self._settings.job.default_model
        tier = self._settings.route(model)
        self._check_priority(submission)
        await self.admission.check_room(tier)
        options = chosen_options(self._settings.options, submission.options)
        expires_in_seconds = self._expiry(submission.expires_in)
        try:
            key = self._store.key_of(submission.url)
        except ForeignUrlError:
            found = self._elsewhere(submission)
        else:
            if not sees_upload(submission.caller, key):
                raise ForeignUrlError
            recording = await (look or self.look)(key)
            _check_length(recording.facts.duration, submission.longest_seconds)
            check_channels(recording.facts, options, most=self._settings.engine.max_channels)
            found = _uploaded(key, submission, recording)
        now = datetime.now(UTC)
        return Job(
            id=str(uuid4()),
            filename=submission.filename,
            url=found.url,
            object_key=found.key,
            file_size_bytes=found.size_bytes,
            content_type=found.content_type,
            source_url=found.source_url,
            status=JobStatus.pending,
            whisper_model=model,
            tier=tier,
            options=options,
            description=submission.description,
            metadata=submission.metadata,
            request_id=submission.request_id,
            owner=submission.caller.owner,
            key_id=submission.caller.key_id,
            priority=submission.priority,
            reuse=self._settings.job.reuse if submission.reuse is None else submission.reuse,
            deadline=now + timedelta(seconds=submission.deadline_in) if submission.deadline_in else None,
            expires_in_seconds=expires_in_seconds,
            duration=found.duration,
            creation_date=now,
            update_date=now,
        )

    def _elsewhere(self, submission: Submission) -> "_Found":
        """A recording that nobody has looked at yet: the worker brings it."""
        source = self._sources.named(submission.url)
        key = self._sources.new_key(submission.filename, source, owner=submission.caller.owner)
        return _Found(url=source.shown, key=key, source_url=submission.url)

    def _check_priority(self, submission: Submission) -> None:
        most = self._settings.limits.priority(submission.caller)
        if submission.priority.exceeds(most):
            raise PriorityTooHighError(f"This key may submit jobs of priority `{most}` at most.")

    def _expiry(self, expires_in: int | None) -> int | None:
        """How many seconds after its end the job is removed; None: never. Raises InvalidRequestError."""
        longest = self._settings.job.max_expires_seconds
        if expires_in is None:
            return self._settings.job.expires_seconds or None
        if expires_in > longest:
            raise InvalidRequestError(f"`expires_in` is {expires_in} seconds; this service allows at most {longest}.")
        return expires_in


class _Found(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the recording; of one that lies elsewhere, only where."""

    url: str
    key: str
    size_bytes: int = 0
    content_type: str | None = None
    duration: float | None = None
    source_url: str | None = None


def _uploaded(key: str, submission: Submission, recording: Recording) -> _Found:
    return _Found(
        url=submission.url.partition("?")[0],
        key=key,
        size_bytes=recording.stored.size_bytes,
        content_type=recording.stored.content_type,
        duration=recording.facts.duration,
    )


def _check_length(duration: float | None, longest: float | None) -> None:
    """Refuse what is known to be too long; not every container says how long it is."""
    if duration is not None and longest is not None and duration > longest:
        raise RecordingTooLongError(
            f"The recording lasts {duration:.0f} seconds; a request waits for the text of at most {longest:.0f}."
        )
