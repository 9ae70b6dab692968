"""The wire: webhooks and their deliveries."""

from datetime import datetime
from typing import Annotated, Any, Self

import msgspec
from msgspec import UNSET, Meta, UnsetType

from audio_text.api.choices import NO_NUL
from audio_text.domain.delivery import Delivery, DeliveryAttempt, DeliveryStatus
from audio_text.domain.webhooks import EndpointState, EventType, WebhookEndpoint

Url = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=2_048,
        description="Where to call: an https address that everybody can reach.",
        examples=["https://crm.example/hooks/audio-text"],
    ),
]
Events = Annotated[
    list[EventType],
    Meta(min_length=1, max_length=20, description="What to be called for.", examples=[["job.completed", "job.failed"]]),
]
Note = Annotated[
    Annotated[str, Meta(max_length=200, extra_json_schema=NO_NUL)] | None,
    Meta(description="What it is for.", examples=["CRM"]),
]


class WebhookRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An address to be called when something happens to jobs and batches."""

    url: Url
    events: Annotated[
        Events | None, Meta(description="What to be called for; without it, everything there is today.")
    ] = None
    description: Note = None


class WebhookChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be another: a JSON merge patch."""

    url: Url | UnsetType = UNSET
    events: Events | UnsetType = UNSET
    description: Note | UnsetType = UNSET


class WebhookView(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook. A paused one is not called, and what happens waits for it."""

    id: str
    url: str
    events: list[str]
    description: str | None
    state: EndpointState
    paused_at: datetime | None
    paused_reason: str | None
    failures: Annotated[int, Meta(description="Tries in a row that failed.")]
    failing_since: datetime | None
    old_secret_until: Annotated[datetime | None, Meta(description="Until then the secret before signs, too.")]
    created_at: datetime

    @classmethod
    def of(cls, endpoint: WebhookEndpoint) -> Self:
        """Write an endpoint as the wire has it."""
        return cls(**fields_of(endpoint))


class WebhookWithSecret(WebhookView, frozen=True, kw_only=True):
    """A webhook with the secret that its calls are signed with: told here, and never again."""

    secret: Annotated[
        str,
        Meta(
            description="By Standard Webhooks: a library that verifies takes it as it is.",
            examples=["whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"],
        ),
    ]


class DeliveryAttemptView(msgspec.Struct, frozen=True, kw_only=True):
    """One try; without an error, the receiver took it."""

    at: datetime
    status_code: int | None
    error: str | None
    seconds: float | None

    @classmethod
    def of(cls, attempt: DeliveryAttempt) -> Self:
        """Write an attempt as the wire has it."""
        return cls(**msgspec.structs.asdict(attempt))


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one webhook, and how its tries went."""

    id: str
    webhook_id: str | None
    event_type: str
    event_id: Annotated[str, Meta(description="The same in every try: the header `webhook-id`.")]
    subject: Annotated[str | None, Meta(description="The job or batch that it is about.")]
    status: DeliveryStatus
    attempts: Annotated[int, Meta(description="Since it was stored, or sent once more on request.")]
    due_at: Annotated[datetime | None, Meta(description="When it is tried next; null once it is over.")]
    status_code: int | None
    error: str | None
    created_at: datetime
    finished_at: datetime | None
    log: Annotated[list[DeliveryAttemptView], Meta(description="The newest tries, oldest first.")]

    @classmethod
    def of(cls, delivery: Delivery) -> Self:
        """Write a delivery as the wire has it."""
        return cls(
            id=delivery.id,
            webhook_id=delivery.endpoint_id,
            event_type=delivery.event_type,
            event_id=delivery.event_id,
            subject=delivery.subject,
            status=delivery.status,
            attempts=delivery.attempts,
            due_at=delivery.due_at if delivery.status is DeliveryStatus.pending else None,
            status_code=delivery.status_code,
            error=delivery.error,
            created_at=delivery.created_at,
            finished_at=delivery.finished_at,
            log=[DeliveryAttemptView.of(attempt) for attempt in delivery.log],
        )


def fields_of(endpoint: WebhookEndpoint) -> dict[str, Any]:
    """What the wire has of an endpoint, secret or not."""
    return {
        "id": endpoint.id,
        "url": endpoint.url,
        "events": list(endpoint.events),
        "description": endpoint.description,
        "state": endpoint.state,
        "paused_at": endpoint.paused_at,
        "paused_reason": endpoint.paused_reason,
        "failures": endpoint.failures,
        "failing_since": endpoint.failing_since,
        "old_secret_until": endpoint.overlap_until,
        "created_at": endpoint.created_at,
    }


def with_secret(endpoint: WebhookEndpoint, secret: str) -> WebhookWithSecret:
    """Write an endpoint with its secret."""
    return WebhookWithSecret(**fields_of(endpoint), secret=secret)
