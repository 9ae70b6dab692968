"""Who is told of what, and where: endpoints of webhooks and the events that they are called for."""

import hmac
from base64 import b64encode
from datetime import datetime
from enum import StrEnum

import msgspec


class EventType(StrEnum):
    """What an endpoint may ask for; `webhook.test` is for whoever sets one up."""

    job_completed = "job.completed"
    job_failed = "job.failed"
    job_cancelled = "job.cancelled"
    batch_completed = "batch.completed"


TEST_EVENT = "webhook.test"


class EndpointState(StrEnum):
    """A paused endpoint is not called: what is for it waits."""

    enabled = "enabled"
    paused = "paused"


class WebhookEndpoint(msgspec.Struct, frozen=True, kw_only=True):
    """An address that is told what happens to its owner's jobs and batches. Times are aware UTC.

    Its secret is not stored: it follows from the service's own, the id and `secret_version`. The one before still
    signs, too, until `overlap_until`. `failures` counts tries in a row that failed, since `failing_since`.
    """

    id: str
    url: str
    events: tuple[str, ...]
    created_at: datetime
    owner: str | None = None
    description: str | None = None
    secret_version: int = 1
    overlap_until: datetime | None = None
    state: EndpointState = EndpointState.enabled
    paused_at: datetime | None = None
    paused_reason: str | None = None
    failures: int = 0
    failing_since: datetime | None = None


def derived_secret(key: str, endpoint_id: str, version: int) -> str:
    """Give the secret of an endpoint, as Standard Webhooks spells one: who has the key has all, who has none has none.

    HMAC-SHA256 of the id and the version, under the service's key.
    """
    digest = hmac.digest(key.encode(), f"webhook secret {endpoint_id} {version}".encode(), "sha256")
    return f"whsec_{b64encode(digest).decode()}"
