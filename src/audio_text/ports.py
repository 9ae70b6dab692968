"""What the services need from the outside world, as Protocols. Adapters provide it; tests hold fakes to it.

Longer than other modules, because it is the one contract between services and adapters: mostly docstrings, and no code.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import UNSET, UnsetType

from audio_text.domain.access import ApiKey, Caller
from audio_text.domain.backlog import Backlog
from audio_text.domain.batch import Batch
from audio_text.domain.delivery import Delivery, DeliveryAttempt, DeliveryKind, DeliveryStatus
from audio_text.domain.events import JobUpdate, Published
from audio_text.domain.idempotency import IdempotencyKey, Submitted
from audio_text.domain.job import AttemptEnd, AttemptRecord, Completed, Failed, Job, Retention
from audio_text.domain.listing import JobQuery
from audio_text.domain.mail import Mail
from audio_text.domain.multipart import MultipartUpload
from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.transcript import AudioFacts, NextWindow, Segment, TranscriptChunk
from audio_text.domain.urls import WebUrl
from audio_text.domain.usage import Hit, Quota, Rate, Usage, Window
from audio_text.domain.webhooks import WebhookEndpoint


class Claim(msgspec.Struct, frozen=True):
    """The right to write on a job: this claim of it, and no other. `token` never comes back (`Job.claims`)."""

    job_id: str
    token: int


class JobRepository(Protocol):
    """The table of jobs and their segments. Every method may raise DatabaseUnavailableError.

    Whatever ends a job sets its expires_at, if it has an expires_in_seconds; a retry clears it.
    """

    async def add(self, job: Job, *, key: IdempotencyKey | None = None, quota: Quota | None = None) -> bool:
        """Store a new job, committed when this returns; with a key, both or none of them.

        False, and nothing stored, when another job holds the key. With a quota, raises ConcurrentJobsError where its
        key has as many pending and processing jobs already, AudioQuotaError where the job's duration is more than is
        left of today's seconds, or nothing is left: exactly, whoever else adds jobs at the same time.

        The duration counts from then on, or once a worker learns it; whatever becomes of the job.
        """
        ...

    async def usage(self, key_id: str) -> Usage:
        """What the key has in work, and the seconds of audio that it submitted today."""
        ...

    async def submitted(self, key: IdempotencyKey) -> Submitted | None:
        """What was submitted under this text by this owner, whatever it was; None: nothing that still holds.

        A key goes when it expires, and with its job.
        """
        ...

    async def forget_keys(self, *, limit: int) -> int:
        """Remove keys that have expired, at most `limit`; how many there were."""
        ...

    async def get(self, job_id: str) -> Job:
        """Read one job. Raises JobNotFoundError."""
        ...

    async def owner_of(self, job_id: str) -> str | None:
        """Whose a job is, for good; None: it came without a key. Raises JobNotFoundError."""
        ...

    async def find(self, query: JobQuery, *, limit: int) -> list[Job]:
        """Jobs that the query asks for, in its order: without another word, all of them, newest first."""
        ...

    async def segments(self, job_id: str, *, first: int = 0, limit: int | None = None) -> list[Segment]:
        """Stored segments with id >= `first`, in order, at most `limit`; empty for an unknown job."""
        ...

    async def last_segment(self, job_id: str) -> int | None:
        """The id of the last segment stored so far; None without any."""
        ...

    async def claim(self, tier: str, *, owner: str, lease_seconds: float) -> Job | None:
        """Take a job of the tier that may run: pending and available, or processing with its lease run out.

        None whose deadline passed before anybody began it.

        Highest priority first; then the job of whoever has the fewest in work on this tier, None being an owner like
        any other; then the oldest. Claims at the same time may deviate between owners, and never get the same job.
        It becomes processing, attempt + 1, claims + 1, leased to `owner`, who is a worker; started_at is set at the
        first attempt. An attempt record begins, and an earlier one that never ended is marked lost; `position` is
        where it goes on.
        None: nothing to do.
        """
        ...

    async def backlogs(self, tiers: Collection[str], *, limit: int) -> dict[str, Backlog]:
        """What waits on each of the tiers, at most `limit` jobs, in the order of their turns, and how fast it goes.

        Pending jobs that may be claimed now. A recording of unknown length counts as the last completed ones did.
        """
        ...

    async def pending(self, tier: str, *, limit: int) -> int:
        """How many jobs of the tier wait, put off or not; no more than `limit` are counted."""
        ...

    async def overdue(self, *, seconds: float) -> dict[str, int]:
        """Tier → number of pending jobs that nobody claimed for longer than `seconds`, and of leases that ran out."""
        ...

    async def next_lease_end(self) -> float | None:
        """Seconds until the first lease runs out unless it is extended; None: there is none that still holds."""
        ...

    async def end_leases(self, owner: str) -> list[Job]:
        """Let the leases of this owner run out now; the jobs it had, which anybody may claim."""
        ...

    async def extend_lease(self, claim: Claim, *, lease_seconds: float) -> bool:
        """Push the end of the lease out; False when the claim no longer holds."""
        ...

    async def note_recording(self, claim: Claim, recording: "BroughtRecording") -> bool:
        """Write down what a recording from elsewhere is, once it is stored; False when the claim no longer holds."""
        ...

    async def record(self, claim: Claim, chunk: TranscriptChunk) -> bool:
        """Store a chunk: its segments, progress, language and durations, in one statement.

        The newest attempt wins: segments with the same ids are replaced, those after the chunk's last are dropped.
        False, and nothing written, when the claim no longer holds (cancelled, taken over).
        """
        ...

    async def complete(self, claim: Claim, outcome: Completed) -> bool:
        """Move processing → completed, progress 100; False when the claim no longer holds."""
        ...

    async def complete_from_earlier(
        self, claim: Claim, *, audio_sha256: str, processing_time_seconds: float
    ) -> Job | None:
        """Move processing → completed with what an earlier job says, the newest with this SHA-256; the job then.

        Only one that is completed and not expired, with the same owner (None being one like any other), model and
        options. The job gets its own copy of the segments, reused_from, and no real_time_factor. None, and nothing
        written, when there is no such job, segments of this one are stored already, or the claim no longer holds.
        """
        ...

    async def fail(self, claim: Claim, outcome: Failed) -> bool:
        """Move processing → failed, keeping segments and progress; False when the claim no longer holds."""
        ...

    async def release(self, claim: Claim, *, delay_seconds: float, reason: "Released") -> bool:
        """Move processing → pending, claimable after the delay, with the attempt's end on record.

        An attempt that was handed back is not spent. False when the claim no longer holds.
        """
        ...

    async def cancel(self, job_id: str) -> Job:
        """Move pending or processing → cancelled, keeping segments and progress; the job as it stands then.

        Safe to repeat. Raises JobNotFoundError, and JobStateError naming the state of a completed or failed job.
        """
        ...

    async def retry(self, job_id: str, *, again: "Again") -> Job:
        """Move failed or cancelled → pending with its attempts reset; the job as it stands then.

        Stored segments are kept to continue behind them, unless model or options change. It has no deadline any more.
        A pending or processing job
        that was retried already is returned as it is. Raises JobNotFoundError, JobStateError for a completed one.
        """
        ...

    async def annotate(self, job_id: str, *, notes: "Notes") -> Job:
        """Change what is noted on a job, whatever its status; the job as it stands then.

        Raises JobNotFoundError, and InvalidRequestError when it would have more than MOST_METADATA keys.
        """
        ...

    async def delete(self, job_id: str) -> Job | None:
        """Remove the job with its segments and attempts, whatever its status; the job as it was, None if unknown."""
        ...

    async def attempts(self, job_id: str) -> list[AttemptRecord]:
        """Every claim of the job so far, oldest first."""
        ...

    async def dead_letters(self, *, limit: int, before: tuple[datetime, str] | None = None) -> list[Job]:
        """Failed jobs that used up their attempts, newest first (finished_at, then id), older than `before`."""
        ...

    async def drop_dead_letter(self, job_id: str) -> bool:
        """Take a job off the list of dead letters, leaving it failed; False when it is not on it."""
        ...

    async def has_ends(self, retries: Mapping[str, int], *, seconds: float) -> bool:
        """Whether `end_exhausted`, `end_late` or `unannounced` would find a job."""
        ...

    async def end_exhausted(self, retries: Mapping[str, int]) -> list[Job]:
        """Fail, as dead letters with code worker_lost, jobs whose lease ran out after their last attempt.

        `retries`: by tier, how many attempts beyond the first; jobs of other tiers are left alone. Returns the jobs
        as they stand then.
        """
        ...

    async def end_late(self, *, limit: int) -> list[Job]:
        """Fail, with code deadline_passed, pending jobs that nobody began before their deadline; at most `limit`.

        Returns the jobs as they stand then. No claim takes such a job.
        """
        ...

    async def unannounced(self, *, seconds: float, limit: int) -> list[Job]:
        """Jobs that ended more than `seconds` ago and whose terminal event is not known to be published."""
        ...

    async def mark_announced(self, job_ids: Sequence[str]) -> None:
        """Remember that the terminal events of these jobs are published; a retry of a job forgets it."""
        ...

    async def delete_expired(self, *, limit: int) -> dict[str, str]:
        """Remove jobs that are over and whose expires_at has passed, as `delete` does; id → object key of each."""
        ...

    async def needed_objects(self, keys: Collection[str], *, retention: Retention) -> set[str]:
        """Those of the keys that some job needs: it is not over, or not expired and keeps its recording for so long."""
        ...

    def exclusively(self, purpose: str) -> AbstractAsyncContextManager[bool]:
        """Hold the database-wide advisory lock of this purpose, if it is free: False when somebody else has it.

        It is freed when the context ends, or with the process or its connection, or some 15 seconds after the process
        froze; then the context ends with DatabaseUnavailableError when the process goes on.
        """
        ...

    async def check(self) -> None:
        """Raise DatabaseUnavailableError unless a query answers, DatabaseNotMigratedError without all tables."""
        ...


class BatchRepository(Protocol):
    """The table of batches. Every method may raise DatabaseUnavailableError."""

    async def add(
        self, batch: Batch, jobs: Sequence[Job], *, key: IdempotencyKey | None = None, quota: Quota | None = None
    ) -> bool:
        """Store a batch and its jobs: all, committed when this returns, or none.

        False, and nothing stored, when another batch of this owner holds the key, which it does as long as it is there.
        A quota has to have room for all of them, or it raises what `JobRepository.add` raises.
        """
        ...

    async def submitted(self, key: IdempotencyKey) -> tuple[str, Batch] | None:
        """The fingerprint and the batch, with its tally, that its owner submitted under this text; None: none."""
        ...

    async def get(self, batch_id: str) -> Batch:
        """Read one batch, with its tally. Raises BatchNotFoundError."""
        ...

    async def newest(self, *, owner: str | None, limit: int, before: tuple[datetime, str] | None = None) -> list[Batch]:
        """Batches of the owner, of all with None: newest first (created_at, then id), older than `before`."""
        ...

    async def end_finished(self) -> list[Batch]:
        """Set finished_at on batches none of whose jobs is unfinished any more; those, without their tallies."""
        ...

    async def remove_empty(self) -> int:
        """Remove finished batches none of whose jobs is left; how many there were."""
        ...


class Released(msgspec.Struct, frozen=True, kw_only=True):
    """Why a running attempt gives its job back: to be retried after a failure, or handed to another worker."""

    end: AttemptEnd
    error_code: str | None = None
    error_message: str | None = None


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """What a retried job runs with; None keeps what it had."""

    whisper_model: str | None = None
    tier: str | None = None
    options: TranscriptionOptions | None = None


class BroughtRecording(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a recording once it is in our store; `duration` in seconds, where its container says it."""

    size_bytes: int
    content_type: str | None
    duration: float | None


class Notes(msgspec.Struct, frozen=True, kw_only=True):
    """What changes in the notes on a job; UNSET keeps what is there.

    Of the metadata, the keys that are named change, and go where their value is None; None instead clears all.
    """

    description: str | UnsetType | None = UNSET
    metadata: dict[str, str | None] | UnsetType | None = UNSET


class UploadTarget(msgspec.Struct, frozen=True, kw_only=True):
    """Where a client PUTs the raw bytes, and the headers it must send with them."""

    url: str
    headers: dict[str, str]
    expires_at: datetime


class StoredObject(msgspec.Struct, frozen=True, kw_only=True):
    """What the store knows of an object."""

    key: str
    size_bytes: int
    content_type: str | None


class AudioStore(Protocol):
    """Where recordings lie between upload and transcript. Methods may raise StoreUnavailableError."""

    async def prepare(self) -> None:
        """Create what is missing: bucket, CORS rule, lifecycle rule; or the folder. Safe to repeat."""
        ...

    async def presign_upload(
        self, key: str, *, content_type: str | None, size_bytes: int, expires_seconds: int, sha256: str | None = None
    ) -> UploadTarget:
        """A URL bound to this key, exactly this size and, when given, this content type and SHA-256 (hexadecimal).

        Where the store itself does not refuse other bytes, `fetch` does. Raises UploadTooLargeError for what the store
        takes only in parts.
        """
        ...

    async def begin_multipart(
        self, key: str, *, content_type: str | None, size_bytes: int, sha256: str | None = None
    ) -> str:
        """Begin an upload in parts; what the store calls it. Raises DiskFullError."""
        ...

    async def presign_part(self, upload: MultipartUpload, number: int, *, expires_seconds: int) -> UploadTarget:
        """A URL bound to this part, with exactly its size; to send a part again replaces it."""
        ...

    async def received_parts(self, upload: MultipartUpload) -> list[int]:
        """The numbers of the parts that are there whole, ascending. Raises UploadNotFoundError."""
        ...

    async def complete_multipart(self, upload: MultipartUpload) -> None:
        """Make the object of its parts. It appears whole, or not at all, and the parts stay.

        Raises UploadIncompleteError, UploadNotFoundError also when it is complete, and ChecksumMismatchError unless
        that is left to `fetch`.
        """
        ...

    async def abort_multipart(self, upload: MultipartUpload) -> None:
        """Remove the parts of an upload; not an error when it is gone or complete."""
        ...

    async def write(self, key: str, *, content_type: str | None, body: AsyncIterator[bytes]) -> StoredObject:
        """Store bytes as they arrive, however many; the object appears whole, or not at all.

        No more than a few MiB are in memory. Errors of `body` pass through.
        """
        ...

    def url_of(self, key: str) -> str:
        """The address of an object, for `key_of`: it opens nothing."""
        ...

    def key_of(self, url: str) -> str:
        """The key behind a URL that `presign_upload` made, expired or not. Raises ForeignUrlError."""
        ...

    async def stat(self, key: str) -> StoredObject:
        """Raises UploadMissingError."""
        ...

    async def read_range(self, key: str, start: int, length: int) -> bytes:
        """Bytes [start, start + length), fewer at the end. Raises UploadMissingError."""
        ...

    def fetch(self, key: str) -> AbstractAsyncContextManager[Path]:
        """The object as a local file, for as long as the context is open.

        Raises UploadMissingError, DiskFullError, ChecksumMismatchError.
        """
        ...

    async def delete(self, key: str) -> None:
        """Remove the object; not an error when it is gone already."""
        ...

    def list_older(self, *, seconds: float) -> AsyncGenerator[list[str], None]:
        """Keys of the objects written longer ago, in pages of at most 1,000; they may be deleted meanwhile."""
        ...

    async def remove_abandoned(self) -> int:
        """Remove from this machine what dead processes and uploads in parts left unfinished; how many there were."""
        ...

    async def check(self) -> None:
        """Raise StoreUnavailableError unless the store answers."""
        ...


class UploadReceiver(Protocol):
    """Takes uploads itself: a store whose upload URLs lead to this service."""

    async def receive(
        self,
        key: str,
        *,
        query: Mapping[str, str],
        content_type: str | None,
        content_length: int | None,
        body: AsyncIterator[bytes],
    ) -> StoredObject:
        """Store the body of a PUT to a URL of `presign_upload` or `presign_part`, as it arrives, whole or not at all.

        Raises UploadLinkError, UploadMismatchError, ChecksumMismatchError, UploadTooLargeError, UploadNotFoundError for
        a part, DiskFullError, StoreUnavailableError.
        """
        ...


class AudioProbe(Protocol):
    """Looks into a container without decoding it."""

    async def probe(self, read_range: Callable[[int, int], Awaitable[bytes]], size_bytes: int) -> AudioFacts:
        """Read as little as possible of the object. Raises InvalidAudioError, EmptyAudioError, NoSoundTrackError."""
        ...


class JobQueue(Protocol):
    """Wakes the workers of a tier."""

    async def enqueue(
        self, tier: str, *, job_id: str, delay_seconds: float = 0.0, request_id: str | None = None
    ) -> None:
        """Say that work exists on the tier. Raises QueueUnavailableError within 2 seconds."""
        ...

    async def depth(self, tier: str) -> int:
        """How many messages of the tier wait to be taken now. Raises QueueUnavailableError."""
        ...

    async def check(self) -> None:
        """Raise QueueUnavailableError unless the queue answers."""
        ...


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


class Waiters(Protocol):
    """Who waits for which job with an open request, over all API processes. Raises EventsUnavailableError."""

    async def stay(self, job_id: str, *, seconds: float) -> None:
        """Say that somebody waits for the job, now and for so long."""
        ...

    async def is_anybody_there(self, job_id: str) -> bool:
        """Whether somebody said so, and the time is not over."""
        ...


class PauseRule(msgspec.Struct, frozen=True, kw_only=True):
    """When an endpoint is called no more: so many tries in a row failed, over so long a time."""

    failures: int
    seconds: float


class DeliveryResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a try ended, and what becomes of the delivery: when pending, it is due again after the delay.

    `gone`: the receiver wants no more, and its endpoint is paused at once.
    """

    status: DeliveryStatus
    attempt: DeliveryAttempt
    delay_seconds: float = 0.0
    is_gone: bool = False


class DeliveryRepository(Protocol):
    """The table of deliveries. Every method may raise DatabaseUnavailableError.

    Whatever ends a job stores what its owner's endpoints asked to be told, in the same transaction and once.
    """

    async def add(self, delivery: Delivery) -> None:
        """Store a new one, pending; safe to repeat."""
        ...

    async def enqueue_event(
        self, *, owner: str | None, event_type: str, event_id: str, subject: str | None, data: Mapping[str, object]
    ) -> None:
        """Store a delivery for each endpoint of the owner that asked for this type; once per endpoint and `event_id`.

        SQL has the same as the function `enqueue_event`, for statements that change something in the same transaction.
        """
        ...

    async def claim(
        self, *, limit: int, per_lane: int, per_owner: int, under_way: Mapping[str, int], lease_seconds: float
    ) -> list[Delivery]:
        """Take deliveries that are due, so many of a lane at once and no paused endpoint's.

        Owners take turns, whoever has the fewest under way first; of an owner, the longest due. `under_way` is what the
        caller has on its way already, by owner (nobody in particular is ""): with it, no more than `per_owner`.

        Of those about the same subject in a lane, only the oldest that is pending. attempts + 1, claims + 1; where an
        earlier claim's lease ran out, the log says that its end is unknown. Claims at the same time never get the same
        delivery, and may take a few more than `per_lane` between them.
        """
        ...

    async def record(self, delivery: Delivery, result: DeliveryResult, *, rule: PauseRule) -> "Recorded | None":
        """Write how a try ended: on the delivery, and on its endpoint. None when somebody else has claimed it since."""
        ...

    async def get(self, delivery_id: str) -> Delivery:
        """Read one. Raises DeliveryNotFoundError."""
        ...

    async def find(self, endpoint_id: str, *, limit: int, before: tuple[datetime, str] | None = None) -> list[Delivery]:
        """An endpoint's deliveries, newest first, created before a (time, id)."""
        ...

    async def replay(self, delivery_id: str) -> Delivery:
        """Make one that is over pending again, due now, its attempts counted anew; a pending one is due now.

        Raises DeliveryNotFoundError.
        """
        ...

    async def purge(self, *, seconds: float, limit: int) -> int:
        """Remove deliveries that were stored so long ago, pending ones too, at most `limit`; how many there were."""
        ...


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """What a recorded try did to its endpoint: with `paused_reason`, it paused it."""

    paused_reason: str | None = None


class WebhookRepository(Protocol):
    """The table of endpoints. Every method may raise DatabaseUnavailableError; `owner` is whose it is."""

    async def add(self, endpoint: WebhookEndpoint, *, limit: int) -> bool:
        """Store a new one; False, and nothing stored, when its owner has `limit` already."""
        ...

    async def get(self, endpoint_id: str) -> WebhookEndpoint:
        """Read one. Raises WebhookNotFoundError."""
        ...

    async def find(self, *, owner: str | None, sees_all: bool = False) -> list[WebhookEndpoint]:
        """All of an owner, or of everybody, the oldest first."""
        ...

    async def change(
        self,
        endpoint_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        description: str | UnsetType | None = UNSET,
    ) -> WebhookEndpoint:
        """Change what is given. Raises WebhookNotFoundError."""
        ...

    async def rotate(self, endpoint_id: str, *, overlap_seconds: float) -> WebhookEndpoint:
        """Begin the next secret; the one before signs, too, for so long. Raises WebhookNotFoundError."""
        ...

    async def enable(self, endpoint_id: str) -> WebhookEndpoint:
        """Call it again: no failures any more, and what waits is due now. Raises WebhookNotFoundError."""
        ...

    async def delete(self, endpoint_id: str) -> None:
        """Remove it with its deliveries. Raises WebhookNotFoundError."""
        ...


class Sender(Protocol):
    """Hands deliveries of one kind to whoever they are for."""

    @property
    def seconds(self) -> float:
        """How long all of a try may take; what has not arrived by then is tried again."""
        ...

    async def send(self, delivery: Delivery) -> int | None:
        """Return once the receiver has it: HTTP's status, if there is one.

        Raises DeliveryFailedError, TransientError where another try may work, AudioTextError where none will.
        """
        ...


Senders = Mapping[DeliveryKind, Sender]


class RateLimiter(Protocol):
    """Counts requests by who sends them, over all API processes. Raises LimitsUnavailableError within half a second.

    `rates` are distinct, the shortest window first.
    """

    async def hit(self, who: str, rates: Sequence[Rate]) -> Hit:
        """Count a request if it is within every rate; one that is not may be counted in shorter windows.

        Of many at once, in any number of processes, exactly as many are within a rate as it says.
        """
        ...

    async def look(self, who: str, rates: Sequence[Rate]) -> tuple[Window, ...]:
        """How each rate stands, in their order. Nothing is counted."""
        ...


class KeyMatch(msgspec.Struct, frozen=True, kw_only=True):
    """A key that a secret belongs to. `replaced_at`: from then on the secret, which has a successor, holds no more."""

    key: ApiKey
    replaced_at: datetime | None = None


class KeyRepository(Protocol):
    """The table of keys. It knows SHA-256s of secrets (hexadecimal), and no secret. Raises DatabaseUnavailableError."""

    async def add(self, key: ApiKey, *, digest: str) -> None:
        """Store a new key, committed when this returns."""
        ...

    async def match(self, digest: str) -> KeyMatch | None:
        """The key whose secret, or its last one before a rotation, has this digest; revoked or expired ones, too."""
        ...

    async def get(self, key_id: str) -> ApiKey:
        """Read one. Raises KeyNotFoundError."""
        ...

    async def find(
        self, *, owner: str | None = None, limit: int, before: tuple[datetime, str] | None = None
    ) -> list[ApiKey]:
        """Keys of an owner, or of all, newest first (created_at, then id), strictly earlier than `before`."""
        ...

    async def revoke(self, key_id: str) -> ApiKey:
        """Note that it holds no more, once and for all; the key as it stands then. Raises KeyNotFoundError."""
        ...

    async def rotate(self, key_id: str, *, prefix: str, digest: str, overlap_seconds: float) -> ApiKey | None:
        """Give it a new secret; the one it had holds for so long still, and an earlier one no more.

        None, and nothing changed, when there is no such key, or it is revoked or expired.
        """
        ...

    async def mark_used(self, uses: Mapping[str, datetime], *, apart_seconds: float) -> None:
        """Note when keys were last used, by id, where what is known is older by `apart_seconds` or more."""
        ...


class Tickets(Protocol):
    """Tickets that were issued and not yet redeemed, over all API processes, by digest.

    Raises TicketsUnavailableError within 2 seconds.
    """

    async def keep(self, digest: str, caller: Caller, *, seconds: float) -> None:
        """Remember whose ticket it is, for so long."""
        ...

    async def take(self, digest: str) -> Caller | None:
        """Whose ticket it is: whoever asks first is told, and nobody after that."""
        ...


class Resources(msgspec.Struct, frozen=True, kw_only=True):
    """The outside world, open: what both processes need of it."""

    jobs: JobRepository
    batches: BatchRepository
    store: AudioStore
    queue: JobQueue
    events: EventStream


class OpenResources(Resources, frozen=True, kw_only=True):
    """All that a process opens: most services need no more than `Resources`."""

    keys: KeyRepository
    deliveries: DeliveryRepository
    webhooks: WebhookRepository


class ResumePoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where an earlier attempt stopped: continue at `position` seconds with these facts and segments behind.

    `position` is in the time of the recording, as the segments' times are, also when only a clip is wanted.
    `block_start`, in the same time, is where the block began that was being decoded (None: not known): blocks then end
    where they would have ended without the break.
    `next_window` is where in that block the model goes on, which then hears what it would have heard; without it, it
    hears the rest of the block by itself.
    `previous_tokens` are those that `domain.blocks.prompt_tokens` finds in the segments; with `keeps_prompt`, the
    job's own prompt goes before them. Where channels are transcribed
    separately, `channels` has the same for each of those that are: then its `next_segment_id` counts this channel's.
    `segments_ahead`: so many segments of the next window are stored already, and not told again.
    """

    position: float
    next_segment_id: int
    duration_after_vad: float
    language: str | None
    language_probability: float | None
    previous_tokens: Sequence[int] = ()
    keeps_prompt: bool = False
    block_start: float | None = None
    next_window: NextWindow | None = None
    segments_ahead: int = 0
    channels: "Mapping[int, ResumePoint]" = {}


class Engine(Protocol):
    """Turns a local audio file into segments."""

    def transcribe(
        self, audio: Path, *, model: str, options: TranscriptionOptions, resume: ResumePoint | None = None
    ) -> AsyncGenerator[TranscriptChunk, None]:
        """Yield chunks as they are decoded, the last with position == duration; never blocks the event loop.

        At least one chunk always comes, also for silence. Closing the generator stops the work at the next
        segment. Raises InvalidAudioError, EmptyAudioError, NoSoundTrackError; UnknownModelError, ModelUnavailableError;
        InvalidRequestError for a language that the model does not know and a clip outside the recording;
        TransientError, EngineMemoryError for lack of memory, EngineBrokenError when the process has to end.
        """
        ...

    async def preload(self, model: str) -> None:
        """Have the model in memory. Raises ModelUnavailableError."""
        ...


class Watchdog(Protocol):
    """Ends this process where a job or the engine cannot be ended in any other way. Whoever runs it starts another."""

    def watch(self, claim: Claim, *, seconds: float) -> None:
        """End the process, and the job with time_limit_exceeded, unless it is dismissed within `seconds` from now.

        Asked again, the newest word counts.
        """
        ...

    def dismiss(self, claim: Claim) -> None:
        """The job has ended in another way; not an error when it is not watched."""
        ...

    def retire(self) -> None:
        """Let the process end in good order, handing its other jobs back: its engine is of no use any more."""
        ...


class Mailer(Protocol):
    """Sends mail."""

    async def send(self, mail: Mail) -> int:
        """Return SMTP's code once a mail server has it. May be sent again: the message's id stays the same.

        Raises MailUnavailableError where mail is off, and DeliveryFailedError, final when the server refuses for good.
        """
        ...


class RemoteLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one exchange with somebody else's server may cost: all of its time, the bytes of its answer, its detours."""

    seconds: float
    max_bytes: int
    redirects: int = 0


class RemoteAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody else's server said. Names of headers are in lower case; a longer body was cut off."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RemoteResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The beginning of an answer, from `url` in the end; `pieces` is its body, as it comes and never decompressed."""

    url: WebUrl
    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


class RemoteHttp(Protocol):
    """Talks to addresses that clients name, and to no address that only we can reach.

    Every method may raise RemoteUrlError, PrivateAddressError, RemoteAnswerError and RemoteUnavailableError; what an
    answer's status means is for whoever asked.
    """

    async def check(self, url: str) -> None:
        """Raise RemoteUrlError or PrivateAddressError where nothing would be sent; what cannot be known now passes."""
        ...

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes, limits: RemoteLimits) -> RemoteAnswer:
        """Send a body. Redirects are answers like any other."""
        ...

    def stream(
        self, url: str, *, headers: Mapping[str, str] | None = None, limits: RemoteLimits
    ) -> AbstractAsyncContextManager[RemoteResponse]:
        """Get what is there, following redirects; `seconds` also bound the time in which the body is taken.

        `pieces` raise UploadTooLargeError when there are too many bytes, as does this where the server says so itself.
        """
        ...


class BucketResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An object of somebody else's bucket; `pieces` is its body, as it comes."""

    size_bytes: int
    content_type: str | None
    pieces: AsyncIterator[bytes]


class RemoteBuckets(Protocol):
    """Buckets beside our own, read with our keys."""

    def stream(self, bucket: str, key: str) -> AbstractAsyncContextManager[BucketResponse]:
        """Get an object.

        Raises RemoteRefusedError when it is not there or not for us, RemoteUnavailableError.
        """
        ...
