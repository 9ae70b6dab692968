"""Builders of valid objects: name only what the test is about."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from audio_text.domain.delivery import Delivery, DeliveryKind
from audio_text.domain.job import Job, JobStatus
from audio_text.domain.object_keys import new_key
from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.transcript import Segment, TranscriptChunk
from audio_text.domain.webhooks import WebhookEndpoint
from audio_text.settings import Settings

SETTINGS_FILE = Path(__file__).parents[1] / "settings.toml"


def make_settings(overrides: Mapping[str, object] | None = None) -> Settings:
    """Build the settings of settings.toml with dotted keys replaced.

    `make_settings({"tiers.audio_small.concurrency": 1, "models.demo.source": "/m", "secrets.redis_password": "x"})`;
    a whole table may be given too, and a tier or model that does not exist yet is added. Requests are not limited, and
    the service is open, unless the test is about keys: {"access.open": False}.
    """
    raw: dict[str, Any] = msgspec.toml.decode(SETTINGS_FILE.read_bytes())
    raw["limits"] |= dict.fromkeys(("requests_per_minute", "requests_per_hour", "refused_per_minute"), 0)
    for key, value in {"access.open": True, **(overrides or {})}.items():
        *path, leaf = _path(key)
        node = raw
        for name in path:
            node = node.setdefault(name, {})
        node[leaf] = msgspec.to_builtins(value)
    return msgspec.convert(raw, Settings)


def _path(key: str) -> list[str]:
    section, *rest = key.split(".")
    if section == "models" and len(rest) > 1:  # a model's name may hold dots itself: models.tiny.en.source
        return [section, ".".join(rest[:-1]), rest[-1]] if rest[-1] in {"source", "tier"} else [section, ".".join(rest)]
    return [section, *rest]


def make_job(**fields: Any) -> Job:
    """Build a pending job of the model `demo`, created now, with a fresh id and object key."""
    now = datetime.now(UTC)
    object_key = new_key("wav")
    defaults: dict[str, Any] = {
        "id": str(uuid4()),
        "filename": "meeting.wav",
        "url": f"http://store.test/audio/{object_key}",
        "object_key": object_key,
        "file_size_bytes": 320_044,
        "content_type": "audio/wav",
        "status": JobStatus.pending,
        "whisper_model": "demo",
        "tier": "audio_small",
        "options": TranscriptionOptions(),
        "creation_date": now,
        "update_date": now,
    }
    return Job(**(defaults | fields))


def make_segment(number: int = 0, **fields: Any) -> Segment:
    """Build segment `number` of a recording that says one thing every two seconds."""
    defaults: dict[str, Any] = {
        "id": number,
        "seek": number * 200,
        "start": number * 2.0,
        "end": number * 2.0 + 2.0,
        "text": f" Sentence {number}.",
        "tokens": (50_364, 100 + number, 50_464),
        "temperature": 0.0,
        "avg_logprob": -0.25,
        "compression_ratio": 1.2,
        "no_speech_prob": 0.01,
    }
    return Segment(**(defaults | fields))


def make_chunk(*segments: Segment, **fields: Any) -> TranscriptChunk:
    """Build a chunk of these segments (none: silence), positioned at the end of the last, of ten seconds of audio."""
    position = segments[-1].end if segments else 0.0
    defaults: dict[str, Any] = {
        "segments": segments,
        "position": position,
        "duration": max(10.0, position),
        "duration_after_vad": max(10.0, position),
        "language": "en",
        "language_probability": 0.99,
    }
    return TranscriptChunk(**(defaults | fields))


def make_endpoint(**fields: Any) -> WebhookEndpoint:
    """Build an enabled webhook of the owner `me`, for completed and failed jobs."""
    defaults: dict[str, Any] = {
        "id": str(uuid4()),
        "url": "https://receiver.test/hook",
        "events": ("job.completed", "job.failed"),
        "created_at": datetime.now(UTC),
        "owner": "me",
    }
    return WebhookEndpoint(**(defaults | fields))


def make_mail(**fields: Any) -> Delivery:
    """Build a pending mail of the owner `me`, due now."""
    defaults: dict[str, Any] = {
        "id": str(uuid4()),
        "kind": DeliveryKind.mail,
        "lane": "mail",
        "event_type": "mail.transcript",
        "event_id": "evt_mail",
        "payload": '{"job_id": "x"}',
        "created_at": datetime.now(UTC),
        "due_at": datetime.now(UTC),
        "owner": "me",
        "recipient": "ada@example.org",
    }
    return Delivery(**(defaults | fields))
