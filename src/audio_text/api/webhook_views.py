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
Id = Annotated[str, Meta(description="Its id.", examples=["1b0f7c1e-52a4-4a4e-9b7a-6e1f0e1c2d3a"])]
CreatedAt = Annotated[datetime, Meta(description="When it was stored.", examples=["2030-01-01T00:00:00Z"])]
StatusCode = Annotated[
    int | None, Meta(description="What the receiver answered; null without an answer.", examples=[500])
]
Mistake = Annotated[
    str | None,
    Meta(description="Why the receiver has not taken it; null where it has.", examples=["The receiver answered 500."]),
]


class WebhookRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An address to be called when something happens to jobs and batches."""

    url: Url
    events: Annotated[
        Annotated[list[EventType], Meta(min_length=1, max_length=20)] | None,
        Meta(
            description="What to be called for; without it, everything there is today.",
            examples=[["job.completed", "job.failed"]],
        ),
    ] = None
    description: Note = None


class WebhookChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be another: a JSON merge patch."""

    url: Url | UnsetType = UNSET
    events: Events | UnsetType = UNSET
    description: Note | UnsetType = UNSET


class WebhookView(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook. A paused one is not called, and what happens waits for it."""

    id: Id
    url: Annotated[str, Meta(description="Where it is called.", examples=["https://crm.example/hooks/audio-text"])]
    events: Annotated[list[str], Meta(description="What it is called for.", examples=[["job.completed"]])]
    description: Annotated[str | None, Meta(description="What it is for.", examples=["CRM"])]
    state: Annotated[EndpointState, Meta(description="Whether it is called.", examples=["enabled"])]
    paused_at: Annotated[
        datetime | None, Meta(description="Since when it is paused; null if it is not.", examples=[None])
    ]
    paused_reason: Annotated[
        str | None, Meta(description="Why it is paused.", examples=["The receiver answered 410 Gone."])
    ]
    failures: Annotated[int, Meta(description="Tries in a row that failed.", examples=[0])]
    failing_since: Annotated[
        datetime | None, Meta(description="Since when no try has worked; null if the last did.", examples=[None])
    ]
    old_secret_until: Annotated[
        datetime | None,
        Meta(
            description="Until then the secret before the newest signs, too; null without one.",
            examples=["2030-01-02T00:00:00Z"],
        ),
    ]
    created_at: CreatedAt

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

    at: Annotated[datetime, Meta(description="When it began.", examples=["2030-01-01T00:00:00Z"])]
    status_code: StatusCode
    error: Mistake
    seconds: Annotated[float | None, Meta(description="How long it took; null if nobody knows.", examples=[0.12])]

    @classmethod
    def of(cls, attempt: DeliveryAttempt) -> Self:
        """Write an attempt as the wire has it."""
        return cls(**msgspec.structs.asdict(attempt))


class DeliveryView(msgspec.Struct, frozen=True, kw_only=True):
    """One event for one webhook, and how its tries went."""

    id: Annotated[str, Meta(description="Its id.", examples=["9c3a1d52-7f4b-4c0e-8a55-0d4c8e6b1f27"])]
    webhook_id: Annotated[
        str | None, Meta(description="Whose it is.", examples=["1b0f7c1e-52a4-4a4e-9b7a-6e1f0e1c2d3a"])
    ]
    event_type: Annotated[str, Meta(description="What has happened.", examples=["job.completed"])]
    event_id: Annotated[
        str,
        Meta(
            description="The same in every try: the header `webhook-id`.",
            examples=["evt_0d4c8e6b1f274c0e8a557f4b9c3a1d52"],
        ),
    ]
    subject: Annotated[
        str | None,
        Meta(
            description="The job or batch that it is about; null for a test.",
            examples=["3f0c3f4e-7d0b-4c56-8d3b-2a5f6f9f2b11"],
        ),
    ]
    status: Annotated[DeliveryStatus, Meta(description="Whether it was taken.", examples=["delivered"])]
    attempts: Annotated[int, Meta(description="Tries since it was stored, or replayed.", examples=[1])]
    due_at: Annotated[
        datetime | None, Meta(description="When it is tried next; null once it is over.", examples=[None])
    ]
    status_code: Annotated[int | None, Meta(description="The receiver's last answer.", examples=[204])]
    error: Annotated[str | None, Meta(description="Why the last try failed; null if it did not.", examples=[None])]
    created_at: CreatedAt
    finished_at: Annotated[
        datetime | None,
        Meta(description="When it was taken or given up; null before.", examples=["2030-01-01T00:00:01Z"]),
    ]
    log: Annotated[list[DeliveryAttemptView], Meta(description="The newest tries, the oldest first.")]

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
