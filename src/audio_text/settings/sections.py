"""The shape of every setting: one frozen Struct per table of settings.toml.

Longer than other modules, because it is read beside that one file.
"""

from difflib import get_close_matches
from enum import StrEnum
from ipaddress import ip_address, ip_network
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from audio_text.domain.access import Caller, KeyLimits
from audio_text.domain.addresses import Network
from audio_text.domain.job import Priority, Retention
from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.tiers import FALLBACK_TIER, RetryPolicy
from audio_text.domain.usage import SECONDS_PER_MINUTE, Allowance, Rate
from audio_text.errors import UnknownModelError

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
Port = Annotated[int, Meta(ge=1, le=65_535)]
Name = Annotated[str, Meta(min_length=1)]
Url = Annotated[
    str, Meta(pattern=r"^(https?://\S+)?\Z", description="an address that begins with http:// or https://, or empty")
]
ComputeType = Literal[
    "default",
    "auto",
    "int8",
    "int8_float32",
    "int8_float16",
    "int8_bfloat16",
    "int16",
    "float16",
    "bfloat16",
    "float32",
]
"""CTranslate2's own list."""


SECONDS_PER_DAY = 86_400
MOST_SECONDS = 2**31 - 1
"""What the column holds: 68 years."""

MOST_DAYS = MOST_SECONDS // SECONDS_PER_DAY


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of settings.toml: immutable, every key known."""


class ApiSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    host: Name
    port: Port
    public_url: Url
    processes: Positive
    docs: bool
    cors_origins: tuple[str, ...]
    drain_seconds: Positive
    max_header_bytes: Annotated[int, Meta(ge=8_192, le=1_048_576)]  # below, no browser's headers would fit
    header_seconds: Seconds


class AccessSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    open: bool
    cache_seconds: Annotated[float, Meta(ge=0, le=300)]
    ticket_seconds: Annotated[float, Meta(ge=1, le=600)]
    trusted_proxies: tuple[str, ...]
    allowed_origins: tuple[str, ...]
    edge_header: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]+\Z", description="the name of a header")]
    security_headers: bool
    hsts_seconds: Annotated[int, Meta(ge=0, le=MOST_SECONDS)]


class LimitSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What each key, or each address without one, may use; 0: any number. What a key says of itself counts first."""

    requests_per_minute: Annotated[int, Meta(ge=0, le=100_000)]
    requests_per_hour: Annotated[int, Meta(ge=0, le=100_000)]
    concurrent_jobs: Annotated[int, Meta(ge=0)]
    audio_seconds_per_day: Annotated[int, Meta(ge=0)]
    refused_per_minute: Annotated[int, Meta(ge=0, le=100_000)]
    connections_per_key: Annotated[int, Meta(ge=0)]
    highest_priority: Priority
    fail_open: bool

    def allowance(self, of_key: KeyLimits) -> Allowance:
        """Give what a caller may use."""
        return Allowance(
            requests_per_minute=_first(of_key.requests_per_minute, self.requests_per_minute),
            requests_per_hour=_first(of_key.requests_per_hour, self.requests_per_hour),
            concurrent_jobs=_first(of_key.concurrent_jobs, self.concurrent_jobs),
            audio_seconds_per_day=_first(of_key.audio_seconds_per_day, self.audio_seconds_per_day),
        )

    @property
    def refused_rates(self) -> tuple[Rate, ...]:
        """How often keys may be refused to one address."""
        return (Rate(self.refused_per_minute, SECONDS_PER_MINUTE),) if self.refused_per_minute else ()

    def priority(self, caller: Caller) -> Priority:
        """Give the highest class of jobs that the caller may submit; without keys, everybody may submit any."""
        if caller.key_id is None:
            return Priority.high
        return caller.limits.highest_priority or self.highest_priority


def _first(of_key: int | None, of_all: int) -> int | None:
    return (of_all if of_key is None else of_key) or None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there; a name that is not known to be so is not."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class UploadSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    max_bytes: Positive
    extensions: tuple[str, ...]
    expires_seconds: Positive


class RemoteSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    enabled: bool
    allowed_buckets: tuple[str, ...]
    ports: tuple[Port, ...]
    allow_http: bool
    allowed_networks: tuple[str, ...]
    ca_file: str
    connect_seconds: Seconds
    read_seconds: Seconds
    total_seconds: Seconds
    redirects: Annotated[int, Meta(ge=0, le=20)]

    @property
    def networks(self) -> tuple[Network, ...]:
        """The allowed networks. Raises ValueError."""
        return tuple(ip_network(text) for text in self.allowed_networks)


class JobSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    default_model: Name
    keep_audio: bool
    keep_failed_audio_days: Annotated[int, Meta(ge=0, le=MOST_DAYS)]
    expires_seconds: Annotated[int, Meta(ge=0, le=MOST_SECONDS)]
    max_expires_seconds: Annotated[int, Meta(ge=1, le=MOST_SECONDS)]
    idempotency_seconds: Annotated[int, Meta(ge=1, le=MOST_SECONDS)]
    reuse: bool
    list_limit: Annotated[int, Meta(ge=1, le=1_000)]

    @property
    def keeps_audio_for_ever(self) -> bool:
        """Whether some recordings stay as long as their jobs, whatever their age."""
        return self.keep_audio or not self.keep_failed_audio_days

    @property
    def retention(self) -> Retention:
        """How long jobs that are over keep their recordings."""
        return Retention(
            completed_seconds=None if self.keep_audio else 0.0,
            retryable_seconds=self.keep_failed_audio_days * SECONDS_PER_DAY or None,
        )


class OpenaiSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    longest_audio_seconds: Seconds
    longest_wait_seconds: Seconds
    grace_seconds: Seconds
    aliases: dict[str, str]


class DatabaseSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    host: Name
    port: Port
    name: Name
    user: Name
    pool_min: Positive
    pool_max: Positive
    timeout_seconds: Seconds


class RedisSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    host: Name
    port: Port
    queue_db: Annotated[int, Meta(ge=0)]
    events_db: Annotated[int, Meta(ge=0)]


class EventSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    retention_seconds: Positive
    log_length: Positive
    live_length: Positive
    follower_buffer: Positive
    ping_seconds: Seconds
    send_timeout_seconds: Seconds
    position_seconds: Seconds
    jobs_per_connection: Annotated[int, Meta(ge=1, le=200)]  # their cursors travel in one header


class StoreKind(StrEnum):
    disk = "disk"
    s3 = "s3"


class StoreSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    kind: StoreKind
    orphan_days: Annotated[int, Meta(ge=1, le=MOST_DAYS)]
    reserve_bytes: Annotated[int, Meta(ge=0)]


class DiskSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    folder: Name


class S3Settings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    endpoint: Url
    public_endpoint: Url
    region: Name
    bucket: Name
    lifecycle_days: Annotated[int, Meta(ge=0, le=MOST_DAYS)]


class WorkerMode(StrEnum):
    default = "default"
    multi_queue = "multi-queue"


class WorkerSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    mode: WorkerMode
    default_concurrency: Positive
    recycle_after_jobs: Annotated[int, Meta(ge=0)]
    lease_seconds: Annotated[float, Meta(ge=3)]
    shutdown_seconds: Seconds
    temp_folder: str


class EngineSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    device: Literal["cpu", "cuda", "auto"]
    compute_type: ComputeType
    cpu_threads: Annotated[int, Meta(ge=0)]
    cache_folder: str
    offline: bool
    preload: tuple[str, ...]
    max_models: Positive
    block_seconds: Annotated[float, Meta(ge=30, le=3_600)]
    max_channels: Annotated[int, Meta(ge=1, le=32)]
    stuck_seconds: Seconds


class TierSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    concurrency: Positive
    max_instances: Positive
    soft_limit_seconds: Seconds
    hard_limit_seconds: Seconds
    limit_per_audio_second: Annotated[float, Meta(ge=0)] = 0.0
    max_pending_jobs: Annotated[int, Meta(ge=0)] = 10_000
    retry: RetryPolicy


class ModelSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a model comes from; an empty source takes it off the list when the settings are loaded."""

    source: str
    tier: str = FALLBACK_TIER


class MailSecurity(StrEnum):
    starttls = "starttls"
    tls = "tls"
    none = "none"


class MailSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    host: str
    port: Port
    security: MailSecurity
    ca_file: str
    user: str
    sender: Annotated[
        str,
        Meta(
            pattern=r"^([^@<>\r\n]*<)?[^@<>\s]+@[^@<>\s]+>?\Z",
            description="an address, such as audio-text@example.org or Audio Text <audio-text@example.org>",
        ),
    ]
    timeout_seconds: Seconds
    per_hour: Annotated[int, Meta(ge=0)]
    per_recipient_per_hour: Annotated[int, Meta(ge=0)]


class WebhookSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    per_owner: Positive
    retry_seconds: Annotated[
        tuple[Annotated[float, Meta(gt=0, le=MOST_SECONDS)], ...], Meta(min_length=1, max_length=50)
    ]
    timeout_seconds: Annotated[float, Meta(gt=0, le=120)]
    concurrency: Positive
    concurrency_per_endpoint: Positive
    pause_after_failures: Positive
    pause_after_seconds: Annotated[float, Meta(ge=0)]
    rotation_overlap_seconds: Annotated[float, Meta(ge=0, le=MOST_SECONDS)]
    keep_days: Annotated[int, Meta(ge=1, le=MOST_DAYS)]


class LogSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    level: Literal["debug", "info", "warning", "error"]
    format: Literal["json", "console"]


class Secrets(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Only ever read from the environment, never from a file, and never shown."""

    database_password: str = ""
    redis_password: str = ""
    s3_access_key: str = ""
    s3_secret_key: str = ""
    disk_signing_key: str = ""
    mail_password: str = ""
    operator_token: str = ""
    edge_secret: str = ""
    webhooks_signing_key: str = ""

    @property
    def edge_secrets(self) -> tuple[str, ...]:
        """The secret of the edge; two of them, with a comma between, while it is being changed."""
        return tuple(self.edge_secret.replace(",", " ").split())

    def __repr__(self) -> str:
        """Say which are set, for a traceback or a log may print it."""
        return f"Secrets({', '.join(name for name in self.__struct_fields__ if getattr(self, name))})"


class Settings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of it."""

    api: ApiSettings
    access: AccessSettings
    limits: LimitSettings
    upload: UploadSettings
    remote: RemoteSettings
    job: JobSettings
    options: TranscriptionOptions
    engine: EngineSettings
    worker: WorkerSettings
    tiers: dict[str, TierSettings]
    models: dict[str, ModelSettings]
    store: StoreSettings
    disk: DiskSettings
    s3: S3Settings
    database: DatabaseSettings
    redis: RedisSettings
    events: EventSettings
    mail: MailSettings
    webhooks: WebhookSettings
    openai: OpenaiSettings
    log: LogSettings
    secrets: Secrets = Secrets()

    def model_behind(self, name: str) -> str:
        """Give the model that a name of OpenAI's stands for; any other name stands for itself."""
        target = self.openai.aliases.get(name, name)
        return target or self.job.default_model

    def route(self, model: str) -> str:
        """Name the tier whose queue serves the model. Raises UnknownModelError with what is offered."""
        listed = self.models.get(model)
        if listed is not None:
            return listed.tier
        near = get_close_matches(model, self.models, n=1)
        hint = f'Did you mean "{near[0]}"? ' if near else ""
        raise UnknownModelError(
            f'The model "{model[:100]}" is not offered here. {hint}Offered: {", ".join(self.models) or "none"}.'
        )
