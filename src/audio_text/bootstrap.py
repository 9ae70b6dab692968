"""Composition root: the only place where services meet adapters. Everything opens here and is closed here."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import gettempdir

import msgspec

from audio_text.adapters.batch_table import PiccoloBatchRepository
from audio_text.adapters.database import open_database
from audio_text.adapters.deliveries import PiccoloDeliveryRepository
from audio_text.adapters.disk_store import DiskAudioStore
from audio_text.adapters.event_stream import open_event_stream
from audio_text.adapters.guarded_http import open_guarded_http
from audio_text.adapters.job_queue import open_job_queue
from audio_text.adapters.key_table import PiccoloKeyRepository
from audio_text.adapters.mailer import SmtpMailer
from audio_text.adapters.migrations import migrate as run_migrations
from audio_text.adapters.probe import PyAvProbe
from audio_text.adapters.rate_limiter import open_rate_limiter
from audio_text.adapters.remote_buckets import open_remote_buckets
from audio_text.adapters.repository import PiccoloJobRepository
from audio_text.adapters.s3_store import open_s3_store
from audio_text.adapters.tickets import open_tickets
from audio_text.adapters.waiters import open_waiters
from audio_text.adapters.webhook_endpoints import PiccoloWebhookRepository
from audio_text.adapters.webhook_sender import WebhookSender
from audio_text.domain.delivery import DeliveryKind
from audio_text.ports import AudioStore, KeyRepository, OpenResources, Resources, UploadReceiver
from audio_text.services.access import AccessService
from audio_text.services.backlog import BacklogService
from audio_text.services.batches import BatchService
from audio_text.services.dead_letters import DeadLetterService
from audio_text.services.deliverer import Deliverer
from audio_text.services.ingest import IngestService
from audio_text.services.lifecycle import LifecycleService
from audio_text.services.limiting import LimitingService
from audio_text.services.live import LiveService
from audio_text.services.mailing import MailingService, MailSender
from audio_text.services.multipart import MultipartService
from audio_text.services.ownership import OwnershipService
from audio_text.services.submission import SubmissionService
from audio_text.services.transcripts import TranscriptService
from audio_text.services.uploads import UploadService
from audio_text.services.waiting import WaitingService
from audio_text.services.webhooks import WebhookService
from audio_text.settings import Settings, StoreKind


@asynccontextmanager
async def open_resources(settings: Settings, *, name: str, live: bool) -> AsyncGenerator[OpenResources, None]:
    """Open database, store, queue and event stream; none of them has to be up yet.

    Connections carry `name`, so that an operator sees whose they are. `live` starts the shared reader of events.
    """
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            open_database(settings.database, settings.secrets.database_password, application_name=name)
        )
        queue = await stack.enter_async_context(
            open_job_queue(settings.redis, settings.secrets.redis_password, client_name=name)
        )
        events = await stack.enter_async_context(
            open_event_stream(
                settings.redis, settings.secrets.redis_password, settings.events, client_name=name, live=live
            )
        )
        store = await stack.enter_async_context(_open_store(settings))
        yield OpenResources(
            jobs=PiccoloJobRepository(database),
            store=store,
            queue=queue,
            events=events,
            keys=PiccoloKeyRepository(database),
            deliveries=PiccoloDeliveryRepository(database),
            webhooks=PiccoloWebhookRepository(database),
            batches=PiccoloBatchRepository(database),
        )


@asynccontextmanager
async def _open_store(settings: Settings) -> AsyncGenerator[AudioStore, None]:
    match settings.store.kind:
        case StoreKind.disk:
            yield open_disk_store(settings)
        case StoreKind.s3:
            async with open_s3_store(
                msgspec.structs.replace(settings.s3, lifecycle_days=lifecycle_days(settings)),
                access_key=settings.secrets.s3_access_key,
                secret_key=settings.secrets.s3_secret_key,
                cors_origins=settings.api.cors_origins,
                temp_folder=temp_folder(settings),
                reserve_bytes=settings.store.reserve_bytes,
            ) as store:
                yield store


def open_disk_store(settings: Settings) -> DiskAudioStore:
    """The store of a single machine; its upload links point at this API."""
    base_url = settings.api.public_url or f"http://{settings.api.host}:{settings.api.port}"
    key = settings.secrets.disk_signing_key.encode()
    return DiskAudioStore(
        Path(settings.disk.folder), base_url=base_url, signing_key=key, reserve_bytes=settings.store.reserve_bytes
    )


def upload_secret(settings: Settings) -> str:
    """What the ids of uploads in parts are signed with: the same in all API processes, and whose the store is."""
    secrets = settings.secrets
    return secrets.disk_signing_key if settings.store.kind is StoreKind.disk else secrets.s3_secret_key


def lifecycle_days(settings: Settings) -> int:
    """At which age the bucket removes a recording by itself; 0, never, where some are kept as long as their jobs."""
    return 0 if settings.job.keeps_audio_for_ever else settings.s3.lifecycle_days


def temp_folder(settings: Settings) -> Path:
    """Where downloads lie while they are transcribed."""
    return Path(settings.worker.temp_folder or gettempdir())


async def migrate(settings: Settings, *, patience_seconds: float) -> list[str]:
    """Bring the database up to date; returns the names of the migrations that were applied.

    A server that is not up is waited for as long as the patience lasts, and another migrator, too.
    """
    return await run_migrations(
        settings.database, settings.secrets.database_password, patience_seconds=patience_seconds
    )


@asynccontextmanager
async def open_ingest(resources: Resources, settings: Settings) -> AsyncGenerator[IngestService, None]:
    """What a worker needs to bring recordings that lie elsewhere. Raises ConfigurationError."""
    async with AsyncExitStack() as stack:
        buckets = None
        if settings.remote.enabled and settings.remote.allowed_buckets:
            keys = settings.secrets
            buckets = await stack.enter_async_context(
                open_remote_buckets(settings.s3, access_key=keys.s3_access_key, secret_key=keys.s3_secret_key)
            )
        http = await stack.enter_async_context(open_guarded_http(settings.remote))
        yield IngestService(resources, http=http, buckets=buckets, probe=PyAvProbe(), settings=settings)


def mail_sender(settings: Settings, resources: Resources) -> MailSender:
    """What hands mails to the mail server, in workers."""
    mailer = SmtpMailer(settings.mail, password=settings.secrets.mail_password)
    return MailSender(jobs=resources.jobs, mailer=mailer, timeout_seconds=settings.mail.timeout_seconds)


class ApiServices(msgspec.Struct, frozen=True, kw_only=True):
    """The use cases behind the API's routes, and the resources they stand on (for health checks)."""

    access: AccessService
    uploads: UploadService
    multipart: MultipartService
    submission: SubmissionService
    ownership: OwnershipService
    lifecycle: LifecycleService
    batches: BatchService
    transcripts: TranscriptService
    live: LiveService
    backlog: BacklogService
    mailing: MailingService
    waiting: WaitingService
    limiting: LimitingService
    dead_letters: DeadLetterService
    webhooks: WebhookService
    resources: Resources
    receiver: UploadReceiver | None


@asynccontextmanager
async def open_api_services(settings: Settings) -> AsyncGenerator[ApiServices, None]:
    """Everything the API process needs while it lives."""
    async with (
        open_resources(settings, name="audio-text-api", live=True) as resources,
        open_access(resources.keys, settings, client_name="audio-text-api") as access,
        _open_waiting(resources, settings) as waiting,
        open_rate_limiter(settings.redis, settings.secrets.redis_password, client_name="audio-text-api") as limiter,
        open_guarded_http(settings.remote) as http,
    ):
        backlog = BacklogService(resources.jobs, refresh_seconds=settings.events.position_seconds)
        submission = SubmissionService(resources, probe=PyAvProbe(), settings=settings)
        lifecycle = LifecycleService(resources, settings=settings, admission=submission.admission)
        yield ApiServices(
            access=access,
            uploads=UploadService(store=resources.store, settings=settings.upload),
            multipart=MultipartService(store=resources.store, settings=settings.upload, secret=upload_secret(settings)),
            ownership=OwnershipService(jobs=resources.jobs),
            submission=submission,
            lifecycle=lifecycle,
            batches=BatchService(resources, submission=submission, lifecycle=lifecycle),
            transcripts=TranscriptService(jobs=resources.jobs),
            live=LiveService(jobs=resources.jobs, events=resources.events, backlog=backlog),
            backlog=backlog,
            mailing=MailingService(
                jobs=resources.jobs, deliveries=resources.deliveries, limiter=limiter, settings=settings.mail
            ),
            dead_letters=DeadLetterService(resources, settings=settings),
            webhooks=WebhookService(resources, http=http, settings=settings),
            waiting=waiting,
            limiting=LimitingService(limiter, settings=settings.limits),
            resources=resources,
            receiver=resources.store if isinstance(resources.store, DiskAudioStore) else None,
        )


@asynccontextmanager
async def _open_waiting(resources: Resources, settings: Settings) -> AsyncGenerator[WaitingService, None]:
    async with (
        open_waiters(settings.redis, settings.secrets.redis_password, client_name="audio-text-api") as waiters,
        asyncio.TaskGroup() as background,
    ):
        service = WaitingService(
            resources, waiters=waiters, probe=PyAvProbe(), settings=settings, background=background
        )
        yield service
        service.close()


@asynccontextmanager
async def open_access(keys: KeyRepository, settings: Settings, *, client_name: str) -> AsyncGenerator[AccessService]:
    """Tell callers by these keys, and note when each was used."""
    async with (
        open_tickets(settings.redis, settings.secrets.redis_password, client_name=client_name) as tickets,
        asyncio.TaskGroup() as background,
    ):
        access = AccessService(
            keys, tickets=tickets, settings=settings.access, operator_token=settings.secrets.operator_token
        )
        tasks = [
            background.create_task(access.known.write_uses()),
            background.create_task(access.watch.look_for_ever()),
        ]
        yield access
        for task in tasks:
            task.cancel()
        await access.known.write_last_uses()


@asynccontextmanager
async def open_keys(settings: Settings) -> AsyncGenerator[AccessService]:
    """What a command about keys needs of the service: the database alone."""
    name, password = "audio-text-operator", settings.secrets.database_password
    async with (
        open_database(settings.database, password, application_name=name) as database,
        open_access(PiccoloKeyRepository(database), settings, client_name=name) as access,
    ):
        yield access


@asynccontextmanager
async def open_deliverer(resources: OpenResources, settings: Settings) -> AsyncGenerator[Deliverer, None]:
    """What hands stored deliveries out, over connections of its own."""
    async with open_guarded_http(settings.remote) as http:
        webhooks = WebhookSender(
            resources.webhooks,
            http=http,
            signing_key=settings.secrets.webhooks_signing_key,
            timeout_seconds=settings.webhooks.timeout_seconds,
        )
        senders = {DeliveryKind.webhook: webhooks, DeliveryKind.mail: mail_sender(settings, resources)}
        yield Deliverer(resources.deliveries, senders=senders, settings=settings.webhooks)


@asynccontextmanager
async def open_dead_letters(settings: Settings) -> AsyncGenerator[DeadLetterService, None]:
    """What an operator's command needs of the service."""
    async with open_resources(settings, name="audio-text-operator", live=False) as resources:
        yield DeadLetterService(resources, settings=settings)
