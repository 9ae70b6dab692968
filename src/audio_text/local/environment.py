"""What the children of a local stack are told: the caller's environment, and what it leaves open filled in."""

from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from audio_text.errors import ConfigurationError
from audio_text.local.postgres import EmbeddedPostgres
from audio_text.local.redis import EmbeddedRedis
from audio_text.local.state import State
from audio_text.settings import DEFAULT, LoadedSettings, is_loopback, load

REDIS_URL = "REDIS_URL"


def plan(state: State, environ: Mapping[str, str]) -> tuple[list[EmbeddedPostgres | EmbeddedRedis], Mapping[str, str]]:
    """Give the servers that are ours to start, those that `environ` does not name, and the children's environment.

    Raises ConfigurationError.
    """
    loaded = load(environ)
    servers: list[EmbeddedPostgres | EmbeddedRedis] = []
    environment = {
        "PYTHONUNBUFFERED": "1",
        "AUDIO_TEXT_DISK_SIGNING_KEY": state.secrets.disk_signing_key,
        # What either signs begins in its own way: neither can stand for the other.
        "AUDIO_TEXT_WEBHOOKS_SIGNING_KEY": state.secrets.disk_signing_key,
    }
    environment |= {name: value for name, value in environ.items() if value or name not in environment}
    environment |= _local_choices(state, loaded)
    if not _is_chosen(loaded, "database.host"):
        postgres = EmbeddedPostgres(state.folder / "postgres", password=state.secrets.database_password)
        servers.append(postgres)
        environment |= _postgres_variables(postgres)
    if not _is_chosen(loaded, "redis.host"):
        if url := environ.get(REDIS_URL):
            environment |= redis_url_variables(url)
        else:
            redis = EmbeddedRedis(state.folder / "redis", password=state.secrets.redis_password)
            servers.append(redis)
            environment |= _redis_variables(redis)
    return servers, environment


def redis_url_variables(url: str) -> dict[str, str]:
    """Spell a REDIS_URL as our settings. Raises ConfigurationError for what they cannot say."""
    parts = urlsplit(url)
    database = parts.path.lstrip("/")
    try:
        port = 6379 if parts.port is None else parts.port
    except ValueError:
        port = 0
    if parts.scheme != "redis" or not parts.hostname or not port or (database and not database.isdecimal()):
        raise ConfigurationError(f"{REDIS_URL} is not usable: it must be like redis://:password@host:6379/0.")
    if parts.username not in {None, "", "default"}:
        raise ConfigurationError(f"{REDIS_URL} names the user {parts.username!r}: only the default user is supported.")
    variables = {
        "AUDIO_TEXT_REDIS_HOST": parts.hostname,
        "AUDIO_TEXT_REDIS_PORT": str(port),
        "AUDIO_TEXT_REDIS_PASSWORD": unquote(parts.password or ""),
    }
    if database:
        variables["AUDIO_TEXT_REDIS_QUEUE_DB"] = database
        variables["AUDIO_TEXT_REDIS_EVENTS_DB"] = str(int(database) + 1)
    return variables


def _is_chosen(loaded: LoadedSettings, key: str) -> bool:
    return any(entry.key == key and entry.origin != DEFAULT for entry in loaded.entries)


def _local_choices(state: State, loaded: LoadedSettings) -> dict[str, str]:
    """Spell what nobody chose; without keys it is used on this machine only."""
    choices = {
        "store.kind": ("AUDIO_TEXT_STORE_KIND", "disk"),
        "disk.folder": ("AUDIO_TEXT_DISK_FOLDER", str(state.folder / "audio")),
        "log.format": ("AUDIO_TEXT_LOG_FORMAT", "console"),
        "limits.requests_per_minute": ("AUDIO_TEXT_LIMITS_REQUESTS_PER_MINUTE", "0"),
        "limits.requests_per_hour": ("AUDIO_TEXT_LIMITS_REQUESTS_PER_HOUR", "0"),
    }
    if is_loopback(loaded.settings.api.host):
        choices["access.open"] = ("AUDIO_TEXT_ACCESS_OPEN", "true")
    return {variable: value for key, (variable, value) in choices.items() if not _is_chosen(loaded, key)}


def _postgres_variables(postgres: EmbeddedPostgres) -> dict[str, str]:
    return {
        "AUDIO_TEXT_DATABASE_HOST": postgres.host,
        "AUDIO_TEXT_DATABASE_PORT": str(postgres.port),
        "AUDIO_TEXT_DATABASE_NAME": postgres.database,
        "AUDIO_TEXT_DATABASE_USER": postgres.role,
        "AUDIO_TEXT_DATABASE_PASSWORD": postgres.password,
    }


def _redis_variables(redis: EmbeddedRedis) -> dict[str, str]:
    return {
        "AUDIO_TEXT_REDIS_HOST": redis.host,
        "AUDIO_TEXT_REDIS_PORT": str(redis.port),
        "AUDIO_TEXT_REDIS_PASSWORD": redis.password,
    }
