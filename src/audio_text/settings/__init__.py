"""Every setting of the service. `settings.toml` holds the defaults, the environment overrides them."""

from audio_text.settings.api import AccessSettings, ApiSettings, LimitSettings, UploadSettings, is_loopback
from audio_text.settings.keys import SECRETS
from audio_text.settings.loading import DEFAULT, Entry, LoadedSettings, from_environment, load
from audio_text.settings.outside import (
    DatabaseSettings,
    DiskSettings,
    MailSecurity,
    MailSettings,
    RedisSettings,
    RemoteSettings,
    S3Settings,
    StoreKind,
    StoreSettings,
    WebhookSettings,
)
from audio_text.settings.resources import resource
from audio_text.settings.rules import SECTIONS, Role
from audio_text.settings.sections import EventSettings, JobSettings, LogSettings, Secrets, Settings
from audio_text.settings.worker import EngineSettings, ModelSettings, TierSettings, WorkerMode, WorkerSettings

__all__ = [
    "DEFAULT",
    "SECRETS",
    "SECTIONS",
    "AccessSettings",
    "ApiSettings",
    "DatabaseSettings",
    "DiskSettings",
    "EngineSettings",
    "Entry",
    "EventSettings",
    "JobSettings",
    "LimitSettings",
    "LoadedSettings",
    "LogSettings",
    "MailSecurity",
    "MailSettings",
    "ModelSettings",
    "RedisSettings",
    "RemoteSettings",
    "Role",
    "S3Settings",
    "Secrets",
    "Settings",
    "StoreKind",
    "StoreSettings",
    "TierSettings",
    "UploadSettings",
    "WebhookSettings",
    "WorkerMode",
    "WorkerSettings",
    "from_environment",
    "is_loopback",
    "load",
    "resource",
]
