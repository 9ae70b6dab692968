"""What the services need from the outside world, as Protocols. Adapters provide it; tests hold fakes to it.

    the database    jobs           the table of jobs: what clients and operators ask of it, and the two parts below
                    claims         what workers write, each write under its claim
                    upkeep         what nobody else brings to its end, and what may be cleaned up
                    batches        jobs that were submitted together
                    keys           API keys, by the digests of their secrets
                    webhooks       endpoints of receivers
                    deliveries     what goes out to somebody, tried until it arrives; whoever sends it
    Redis           job_queue      wakes the workers of a tier
                    event_stream   what happens to jobs, as it happens
                    waiters        who waits for a job with an open request
                    tickets        what opens a live connection instead of a key
                    rate_limiter   who asked how often
    recordings      audio_store    where they lie between upload and transcript
                    probe          looks into them without decoding
                    engine         turns them into text
    other people's  remote         addresses that clients name, and buckets beside our own
                    mailer         a mail server
    the process     watchdog       ends it where a job cannot be ended in any other way
                    resources      all that is open, in one value

A method says in its docstring all that a service may rely on; there is no code here.
"""

from audio_text.ports.audio_store import AudioStore, StoredObject, UploadReceiver, UploadTarget
from audio_text.ports.batches import BatchRepository
from audio_text.ports.claims import BroughtRecording, Claim, JobClaims, Released
from audio_text.ports.deliveries import DeliveryRepository, DeliveryResult, PauseRule, Recorded, Sender, Senders
from audio_text.ports.engine import Engine, ResumePoint
from audio_text.ports.event_stream import EventStream, Subscription
from audio_text.ports.job_queue import JobQueue
from audio_text.ports.jobs import Again, JobRepository, Notes
from audio_text.ports.keys import KeyMatch, KeyRepository
from audio_text.ports.mailer import Mailer
from audio_text.ports.probe import AudioProbe
from audio_text.ports.rate_limiter import RateLimiter
from audio_text.ports.remote import (
    BucketResponse,
    RemoteAnswer,
    RemoteBuckets,
    RemoteHttp,
    RemoteLimits,
    RemoteResponse,
)
from audio_text.ports.resources import OpenResources, Resources
from audio_text.ports.tickets import Tickets
from audio_text.ports.upkeep import JobUpkeep
from audio_text.ports.waiters import Waiters
from audio_text.ports.watchdog import Watchdog
from audio_text.ports.webhooks import WebhookRepository

__all__ = [
    "Again",
    "AudioProbe",
    "AudioStore",
    "BatchRepository",
    "BroughtRecording",
    "BucketResponse",
    "Claim",
    "DeliveryRepository",
    "DeliveryResult",
    "Engine",
    "EventStream",
    "JobClaims",
    "JobQueue",
    "JobRepository",
    "JobUpkeep",
    "KeyMatch",
    "KeyRepository",
    "Mailer",
    "Notes",
    "OpenResources",
    "PauseRule",
    "RateLimiter",
    "Recorded",
    "Released",
    "RemoteAnswer",
    "RemoteBuckets",
    "RemoteHttp",
    "RemoteLimits",
    "RemoteResponse",
    "Resources",
    "ResumePoint",
    "Sender",
    "Senders",
    "StoredObject",
    "Subscription",
    "Tickets",
    "UploadReceiver",
    "UploadTarget",
    "Waiters",
    "Watchdog",
    "WebhookRepository",
]
