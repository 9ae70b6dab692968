"""What must hold between keys, and which secrets there must be, for each role: a role checks only what it reads."""

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from ipaddress import ip_network

from audio_text.domain.media import extension_of
from audio_text.domain.origins import origin_of
from audio_text.domain.tiers import FALLBACK_TIER
from audio_text.settings.keys import SECRETS, dotted, suggestion
from audio_text.settings.outside import MailSecurity, StoreKind
from audio_text.settings.sections import Settings

OriginOf = Callable[[str], str]
"""Where the value of a key (dotted) came from, in words."""

SHORTEST_SECRET = 16
"""Characters that nobody guesses, even where nothing slows them down."""

_THIS_MACHINE = frozenset({"localhost", "127.0.0.1", "::1"})


class Role(StrEnum):
    """What a process does with the settings."""

    api = "api"
    worker = "worker"
    migrate = "migrate"
    operator = "operator"
    keys = "keys"
    client = "client"


_SHARED = frozenset({"job", "tiers", "models", "store", "disk", "s3", "database", "redis", "events", "log"})
SECTIONS: Mapping[Role, frozenset[str]] = {
    Role.api: (
        _SHARED | {"api", "access", "limits", "upload", "remote", "options", "engine", "mail", "webhooks", "openai"}
    ),
    Role.worker: _SHARED | {"engine", "remote", "upload", "webhooks", "worker", "mail"},
    Role.operator: _SHARED,
    Role.keys: frozenset({"access", "database", "log"}),
    Role.migrate: frozenset({"database", "log"}),
    Role.client: frozenset({"api", "log"}),
}
"""The tables that a role reads."""

_SERVING = frozenset({Role.api, Role.worker, Role.operator})


def problems(settings: Settings, role: Role, origin: OriginOf) -> Iterator[str]:
    """Everything that keeps this role from starting, a sentence each."""
    yield from _missing_secrets(settings, role)
    if role is not Role.client and settings.database.pool_min > settings.database.pool_max:
        yield _larger("database.pool_min", "database.pool_max", origin)
    if role in _SERVING:
        yield from _routing(settings, origin)
        yield from _keeping(settings, origin)
    if "remote" in SECTIONS[role]:
        yield from _remote(settings, origin)
    if role is Role.api:
        yield from _submission(settings, origin)
        yield from _access(settings, origin)
    if role is Role.worker:
        yield from _work(settings, origin)
        yield from _mail(settings, origin)


def _missing_secrets(settings: Settings, role: Role) -> Iterator[str]:
    is_served = role in _SERVING
    s3, disk = (settings.store.kind is kind for kind in (StoreKind.s3, StoreKind.disk))
    needed = {
        "database_password": role is not Role.client,
        "s3_access_key": is_served and s3,
        "s3_secret_key": is_served and s3,
        "disk_signing_key": role is Role.api and disk,
        "mail_password": role is Role.worker and bool(settings.mail.user),
    }
    for name, is_needed in needed.items():
        if is_needed and not getattr(settings.secrets, name):
            section, key = name.split("_", 1)
            yield (
                f"{SECRETS[section, key]} is not set: {role} needs it "
                f"(secrets come only from the environment, never from a file)."
            )


def _routing(settings: Settings, origin: OriginOf) -> Iterator[str]:
    if FALLBACK_TIER not in settings.tiers:
        yield f"tiers.{FALLBACK_TIER} is missing: models that name no tier go there."
    for name, model in settings.models.items():
        if model.tier not in settings.tiers:
            key = dotted(("models", name, "tier"))
            yield (
                f'{key} is "{model.tier}" ({origin(key)}), but there is no such tier: '
                f"allowed are {', '.join(settings.tiers)}.{suggestion(model.tier, settings.tiers)}"
            )


def _keeping(settings: Settings, origin: OriginOf) -> Iterator[str]:
    days = settings.s3.lifecycle_days
    if settings.store.kind is not StoreKind.s3 or settings.job.keeps_audio_for_ever or not days:
        return
    needed = {
        "store.orphan_days": settings.store.orphan_days,
        "job.keep_failed_audio_days": settings.job.keep_failed_audio_days,
    }
    for key, longest in needed.items():
        if days <= longest:
            yield (
                f"s3.lifecycle_days is {days} ({origin('s3.lifecycle_days')}): it must be far more than {key}, "
                f"{longest} ({origin(key)}), or 0, or the bucket removes recordings that are still needed."
            )


def _submission(settings: Settings, origin: OriginOf) -> Iterator[str]:
    yield from _listed("job.default_model", settings.job.default_model, settings=settings, origin=origin)
    for name, model in settings.openai.aliases.items():
        if model:
            yield from _listed(dotted(("openai", "aliases", name)), model, settings=settings, origin=origin)
    for extension in settings.upload.extensions:
        if extension_of(f"name.{extension}") != extension:
            yield (
                f'upload.extensions has "{extension}" ({origin("upload.extensions")}): '
                f"allowed are lower-case letters and digits without a dot, like mp3."
            )


def _access(settings: Settings, origin: OriginOf) -> Iterator[str]:
    access = settings.access
    for network in access.trusted_proxies:
        if not _is_network(network):
            yield (
                f'access.trusted_proxies has "{network}" ({origin("access.trusted_proxies")}): '
                f"it must be an address or a network, like 10.0.0.0/8 or ::1."
            )
    for allowed in access.allowed_origins:
        if origin_of(allowed) is None:
            yield _no_origin("access.allowed_origins", allowed, origin)
    for allowed in settings.api.cors_origins:
        if allowed != "*" and origin_of(allowed.replace("*", "1")) is None:
            yield _no_origin("api.cors_origins", allowed, origin)
    if access.allowed_origins and "*" in settings.api.cors_origins:
        yield (
            f'api.cors_origins has "*" ({origin("api.cors_origins")}), while access.allowed_origins '
            f"({origin('access.allowed_origins')}) says whose pages may call: name them there, too."
        )
    for word in settings.secrets.edge_secrets:
        if len(word) < SHORTEST_SECRET:
            yield (
                f"AUDIO_TEXT_EDGE_SECRET has {len(word)} characters: it must have at least {SHORTEST_SECRET}, "
                f"as `openssl rand -hex 32` makes them."
            )


def _is_network(text: str) -> bool:
    try:
        ip_network(text, strict=False)
    except ValueError:
        return False
    return True


def _no_origin(key: str, text: str, origin: OriginOf) -> str:
    return (
        f'{key} has "{text}" ({origin(key)}): it must be an origin as browsers send it, like https://app.example '
        f"or http://localhost:8080, without a path, and with xn-- for other scripts."
    )


def _remote(settings: Settings, origin: OriginOf) -> Iterator[str]:
    for text in settings.remote.allowed_networks:
        try:
            ip_network(text)
        except ValueError as error:
            yield (
                f'remote.allowed_networks has "{text}" ({origin("remote.allowed_networks")}): '
                f"allowed are networks like 10.20.0.0/16 ({error})."
            )
    if settings.store.kind is StoreKind.s3 and settings.s3.bucket in settings.remote.allowed_buckets:
        yield (
            f'remote.allowed_buckets has "{settings.s3.bucket}" ({origin("remote.allowed_buckets")}): that is '
            f"s3.bucket, where everybody's uploads lie."
        )


def _mail(settings: Settings, origin: OriginOf) -> Iterator[str]:
    mail = settings.mail
    if mail.user and mail.security is MailSecurity.none and mail.host not in _THIS_MACHINE:
        yield (
            f'mail.security is "none" ({origin("mail.security")}), which would send the password of mail.user readable '
            f"over the network: allowed are starttls or tls, unless mail.host is this machine."
        )


def _work(settings: Settings, origin: OriginOf) -> Iterator[str]:
    for name in settings.engine.preload:
        yield from _listed("engine.preload", name, settings=settings, origin=origin)
    for name, tier in settings.tiers.items():
        if tier.soft_limit_seconds > tier.hard_limit_seconds:
            soft, hard = (dotted(("tiers", name, f"{limit}_limit_seconds")) for limit in ("soft", "hard"))
            yield _larger(soft, hard, origin)
    if settings.worker.lease_seconds <= settings.database.timeout_seconds:
        yield (
            f"worker.lease_seconds is {settings.worker.lease_seconds:g} ({origin('worker.lease_seconds')}): it must be "
            f"more than database.timeout_seconds, {settings.database.timeout_seconds:g}, or a slow query loses the job."
        )


def _listed(key: str, model: str, *, settings: Settings, origin: OriginOf) -> Iterator[str]:
    if model not in settings.models:
        yield (
            f'{key} names "{model}" ({origin(key)}), but [models] does not list it: '
            f"allowed are {', '.join(settings.models) or 'none'}.{suggestion(model, settings.models)}"
        )


def _larger(low: str, high: str, origin: OriginOf) -> str:
    return f"{low} ({origin(low)}) must not be larger than {high} ({origin(high)})."
