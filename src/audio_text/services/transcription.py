"""Use case: transcribe the next job of a tier, from claim to terminal status, telling everybody on the way."""

import asyncio
import secrets
import time
from collections.abc import Callable, Generator
from contextlib import aclosing, contextmanager
from typing import cast

import structlog

from audio_text.domain.events import JobUpdate
from audio_text.domain.job import AttemptEnd, Completed, Failed, Job, JobStatus
from audio_text.domain.speakers import plain_text, speakers_of
from audio_text.domain.transcript import Segment, TranscriptChunk
from audio_text.errors import (
    AudioTextError,
    EngineBrokenError,
    LeaseLostError,
    RemoteUnavailableError,
    TransientError,
    WorkerLostError,
)
from audio_text.ports import Claim, Engine, Released, Resources, ResumePoint, Watchdog
from audio_text.services.announcement import Announcer
from audio_text.services.ingest import IngestService
from audio_text.services.lease import Leases
from audio_text.services.resuming import resume_point
from audio_text.services.reuse import Reuse, sha256_of
from audio_text.services.storage import StorageService
from audio_text.services.time_limits import time_limit
from audio_text.services.waking import wake
from audio_text.settings import Settings

log = structlog.get_logger(__name__)

RANDOM = secrets.SystemRandom()

MOST_PATIENCE_SECONDS = 3_600.0
"""A server that asks for more time gets no more than this between two attempts."""

HAND_BACK_SECONDS = 5.0
"""How long a stopping worker tries to give its job back before it leaves that to the lease."""


class TranscriptionService:
    """Works on one job at a time per caller; any number of callers may share it.

    `chance` draws from 0 to 1 for the delays of retries.
    """

    def __init__(  # noqa: PLR0913 -- what an attempt is made of
        self,
        resources: Resources,
        *,
        engine: Engine,
        ingest: IngestService,
        watchdog: Watchdog,
        settings: Settings,
        owner: str,
        chance: Callable[[], float] = RANDOM.random,
    ) -> None:
        self._jobs = resources.jobs
        self._store = resources.store
        self._queue = resources.queue
        self._announcer = Announcer(jobs=resources.jobs, events=resources.events)
        self._reuse = Reuse(jobs=resources.jobs, announcer=self._announcer)
        self._storage = StorageService(resources, settings=settings)
        self._leases = Leases(resources, lease_seconds=settings.worker.lease_seconds)
        self._engine = engine
        self._ingest = ingest
        self._watchdog = watchdog
        self._chance = chance
        self._settings = settings
        self._owner = owner
        self._interruptible: set[asyncio.Task[object]] = set()
        self._is_stopping = False

    def stop(self) -> None:
        """Claim nothing more, and hand running jobs back after their current segment; each run_next then ends."""
        self._is_stopping = True
        for task in self._interruptible:
            task.cancel()

    async def run_next(self, tier: str) -> bool:
        """Claim the oldest waiting job of the tier and bring it to an end; False when there was none.

        Never raises for what is wrong with a job: that ends in its row. Raises DatabaseUnavailableError.
        """
        if self._is_stopping:
            await wake(self._queue, tier)
            return False
        job = await self._jobs.claim(tier, owner=self._owner, lease_seconds=self._settings.worker.lease_seconds)
        if job is None:
            return False
        attempt = _Attempt(job)
        with structlog.contextvars.bound_contextvars(job_id=job.id, attempt=job.attempt, request_id=job.request_id):
            log.info("job_claimed", tier=tier, model=job.whisper_model)
            await self._announce(JobStatus.processing, attempt)
            await self._attempt(attempt)
        return True

    async def _attempt(self, attempt: "_Attempt") -> None:
        try:
            async with self._leases.kept(attempt.claim):
                with self._ended_by_stop():
                    await self._transcribe(attempt)
            # Without the lease: a heartbeat that found the job completed would cut short what is left to do.
            await self._complete(attempt)
        except asyncio.CancelledError:
            if not self._is_stopping:
                raise
            await self._hand_back(attempt)
        except LeaseLostError:
            # Cancelled or taken over: whoever did that has written the row and told the followers.
            log.info("job_left")
        except EngineBrokenError as error:
            self._is_stopping = True
            try:
                await self._retry(attempt, error)
            finally:
                self._watchdog.retire()
        except TransientError as error:
            await self._retry(attempt, error)
        except WorkerLostError as error:
            await self._fail(attempt, error, is_dead_letter=True)
        except AudioTextError as error:
            await self._fail(attempt, error)
        except Exception as error:  # a fault of ours must end in the job's row, not end the worker
            log.exception("job_crashed")
            await self._retry(attempt, AudioTextError(f"Something went wrong inside the service: {error!r}"))

    @contextmanager
    def _ended_by_stop(self) -> Generator[None, None, None]:
        if self._is_stopping:  # since the claim
            raise asyncio.CancelledError
        task = cast("asyncio.Task[object]", asyncio.current_task())
        self._interruptible.add(task)
        try:
            yield
        finally:
            self._interruptible.discard(task)

    async def _transcribe(self, attempt: "_Attempt") -> None:
        job = attempt.job
        tier = self._settings.tiers[job.tier]
        if job.attempt > tier.retry.retries + 1:
            raise WorkerLostError
        resume = await self._resume_point(attempt)
        job = attempt.job = await self._ingest.bring(job)
        async with (
            time_limit(tier, attempt.claim, watchdog=self._watchdog) as limit,
            self._store.fetch(job.object_key) as audio,
        ):
            limit.learn(job.duration or 0.0)
            attempt.audio_sha256 = await sha256_of(audio)
            attempt.reused = await self._reuse.complete(
                job, audio_sha256=attempt.audio_sha256, elapsed_seconds=attempt.elapsed_seconds()
            )
            if attempt.reused is not None:
                return
            chunks = self._engine.transcribe(audio, model=job.whisper_model, options=job.options, resume=resume)
            async with aclosing(chunks):
                async for chunk in chunks:
                    limit.learn(chunk.duration * len(chunk.channel_progress or (chunk,)))
                    await self._record(attempt, chunk)

    async def _resume_point(self, attempt: "_Attempt") -> ResumePoint | None:
        if attempt.job.claims == 1:
            return None
        attempt.segments = await self._jobs.segments(attempt.job.id)
        return resume_point(attempt.job, attempt.segments)

    async def _record(self, attempt: "_Attempt", chunk: TranscriptChunk) -> None:
        if not await self._jobs.record(attempt.claim, chunk):
            raise LeaseLostError
        attempt.take(chunk)
        await self._announce(JobStatus.processing, attempt, segments=chunk.segments)

    async def _complete(self, attempt: "_Attempt") -> None:
        if attempt.reused is not None:
            await self._reuse.tell(attempt.reused)
            await self._storage.drop(attempt.job.object_key)
            return
        outcome = attempt.completed()
        if not await self._jobs.complete(attempt.claim, outcome):
            raise LeaseLostError
        attempt.progress = 100.0
        await self._announce(JobStatus.completed, attempt)
        log.info(
            "job_completed",
            duration=outcome.duration,
            processing_time_seconds=round(outcome.processing_time_seconds, 3),
            segments=len(attempt.segments),
        )
        await self._storage.drop(attempt.job.object_key)

    async def _retry(self, attempt: "_Attempt", error: AudioTextError) -> None:
        policy = self._settings.tiers[attempt.job.tier].retry
        delay = policy.delay_seconds(attempt.job.attempt, chance=self._chance())
        if delay is None:
            await self._fail(attempt, error, is_dead_letter=True)
            return
        if isinstance(error, RemoteUnavailableError) and error.retry_after_seconds:
            delay = max(delay, min(error.retry_after_seconds, MOST_PATIENCE_SECONDS))
        log.warning("job_will_be_retried", code=error.code, error=error.detail, delay_seconds=delay)
        reason = Released(end=AttemptEnd.retried, error_code=error.code, error_message=error.detail)
        await self._release(attempt, delay_seconds=delay, reason=reason)

    async def _hand_back(self, attempt: "_Attempt") -> None:
        # This process is stopping: somebody else continues at the last stored segment.
        async with asyncio.timeout(HAND_BACK_SECONDS):
            await self._release(attempt, delay_seconds=0.0, reason=Released(end=AttemptEnd.handed_back))
        log.info("job_handed_back")

    async def _release(self, attempt: "_Attempt", *, delay_seconds: float, reason: Released) -> None:
        if not await self._jobs.release(attempt.claim, delay_seconds=delay_seconds, reason=reason):
            return
        await self._announce(JobStatus.pending, attempt)
        await wake(self._queue, attempt.job.tier, attempt.job, delay_seconds=delay_seconds)

    async def _fail(self, attempt: "_Attempt", error: AudioTextError, *, is_dead_letter: bool = False) -> None:
        outcome = Failed(
            error_code=error.code,
            error_message=error.detail,
            processing_time_seconds=attempt.elapsed_seconds(),
            is_dead_letter=is_dead_letter,
        )
        if await self._jobs.fail(attempt.claim, outcome):
            log.warning("job_failed", code=error.code, error=error.detail, is_dead_letter=is_dead_letter)
            await self._announce(JobStatus.failed, attempt)

    async def _announce(self, status: JobStatus, attempt: "_Attempt", *, segments: tuple[Segment, ...] = ()) -> None:
        claim, progress = attempt.claim, attempt.progress
        update = JobUpdate(job_id=claim.job_id, status=status, progress=progress, segments=segments, claims=claim.token)
        await self._announcer.tell(update)


class _Attempt:
    """What one attempt at a job knows so far."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.claim = Claim(job.id, job.claims)
        self.segments: list[Segment] = []
        self.progress = job.progress
        self.audio_sha256: str | None = None
        self.reused: Job | None = None
        self._chunk: TranscriptChunk | None = None
        self._began = time.monotonic()

    def elapsed_seconds(self) -> float:
        return time.monotonic() - self._began

    def take(self, chunk: TranscriptChunk) -> None:
        self.segments.extend(chunk.segments)
        self.progress = chunk.progress
        self._chunk = chunk

    def completed(self) -> Completed:
        chunk = self._chunk
        if chunk is None:
            raise AudioTextError("The engine ended without a word about the recording.")
        return Completed(
            result_text=plain_text(self.segments, speakers=speakers_of(self.job.options)),
            duration=chunk.duration,
            duration_after_vad=chunk.duration_after_vad,
            processing_time_seconds=self.elapsed_seconds(),
            language=chunk.language,
            language_probability=chunk.language_probability,
            audio_sha256=self.audio_sha256,
        )
