"""Everything that can go wrong, as one tree; each class owns its stable `code` and HTTP status.

    AudioTextError
    ├── ConfigurationError            the process cannot start with these settings
    ├── ChildFailedError              a process of the local stack does not start
    ├── StoppedError                  a signal ended the supervisor: not a failure
    ├── InvalidRequestError           what the client sent cannot be served
    │   ├── InvalidFieldError         one field of it, by its name
    │   ├── BatchRefusedError         some of its jobs cannot be accepted, so none is
    │   ├── PriorityTooHighError      jobs of that class go before everybody's
    │   ├── RecordingTooLongError
    │   ├── TooManyChannelsError
    │   ├── UnknownModelError
    │   ├── ForeignUrlError
    │   ├── UploadMissingError
    │   ├── UploadMismatchError
    │   │   └── ChecksumMismatchError
    │   ├── UploadNotFoundError       an upload in parts that was given up
    │   ├── UploadIncompleteError     one of which parts are missing
    │   ├── UploadTooLargeError
    │   ├── UnsupportedMediaError
    │   │   └── InvalidAudioError
    │   │       ├── EmptyAudioError
    │   │       └── NoSoundTrackError
    │   ├── UploadLinkError
    │   ├── RemoteUrlError            an address elsewhere that nobody goes to
    │   ├── PrivateAddressError       nor to this one
    │   ├── RemoteRefusedError        whoever is there says no
    │   ├── RemoteAnswerError         or what nobody can use
    │   ├── NotAcceptableError
    │   └── KeyInUrlError
    ├── DisabledError                 this installation does not do that
    │   ├── MailDisabledError
    │   ├── RemoteDisabledError       nothing is fetched from elsewhere
    │   └── WebhooksDisabledError     no key to make their secrets of
    ├── UnauthorizedError             no key, or one that is not known
    ├── MissingScopeError             a key that is good for something else
    │   ├── MissingSubmitScopeError
    │   ├── MissingReadScopeError
    │   └── MissingAdminScopeError
    ├── OriginRefusedError            a page that may not call
    ├── EdgeRefusedError              past the proxy that all have to pass
    ├── KeyNotFoundError
    ├── KeyStateError                 a key that is revoked or expired
    ├── JobNotFoundError
    ├── WebhookNotFoundError
    ├── WebhookStateError
    ├── TooManyWebhooksError
    ├── DeliveryNotFoundError
    ├── DeliveryFailedError           nobody took it this time
    ├── BatchNotFoundError
    ├── JobStateError
    ├── TooManyJobsError              for one live connection
    ├── LimitReachedError             a caller has used what is allowed
    │   ├── RateLimitedError
    │   ├── TooManyConnectionsError
    │   └── QuotaExceededError
    │       ├── ConcurrentJobsError
    │       └── AudioQuotaError
    ├── IdempotencyKeyReusedError     for another request
    ├── ClientGoneError               nobody is there to be answered
    ├── WaitTooLongError              the request ends, its job goes on
    ├── TranscriptChangedError        while it was read
    ├── ModelUnavailableError         a listed model that this worker cannot have
    ├── TimeLimitExceededError        the tier's limit ended the job
    ├── WorkerLostError               every attempt took its worker down
    ├── DeadlinePassedError           nobody began the job in time
    ├── LeaseLostError                somebody else owns the job now
    ├── StreamGapError                events were lost: read the row again
    ├── TransientError                trying again later may work
    │   ├── DatabaseUnavailableError
    │   │   └── DatabaseNotMigratedError
    │   ├── QueueUnavailableError
    │   ├── EventsUnavailableError
    │   ├── TicketsUnavailableError
    │   ├── StoreUnavailableError
    │   │   └── DiskFullError         a disk of ours, not the store's server
    │   ├── LimitsUnavailableError    who asks cannot be counted
    │   ├── TierFullError             too many jobs wait
    │   ├── RemoteUnavailableError    somebody else's server
    │   └── EngineFailedError         the model broke off
    │       ├── EngineMemoryError
    │       └── EngineBrokenError     and nothing more can be decoded in this process
    └── ClientError                   what a client of a running service meets
        ├── ServerUnreachableError
        ├── ServerRefusedError        it answered, and said no
        └── JobFailedError            it tried, and the job ended without a transcript

The docstring of a class is its default message: a sentence for a person, saying what to do.

Longer than other modules, because the tree is one: what clients may get is seen, and kept apart, in one place. Cut by
area, its branches would lie in pieces: what is worth another try, for one, comes from every area.
"""

import inspect
from collections.abc import Mapping
from typing import ClassVar


class AudioTextError(Exception):
    """Something went wrong inside the service."""

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500
    request_id: str | None = None
    """Names the request in the logs of the service that refused it: known to its clients."""

    def __init__(self, detail: str | None = None, *, retry_after_seconds: float | None = None) -> None:
        self.detail = detail or inspect.cleandoc(type(self).__doc__ or "")
        # When to try again, where that may help and can be told.
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.detail)


class ConfigurationError(AudioTextError):
    """The settings are not usable."""

    code = "configuration_error"


class ChildFailedError(AudioTextError):
    """A process of the local stack does not start."""

    code = "child_failed"


class StoppedError(AudioTextError):
    """A signal asked this process to stop; `exit_code` is what it ends with."""

    code = "stopped"

    def __init__(self, detail: str | None = None, *, exit_code: int = 0) -> None:
        super().__init__(detail)
        self.exit_code = exit_code


class InvalidRequestError(AudioTextError):
    """The request cannot be served as it was sent."""

    code = "invalid_request"
    http_status = 400


class InvalidFieldError(InvalidRequestError):
    """One field of the request is not usable; `field` is its name, as the client spells it."""

    code = "invalid_field"

    def __init__(self, detail: str | None = None, *, field: str | None = None) -> None:
        super().__init__(detail)
        self.field = field


class BatchRefusedError(InvalidRequestError):
    """Some of these jobs cannot be accepted, and none was: `errors` says which, counted from 0, and why."""

    code = "batch_refused"

    def __init__(self, detail: str | None = None, *, refusals: Mapping[int, AudioTextError] | None = None) -> None:
        super().__init__(detail)
        self.refusals = dict(refusals or {})


class PriorityTooHighError(InvalidRequestError):
    """This key may not submit jobs of that priority."""

    code = "priority_too_high"
    http_status = 403


class RecordingTooLongError(InvalidRequestError):
    """The recording is too long to be waited for: submit it as a job."""

    code = "recording_too_long"


class TooManyChannelsError(InvalidRequestError):
    """The recording has too many channels to be transcribed separately: mix them, or send fewer."""

    code = "too_many_channels"

    @classmethod
    def of(cls, count: int, most: int) -> "TooManyChannelsError":
        """Tell how many there are, and how many there may be."""
        return cls(
            f"The recording has {count} channels, and this service transcribes at most {most} separately: "
            'submit it with `channels` "mixed", or with fewer channels.'
        )


class UnknownModelError(InvalidRequestError):
    """This model is not listed in the service's settings."""

    code = "unknown_model"


class ForeignUrlError(InvalidRequestError):
    """The url was not handed out by this service: ask for a presigned URL first (others need remote.enabled)."""

    code = "foreign_url"


class UploadMissingError(InvalidRequestError):
    """Nothing was uploaded to this url: PUT the file there, or complete its upload, before submitting the job."""

    code = "upload_missing"
    http_status = 404


class UploadMismatchError(InvalidRequestError):
    """The upload is not what was declared when its URL was asked for."""

    code = "upload_mismatch"


class ChecksumMismatchError(UploadMismatchError):
    """The file has another SHA-256 than was declared: it was damaged on its way, or it is another file."""

    code = "checksum_mismatch"


class UploadNotFoundError(InvalidRequestError):
    """There is no such upload any more: it was aborted, or not completed in time. Begin a new one."""

    code = "upload_not_found"
    http_status = 404


class UploadIncompleteError(InvalidRequestError):
    """Parts of the upload are missing: send them, then complete it."""

    code = "upload_incomplete"
    http_status = 409


class UploadTooLargeError(InvalidRequestError):
    """The file is larger than this service accepts."""

    code = "upload_too_large"
    http_status = 413


class UnsupportedMediaError(InvalidRequestError):
    """This kind of file is not accepted."""

    code = "unsupported_media"
    http_status = 415


class InvalidAudioError(UnsupportedMediaError):
    """The file could not be read as audio: it is damaged or not an audio file."""

    code = "invalid_audio"


class EmptyAudioError(InvalidAudioError):
    """The file is empty."""

    code = "empty_audio"
    http_status = 400


class NoSoundTrackError(InvalidAudioError):
    """The file has no sound track."""

    code = "no_sound_track"


class UploadLinkError(InvalidRequestError):
    """This upload link has expired or was altered: ask for a new one."""

    code = "upload_link_invalid"
    http_status = 403


class RemoteUrlError(InvalidRequestError):
    """The address elsewhere is not usable: it has to be an absolute https URL, without credentials."""

    code = "remote_url"


class PrivateAddressError(InvalidRequestError):
    """The address leads into a private network, or to what only this machine can reach: nothing is sent there."""

    code = "private_address"


class RemoteRefusedError(InvalidRequestError):
    """The server that the address leads to does not give this file away."""

    code = "remote_refused"


class RemoteAnswerError(InvalidRequestError):
    """The server that the address leads to answers what cannot be used."""

    code = "remote_answer"


class NotAcceptableError(InvalidRequestError):
    """What the Accept header asks for is not offered here."""

    code = "not_acceptable"
    http_status = 406


class KeyInUrlError(InvalidRequestError):
    """A key has no place in a URL, which logs and histories keep: send it in a header, and have this one revoked."""

    code = "key_in_url"


class DisabledError(AudioTextError):
    """This is not set up on this service, and no other try helps before its operator has done so."""

    code = "disabled"
    http_status = 403


class MailDisabledError(DisabledError):
    """Mail is not set up on this service: its operator has to set mail.host."""

    code = "mail_disabled"


class RemoteDisabledError(DisabledError):
    """This service fetches nothing from elsewhere: upload the file, or have its operator set remote.enabled."""

    code = "remote_disabled"


class WebhooksDisabledError(DisabledError):
    """Webhooks are not set up on this service: its operator has to set AUDIO_TEXT_WEBHOOKS_SIGNING_KEY."""

    code = "webhooks_disabled"


class UnauthorizedError(AudioTextError):
    """This takes a key that the service knows: send it as `Authorization: Bearer KEY`."""

    code = "unauthorized"
    http_status = 401


class MissingScopeError(AudioTextError):
    """This key is not good for that."""

    code = "missing_scope"
    http_status = 403


class MissingSubmitScopeError(MissingScopeError):
    """This takes a key with the scope `submit`."""

    code = "missing_scope_submit"


class MissingReadScopeError(MissingScopeError):
    """This takes a key with the scope `read`."""

    code = "missing_scope_read"


class MissingAdminScopeError(MissingScopeError):
    """This is for operators: it takes a key with the scope `admin`, or the operator's token."""

    code = "missing_scope_admin"


class OriginRefusedError(AudioTextError):
    """This service may be called from pages of certain origins only, and by programs that send a key."""

    code = "origin_refused"
    http_status = 403


class EdgeRefusedError(AudioTextError):
    """This service is reached through its public address only."""

    code = "edge_refused"
    http_status = 403


class KeyNotFoundError(AudioTextError):
    """There is no key with this id."""

    code = "key_not_found"
    http_status = 404


class KeyStateError(AudioTextError):
    """This key is revoked or expired, and stays so: create another."""

    code = "key_state"
    http_status = 409


class JobNotFoundError(AudioTextError):
    """There is no job with this id."""

    code = "job_not_found"
    http_status = 404


class WebhookNotFoundError(AudioTextError):
    """There is no webhook with this id."""

    code = "webhook_not_found"
    http_status = 404


class WebhookStateError(AudioTextError):
    """The webhook is paused: enable it first."""

    code = "webhook_state"
    http_status = 409


class TooManyWebhooksError(AudioTextError):
    """There are as many webhooks as one owner may have: delete one first."""

    code = "too_many_webhooks"
    http_status = 409


class DeliveryNotFoundError(AudioTextError):
    """There is no delivery with this id."""

    code = "delivery_not_found"
    http_status = 404


class DeliveryFailedError(AudioTextError):
    """The receiver did not take the delivery.

    `status_code` is its answer's, None without one. With `is_final`, trying again is of no use; with `is_gone`, it
    wants no other either.
    """

    code = "delivery_failed"

    def __init__(self, detail: str | None = None, *, status_code: int | None = None) -> None:
        super().__init__(detail)
        self.status_code = status_code
        self.is_final = False
        self.is_gone = False


class BatchNotFoundError(AudioTextError):
    """There is no batch with this id."""

    code = "batch_not_found"
    http_status = 404


class JobStateError(AudioTextError):
    """The job is not in a state that allows this."""

    code = "job_state"
    http_status = 409


class TooManyJobsError(AudioTextError):
    """One connection cannot follow so many jobs: open another."""

    code = "too_many_jobs"
    http_status = 400


class LimitReachedError(AudioTextError):
    """You have used what is allowed here: wait, or ask for more."""

    code = "limit_reached"
    http_status = 429


class RateLimitedError(LimitReachedError):
    """Too many requests: wait as long as Retry-After says, and send fewer."""

    code = "rate_limited"


class TooManyConnectionsError(LimitReachedError):
    """Too many sockets and streams are open: close some, or follow several jobs over one."""

    code = "too_many_connections"


class QuotaExceededError(LimitReachedError):
    """The quota of this key is used up."""

    code = "quota_exceeded"


class ConcurrentJobsError(QuotaExceededError):
    """This key has as many jobs waiting or running as it may: submit again when some of them are over."""

    code = "concurrent_jobs_exceeded"


class AudioQuotaError(QuotaExceededError):
    """This key has not so much audio left for today: it may have more after midnight, UTC."""

    code = "audio_quota_exceeded"


class IdempotencyKeyReusedError(AudioTextError):
    """Something else was submitted under this Idempotency-Key before: send a new key with a new request."""

    code = "idempotency_key_reused"
    http_status = 409


class ClientGoneError(AudioTextError):
    """The client closed the connection before it was answered."""

    code = "client_gone"
    http_status = 499


class WaitTooLongError(AudioTextError):
    """The transcript is not ready yet, and this request cannot wait any longer: the job goes on."""

    code = "wait_too_long"
    http_status = 504


class TranscriptChangedError(AudioTextError):
    """The transcript was deleted or begun anew while it was read: ask for it again."""

    code = "transcript_changed"
    http_status = 409


class ModelUnavailableError(AudioTextError):
    """The model could not be loaded on this worker."""

    code = "model_unavailable"


class TimeLimitExceededError(AudioTextError):
    """The job took longer than its tier allows."""

    code = "time_limit_exceeded"


class WorkerLostError(AudioTextError):
    """Every worker that tried this job stopped without a word: the recording may be what brings them down."""

    code = "worker_lost"


class DeadlinePassedError(AudioTextError):
    """No worker was free before the deadline of this job: it was not begun."""

    code = "deadline_passed"


class LeaseLostError(AudioTextError):
    """Another worker owns this job now, or it was cancelled."""

    code = "lease_lost"


class StreamGapError(AudioTextError):
    """Some live events of this job are gone: its row has the current state."""

    code = "stream_gap"


class TransientError(AudioTextError):
    """A part of the service is not reachable just now: try again in a few seconds."""

    code = "unavailable"
    http_status = 503


class DatabaseUnavailableError(TransientError):
    """The database is not reachable just now: try again in a few seconds."""

    code = "database_unavailable"


class DatabaseNotMigratedError(DatabaseUnavailableError):
    """The database lacks what this version of the service needs: run `audio-text migrate`."""

    code = "database_not_migrated"


class QueueUnavailableError(TransientError):
    """The queue is not reachable just now: try again in a few seconds."""

    code = "queue_unavailable"


class EventsUnavailableError(TransientError):
    """Live events are not available just now: try again in a few seconds."""

    code = "events_unavailable"


class TicketsUnavailableError(TransientError):
    """Tickets are not available just now: try again in a few seconds, or send a key in a header."""

    code = "tickets_unavailable"


class StoreUnavailableError(TransientError):
    """The audio store is not reachable just now: try again in a few seconds."""

    code = "store_unavailable"


class DiskFullError(StoreUnavailableError):
    """There is no room on the disk of the service: whoever runs it has to free some, and then it can be tried again."""

    code = "disk_full"
    http_status = 507


class LimitsUnavailableError(TransientError):
    """Requests cannot be counted just now, and none is let through uncounted: try again in a few seconds."""

    code = "limits_unavailable"


class TierFullError(TransientError):
    """Too many jobs wait for this kind of model already: submit again later, or with another model."""

    code = "tier_full"


class RemoteUnavailableError(TransientError):
    """The server that the address leads to cannot be reached just now."""

    code = "remote_unavailable"


class EngineFailedError(TransientError):
    """The speech engine broke off while it was working on the recording."""

    code = "engine_failed"


class EngineMemoryError(EngineFailedError):
    """There was not enough memory for this job: run fewer jobs at once or use a smaller model."""

    code = "out_of_memory"


class EngineBrokenError(EngineFailedError):
    """The graphics processor reported a fault: this worker process has to be started again."""

    code = "engine_broken"


class ClientError(AudioTextError):
    """The service could not be used."""

    code = "client_error"


class ServerUnreachableError(ClientError):
    """The service cannot be reached: start it with `just up`, or name another with --server."""

    code = "server_unreachable"


class ServerRefusedError(ClientError):
    """The service refused; `status` is HTTP's, None where the answer could not be understood."""

    code = "server_refused"
    status: int | None = None


class JobFailedError(ClientError):
    """The job ended without a transcript; `error_code` is why, None where it was cancelled."""

    code = "job_failed"

    def __init__(self, detail: str | None = None, *, error_code: str | None = None) -> None:
        super().__init__(detail)
        self.error_code = error_code
