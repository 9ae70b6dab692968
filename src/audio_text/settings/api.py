"""Who may call the API, how often, and with what."""

from ipaddress import ip_address
from typing import Annotated

from msgspec import Meta

from audio_text.domain.access import Caller, KeyLimits
from audio_text.domain.job import Priority
from audio_text.domain.usage import SECONDS_PER_MINUTE, Allowance, Rate
from audio_text.settings.kinds import MOST_SECONDS, Name, Port, Positive, Seconds, Section, Url


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
    unknown_audio_seconds: Positive
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


class OpenaiSettings(Section, frozen=True, kw_only=True, forbid_unknown_fields=True):
    longest_audio_seconds: Seconds
    longest_wait_seconds: Seconds
    grace_seconds: Seconds
    aliases: dict[str, str]
