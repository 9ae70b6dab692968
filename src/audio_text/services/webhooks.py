"""Use cases: have addresses told of what happens to jobs and batches, and see how that went."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import uuid4

import msgspec
import structlog
from msgspec import UNSET, UnsetType

from audio_text.domain.access import Caller
from audio_text.domain.delivery import Delivery, DeliveryKind, DeliveryStatus
from audio_text.domain.webhooks import TEST_EVENT, EndpointState, WebhookEndpoint, derived_secret
from audio_text.errors import (
    DeliveryNotFoundError,
    InvalidFieldError,
    PrivateAddressError,
    RateLimitedError,
    RemoteUrlError,
    TooManyWebhooksError,
    WebhookNotFoundError,
    WebhooksDisabledError,
    WebhookStateError,
)
from audio_text.ports import DeliveryRepository, OpenResources, RemoteHttp, WebhookRepository
from audio_text.settings import Settings

MOST_TESTS = 20
"""Tests of one webhook that wait at once: whoever wants to see whether it works needs one."""

NEWEST_DELIVERIES = 100
"""Among how many of its newest deliveries those are looked for."""

TEST_AGAIN_SECONDS = 60.0
"""After how long another test is worth asking for."""

log = structlog.get_logger(__name__)


class WebhookService:
    """What a caller may do with its owner's webhooks; those of others do not exist. DatabaseUnavailableError always."""

    def __init__(self, resources: OpenResources, *, http: RemoteHttp, settings: Settings) -> None:
        self._webhooks: WebhookRepository = resources.webhooks
        self._deliveries: DeliveryRepository = resources.deliveries
        self._http = http
        self._settings = settings.webhooks
        self._signing_key = settings.secrets.webhooks_signing_key

    async def create(
        self, caller: Caller, *, url: str, events: Sequence[str], description: str | None
    ) -> tuple[WebhookEndpoint, str]:
        """Store an endpoint of the caller's owner; its secret is told here, and never again.

        Raises WebhooksDisabledError, TooManyWebhooksError, InvalidFieldError for the url.
        """
        endpoint = WebhookEndpoint(
            id=str(uuid4()),
            url=url,
            events=tuple(events),
            created_at=datetime.now(UTC),
            owner=caller.owner,
            description=description,
        )
        secret = self._secret(endpoint)
        await self._check(url)
        if not await self._webhooks.add(endpoint, limit=self._settings.per_owner):
            raise TooManyWebhooksError(
                f"There are {self._settings.per_owner} webhooks, as many as one owner may have: delete one first."
            )
        log.info("webhook_created", endpoint_id=endpoint.id, events=endpoint.events)
        return endpoint, secret

    async def list(self, caller: Caller) -> list[WebhookEndpoint]:
        """All that exist for the caller, the oldest first."""
        return await self._webhooks.find(owner=caller.whose)

    async def get(self, caller: Caller, endpoint_id: str) -> WebhookEndpoint:
        """Read one. Raises WebhookNotFoundError."""
        endpoint = await self._webhooks.get(endpoint_id)
        if not caller.sees(endpoint.owner):
            raise WebhookNotFoundError
        return endpoint

    async def change(
        self,
        caller: Caller,
        endpoint_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        description: str | UnsetType | None = UNSET,
    ) -> WebhookEndpoint:
        """Change what is given. Raises WebhookNotFoundError, InvalidFieldError for the url."""
        await self.get(caller, endpoint_id)
        if url is not None:
            await self._check(url)
        return await self._webhooks.change(endpoint_id, url=url, events=events, description=description)

    async def rotate(self, caller: Caller, endpoint_id: str) -> tuple[WebhookEndpoint, str]:
        """Begin the next secret, told here; the one before signs, too, for a while.

        Raises WebhookNotFoundError, WebhooksDisabledError.
        """
        self._secret(await self.get(caller, endpoint_id))
        endpoint = await self._webhooks.rotate(endpoint_id, overlap_seconds=self._settings.rotation_overlap_seconds)
        log.info("webhook_secret_rotated", endpoint_id=endpoint_id, version=endpoint.secret_version)
        return endpoint, self._secret(endpoint)

    async def enable(self, caller: Caller, endpoint_id: str) -> WebhookEndpoint:
        """Call it again after a pause, at once with all that waits. Raises WebhookNotFoundError."""
        await self.get(caller, endpoint_id)
        log.info("webhook_enabled", endpoint_id=endpoint_id)
        return await self._webhooks.enable(endpoint_id)

    async def test(self, caller: Caller, endpoint_id: str) -> Delivery:
        """Send it an event that means nothing, on the way that all take.

        Raises WebhookNotFoundError, WebhookStateError for a paused one, RateLimitedError while too many tests wait.
        """
        endpoint = await self.get(caller, endpoint_id)
        if endpoint.state is EndpointState.paused:
            raise WebhookStateError
        newest = await self._deliveries.find(endpoint.id, limit=NEWEST_DELIVERIES)
        waiting = [one for one in newest if one.event_type == TEST_EVENT and one.status is DeliveryStatus.pending]
        if len(waiting) >= MOST_TESTS:
            raise RateLimitedError(
                f"{MOST_TESTS} tests of this webhook wait for its receiver already.",
                retry_after_seconds=TEST_AGAIN_SECONDS,
            )
        now = datetime.now(UTC)
        payload = {"type": TEST_EVENT, "timestamp": now, "data": {"webhook_id": endpoint.id}}
        delivery = Delivery(
            id=str(uuid4()),
            kind=DeliveryKind.webhook,
            lane=endpoint.id,
            owner=endpoint.owner,
            endpoint_id=endpoint.id,
            event_type=TEST_EVENT,
            event_id=f"evt_{uuid4().hex}",
            payload=msgspec.json.encode(payload).decode(),
            created_at=now,
            due_at=now,
        )
        await self._deliveries.add(delivery)
        return delivery

    async def delete(self, caller: Caller, endpoint_id: str) -> None:
        """Remove it with its log; what waits is not sent. Raises WebhookNotFoundError."""
        await self.get(caller, endpoint_id)
        await self._webhooks.delete(endpoint_id)
        log.info("webhook_deleted", endpoint_id=endpoint_id)

    async def deliveries(
        self, caller: Caller, endpoint_id: str, *, limit: int, before: tuple[datetime, str] | None = None
    ) -> "list[Delivery]":
        """Its deliveries, newest first. Raises WebhookNotFoundError."""
        await self.get(caller, endpoint_id)
        return await self._deliveries.find(endpoint_id, limit=limit, before=before)

    async def replay(self, caller: Caller, delivery_id: str) -> Delivery:
        """Send one once more, with all its tries, under the id that it always had. Raises DeliveryNotFoundError."""
        delivery = await self._deliveries.get(delivery_id)
        if not caller.sees(delivery.owner) or delivery.kind is not DeliveryKind.webhook:
            raise DeliveryNotFoundError
        log.info("delivery_replayed", delivery_id=delivery_id, endpoint_id=delivery.endpoint_id)
        return await self._deliveries.replay(delivery_id)

    def _secret(self, endpoint: WebhookEndpoint) -> str:
        if not self._signing_key:
            raise WebhooksDisabledError
        return derived_secret(self._signing_key, endpoint.id, endpoint.secret_version)

    async def _check(self, url: str) -> None:
        try:
            await self._http.check(url)
        except (RemoteUrlError, PrivateAddressError) as error:
            raise InvalidFieldError(error.detail, field="url") from error
