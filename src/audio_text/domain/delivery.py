"""What is stored until somebody outside has taken it: a call of a webhook, or a mail."""

import random
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import msgspec

from audio_text.domain.answers import LONGEST_RETRY_AFTER_SECONDS

LOG_LENGTH = 20
"""Attempts that a delivery remembers, the newest."""


class DeliveryKind(StrEnum):
    """By which way it goes out."""

    webhook = "webhook"
    mail = "mail"


class DeliveryStatus(StrEnum):
    """A pending one is tried again by itself; a failed one only when somebody asks for it."""

    pending = "pending"
    delivered = "delivered"
    failed = "failed"


class DeliveryAttempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try: what the receiver answered, and what went wrong in a sentence; without an `error`, nothing did."""

    at: datetime
    status_code: int | None = None
    error: str | None = None
    seconds: float | None = None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one receiver: a row of `delivery`. Times are aware UTC.

    `event_id` is the same for every try and every receiver of the event. `subject` is what it is about, a job or a
    batch: what is about the same one reaches a receiver in the order it was stored in. A `lane` bounds how many go out
    at once: an endpoint's id, or `mail`. `payload` is JSON, byte for byte what is sent, or what the mail is made of.
    `attempts` counts since it was stored or replayed, `claims` all of them: the newest is the fencing token.
    """

    id: str
    kind: DeliveryKind
    lane: str
    event_type: str
    event_id: str
    payload: str
    created_at: datetime
    due_at: datetime
    subject: str | None = None
    owner: str | None = None
    endpoint_id: str | None = None
    recipient: str | None = None
    status: DeliveryStatus = DeliveryStatus.pending
    attempts: int = 0
    claims: int = 0
    lease_expires_at: datetime | None = None
    status_code: int | None = None
    error: str | None = None
    log: tuple[DeliveryAttempt, ...] = ()
    finished_at: datetime | None = None


def retry_delay(attempts: int, schedule: Sequence[float], *, asked_seconds: float | None = None) -> float | None:
    """Seconds until the next try after so many; None: there is none.

    Chance adds up to a fifth, so that what failed together does not come back together. A receiver that asked for
    patience gets it, up to LONGEST_RETRY_AFTER_SECONDS.
    """
    if attempts > len(schedule):
        return None
    planned = schedule[attempts - 1] * random.uniform(1.0, 1.2)  # noqa: S311 -- no secret
    return max(planned, min(asked_seconds or 0.0, LONGEST_RETRY_AFTER_SECONDS))
