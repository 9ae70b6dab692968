"""Where the systems are that we use, and those of clients that we call."""

from enum import StrEnum
from ipaddress import ip_network
from typing import Annotated

from msgspec import Meta

from audio_text.domain.addresses import Network
from audio_text.settings.kinds import MOST_DAYS, MOST_SECONDS, Name, Port, Positive, Seconds, Section, Url


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
