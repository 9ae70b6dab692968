"""The outside world, open."""

import msgspec

from audio_text.ports.audio_store import AudioStore
from audio_text.ports.batches import BatchRepository
from audio_text.ports.deliveries import DeliveryRepository
from audio_text.ports.event_stream import EventStream
from audio_text.ports.job_queue import JobQueue
from audio_text.ports.jobs import JobRepository
from audio_text.ports.keys import KeyRepository
from audio_text.ports.webhooks import WebhookRepository


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
