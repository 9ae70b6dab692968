"""Every setting of the service. `settings.toml` holds the defaults, the environment overrides them."""

from audio_text.settings.keys import SECRETS
from audio_text.settings.loading import DEFAULT, Entry, LoadedSettings, from_environment, load
from audio_text.settings.resources import resource
from audio_text.settings.rules import SECTIONS, Role
from audio_text.settings.sections import (
    ApiSettings,
    DatabaseSettings,
    DiskSettings,
    EngineSettings,
    EventSettings,
    JobSettings,
    LogSettings,
    MailSettings,
    ModelSettings,
    RedisSettings,
    S3Settings,
    Secrets,
    Settings,
    StoreKind,
    StoreSettings,
    TierSettings,
    UploadSettings,
    WorkerMode,
    WorkerSettings,
)

__all__ = [
    "DEFAULT",
    "SECRETS",
    "SECTIONS",
    "ApiSettings",
    "DatabaseSettings",
    "DiskSettings",
    "EngineSettings",
    "Entry",
    "EventSettings",
    "JobSettings",
    "LoadedSettings",
    "LogSettings",
    "MailSettings",
    "ModelSettings",
    "RedisSettings",
    "Role",
    "S3Settings",
    "Secrets",
    "Settings",
    "StoreKind",
    "StoreSettings",
    "TierSettings",
    "UploadSettings",
    "WorkerMode",
    "WorkerSettings",
    "from_environment",
    "load",
    "resource",
]
