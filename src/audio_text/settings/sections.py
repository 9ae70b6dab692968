"""The shape of every setting: one frozen Struct per table of settings.toml.

    api       [api] [access] [limits] [upload] [openai]
    worker    [worker] [engine] [tiers] [models]
    outside   [database] [redis] [store] [disk] [s3] [remote] [webhooks] [mail]

Here are [job], [events] and [log], which both processes read, the secrets, and all of it as one.
"""

from difflib import get_close_matches
from typing import Annotated, Literal

from msgspec import Meta

from audio_text.domain.job import Retention
from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.usage import SECONDS_PER_DAY
from audio_text.errors import UnknownModelError
from audio_text.settings.api import AccessSettings, ApiSettings, LimitSettings, OpenaiSettings, UploadSettings
from audio_text.settings.kinds import MOST_DAYS, MOST_SECONDS, Name, Positive, Seconds, Section
from audio_text.settings.outside import (
    DatabaseSettings,
    DiskSettings,
    MailSettings,
    RedisSettings,
    RemoteSettings,
    S3Settings,
    StoreSettings,
    WebhookSettings,
)
from audio_text.settings.worker import EngineSettings, ModelSettings, TierSettings, WorkerSettings


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


class EventSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    retention_seconds: Positive
    log_length: Positive
    live_length: Positive
    follower_buffer: Positive
    ping_seconds: Seconds
    send_timeout_seconds: Seconds
    position_seconds: Seconds
    jobs_per_connection: Annotated[int, Meta(ge=1, le=200)]  # their cursors travel in one header


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
