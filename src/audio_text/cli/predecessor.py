"""Translates the environment file of the older service (AUDIO_TEXT_…_ENV) into ours."""

import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

PREFIX, SUFFIX = "AUDIO_TEXT_", "_ENV"


class Move(NamedTuple):
    """The variable that takes the value over (without prefix), how the value changes, and what must stand beside it."""

    to: str
    change: Callable[[str], str] = str
    beside: Mapping[str, str] = {}


def _megabytes(value: str) -> str:
    return str(int(float(value) * 1024 * 1024))


def _extensions(value: str) -> str:
    return ",".join(item.strip().lstrip(".").lower() for item in value.split(",") if item.strip())


MOVES: Mapping[str, Move] = {
    "DB_HOST": Move("DATABASE_HOST"),
    "DB_PORT": Move("DATABASE_PORT"),
    "DB_NAME": Move("DATABASE_NAME"),
    "DB_USER": Move("DATABASE_USER"),
    "DB_PASSWORD": Move("DATABASE_PASSWORD"),
    "REDIS_HOST": Move("REDIS_HOST"),
    "REDIS_PORT": Move("REDIS_PORT"),
    "REDIS_PASSWORD": Move("REDIS_PASSWORD"),
    "AWS_BUCKET_NAME": Move("S3_BUCKET"),
    "AWS_REGION": Move("S3_REGION"),
    "AWS_ENDPOINT": Move("S3_ENDPOINT"),
    "AWS_ENDPOINT_URL": Move("S3_ENDPOINT"),
    "AWS_ACCESS_KEY": Move("S3_ACCESS_KEY"),
    "AWS_ACCESS_KEY_ID": Move("S3_ACCESS_KEY"),
    "AWS_SECRET_KEY": Move("S3_SECRET_KEY"),
    "AWS_SECRET_ACCESS_KEY": Move("S3_SECRET_KEY"),
    "CORS_ORIGINS": Move("API_CORS_ORIGINS"),
    "MAX_FILE_SIZE_MB": Move("UPLOAD_MAX_BYTES", _megabytes),
    "ALLOWED_AUDIO_EXTENSIONS": Move("UPLOAD_EXTENSIONS", _extensions),
    "WHISPER_MODEL": Move("JOB_DEFAULT_MODEL"),
    "WHISPER_DEVICE": Move("ENGINE_DEVICE", str.lower),
    "WHISPER_COMPUTE_TYPE": Move("ENGINE_COMPUTE_TYPE", str.lower),
    "WHISPER_CPU_THREADS": Move("ENGINE_CPU_THREADS"),
    "WHISPER_LANGUAGE": Move("OPTIONS_LANGUAGE"),
    "WHISPER_BEAM_SIZE": Move("OPTIONS_BEAM_SIZE"),
    "WHISPER_WORD_TIMESTAMPS": Move("OPTIONS_WORD_TIMESTAMPS", str.lower),
    "WHISPER_VAD_FILTER": Move("OPTIONS_VAD_FILTER", str.lower),
    "WHISPER_VAD_MIN_SILENCE_MS": Move("OPTIONS_VAD_MIN_SILENCE_DURATION_MS"),
    "EMAIL_FROM": Move("MAIL_SENDER"),
    "SENDGRID_API_KEY": Move("MAIL_PASSWORD", beside={"MAIL_HOST": "smtp.sendgrid.net", "MAIL_USER": "apikey"}),
    "LOG_LEVEL": Move("LOG_LEVEL", str.lower),
} | {
    f"QUEUE_{old}_RETRY_{limit}": Move(f"TIERS_{tier}_RETRY_{ours}")
    for old, tier in {
        "SMALL": "AUDIO_SMALL",
        "MEDIUM": "AUDIO_MEDIUM",
        "LARGE": "AUDIO_LARGE",
        "DEFAULT": "AUDIO_PROCESSING",
    }.items()
    for limit, ours in {
        "MAX": "RETRIES",
        "START": "FIRST_DELAY_SECONDS",
        "STEP": "STEP_SECONDS",
        "MAX_INTERVAL": "MAX_DELAY_SECONDS",
    }.items()
}

QUEUES = "queues are named after the tiers of settings.toml"
NOTES: Mapping[str, str] = {
    "DB_REF_TABLE": "the table is transcription_job",
    "DB_MIGRATION": "run `audio-text migrate`",
    "DB_SKIP_MIGRATION": "run `audio-text migrate`",
    "REDIS_PUB_SUB_CHANNEL": "live events have streams of their own",
    "EMAIL_FROM_NAME": 'write AUDIO_TEXT_MAIL_SENDER="Name <address>"',
    "QUEUE_SMALL": QUEUES,
    "QUEUE_MEDIUM": QUEUES,
    "QUEUE_LARGE": QUEUES,
    "QUEUE_DEFAULT": QUEUES,
    "CELERY_QUEUE_NAME": QUEUES,
    "CELERY_ROUTING_KEY": QUEUES,
}
"""What has no counterpart here, and what to know instead."""


class Translation(NamedTuple):
    """Our variables, and a sentence for every line that could not be taken over."""

    variables: dict[str, str]
    remarks: list[str]


def translate(text: str) -> Translation:
    """Translate the text of an env file. Nothing is checked but that a number which must be converted is one."""
    result = Translation({}, [])
    for number, name, value in _lines(text):
        bare = name.removeprefix(PREFIX).removesuffix(SUFFIX)
        move = MOVES.get(bare)
        if move is None or f"{PREFIX}{bare}{SUFFIX}" != name:
            result.remarks.append(f"line {number}: {name}: {NOTES.get(bare, 'no setting here corresponds to it')}.")
            continue
        try:
            taken = {move.to: move.change(value), **move.beside}
        except (ValueError, OverflowError):
            result.remarks.append(f'line {number}: {name}: "{value}" is not a number.')
            continue
        result.variables.update({f"{PREFIX}{to}": changed for to, changed in taken.items()})
    return result


def _lines(text: str) -> Iterator[tuple[int, str, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip().removeprefix("export ").lstrip()
        if stripped and not stripped.startswith("#"):
            name, _, value = stripped.partition("=")
            yield number, name.strip(), _unquoted(value.strip())


def _unquoted(value: str) -> str:
    if value[:1] in {"'", '"'}:
        try:
            return " ".join(shlex.split(value, comments=True))
        except ValueError:  # an apostrophe, not a quotation
            return value
    return value.split(" #", maxsplit=1)[0].rstrip()
