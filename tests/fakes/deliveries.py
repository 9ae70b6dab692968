"""Endpoints and their deliveries, in memory, with a clock that a test may turn."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import msgspec
from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from audio_text.domain.delivery import LOG_LENGTH, Delivery, DeliveryAttempt, DeliveryKind, DeliveryStatus
from audio_text.domain.owners import Whose, is_of
from audio_text.domain.webhooks import EndpointState, WebhookEndpoint
from audio_text.errors import DatabaseUnavailableError, DeliveryNotFoundError, WebhookNotFoundError
from audio_text.ports import DeliveryResult, PauseRule, Recorded

LOST = "Its worker process ended, and whether it arrived is unknown."


class Rows:
    """What both fakes look at. `passed` is added to the clock; while `is_down`, every method raises."""

    def __init__(self) -> None:
        self.endpoints: dict[str, WebhookEndpoint] = {}
        self.deliveries: dict[str, Delivery] = {}
        self.passed = timedelta()
        self.is_down = False

    def now(self) -> datetime:
        if self.is_down:
            raise DatabaseUnavailableError
        return datetime.now(UTC) + self.passed

    def delivery(self, delivery_id: str, **fields: Any) -> Delivery:
        if delivery_id not in self.deliveries:
            raise DeliveryNotFoundError
        self.deliveries[delivery_id] = replace(self.deliveries[delivery_id], **fields)
        return self.deliveries[delivery_id]

    def endpoint(self, endpoint_id: str, **fields: Any) -> WebhookEndpoint:
        if endpoint_id not in self.endpoints:
            raise WebhookNotFoundError
        self.endpoints[endpoint_id] = replace(self.endpoints[endpoint_id], **fields)
        return self.endpoints[endpoint_id]


class FakeDeliveryRepository:
    def __init__(self, rows: Rows | None = None) -> None:
        self.rows = rows or Rows()

    async def add(self, delivery: Delivery) -> None:
        self.rows.now()
        self.rows.deliveries.setdefault(delivery.id, delivery)

    async def enqueue_event(
        self, *, owner: str | None, event_type: str, event_id: str, subject: str | None, data: Mapping[str, object]
    ) -> None:
        now = self.rows.now()
        payload = {"type": event_type, "timestamp": now, "data": data}
        taken = {(other.endpoint_id, other.event_id) for other in self.rows.deliveries.values()}
        for endpoint in self.rows.endpoints.values():
            if endpoint.owner == owner and event_type in endpoint.events and (endpoint.id, event_id) not in taken:
                await self.add(
                    Delivery(
                        id=str(uuid4()),
                        kind=DeliveryKind.webhook,
                        lane=endpoint.id,
                        owner=owner,
                        endpoint_id=endpoint.id,
                        event_type=event_type,
                        event_id=event_id,
                        subject=subject,
                        payload=msgspec.json.encode(payload).decode(),
                        created_at=self.rows.now(),
                        due_at=now,
                    )
                )

    async def claim(
        self, *, limit: int, per_lane: int, per_owner: int, under_way: Mapping[str, int], lease_seconds: float
    ) -> list[Delivery]:
        now = self.rows.now()
        waiting = [delivery for delivery in self._pending() if self._may_go(delivery)]
        lanes = Counter(other.lane for other in self._pending() if self._is_leased(other))
        owners = Counter(under_way)
        taken: list[Delivery] = []
        while len(taken) < limit:
            waiting = [one for one in waiting if lanes[one.lane] < per_lane and owners[one.owner or ""] < per_owner]
            if not waiting:
                break
            delivery = min(waiting, key=lambda one: (owners[one.owner or ""], one.due_at, one.id))
            waiting.remove(delivery)
            lanes[delivery.lane] += 1
            owners[delivery.owner or ""] += 1
            taken.append(
                self.rows.delivery(
                    delivery.id,
                    attempts=delivery.attempts + 1,
                    claims=delivery.claims + 1,
                    lease_expires_at=now + timedelta(seconds=lease_seconds),
                    log=_logged(delivery, DeliveryAttempt(at=delivery.lease_expires_at, error=LOST))
                    if delivery.lease_expires_at
                    else delivery.log,
                )
            )
        return sorted(taken, key=lambda delivery: (delivery.due_at, delivery.id))

    async def record(self, delivery: Delivery, result: DeliveryResult, *, rule: PauseRule) -> Recorded | None:
        now, stored = self.rows.now(), self.rows.deliveries.get(delivery.id)
        if stored is None or stored.claims != delivery.claims or stored.status is not DeliveryStatus.pending:
            return None
        self.rows.delivery(
            delivery.id,
            status=result.status,
            due_at=now + timedelta(seconds=result.delay_seconds),
            lease_expires_at=None,
            status_code=result.attempt.status_code,
            error=result.attempt.error,
            log=_logged(stored, result.attempt),
            finished_at=None if result.status is DeliveryStatus.pending else now,
        )
        if delivery.endpoint_id is None or result.is_ours:
            return Recorded()
        endpoint = self.rows.endpoint(delivery.endpoint_id)
        if result.attempt.error is None:
            self.rows.endpoint(endpoint.id, failures=0, failing_since=None)
            return Recorded()
        since = endpoint.failing_since or now
        endpoint = self.rows.endpoint(endpoint.id, failures=endpoint.failures + 1, failing_since=since)
        is_due = endpoint.failures >= rule.failures and since <= now - timedelta(seconds=rule.seconds)
        if endpoint.state is EndpointState.paused or not (result.is_gone or is_due):
            return Recorded()
        reason = (
            "The receiver answered 410 Gone."
            if result.is_gone
            else f"At least {rule.failures} tries in a row failed, the last: {result.attempt.error}"
        )
        self.rows.endpoint(endpoint.id, state=EndpointState.paused, paused_at=now, paused_reason=reason)
        return Recorded(paused_reason=reason)

    async def get(self, delivery_id: str) -> Delivery:
        self.rows.now()
        return self.rows.delivery(delivery_id)

    async def find(self, endpoint_id: str, *, limit: int, before: tuple[datetime, str] | None = None) -> list[Delivery]:
        self.rows.now()
        found = [
            delivery
            for delivery in self.rows.deliveries.values()
            if delivery.endpoint_id == endpoint_id and (before is None or _age(delivery) < before)
        ]
        return sorted(found, key=_age, reverse=True)[:limit]

    async def replay(self, delivery_id: str) -> Delivery:
        delivery = await self.get(delivery_id)
        is_pending = delivery.status is DeliveryStatus.pending
        return self.rows.delivery(
            delivery_id,
            due_at=self.rows.now(),
            status=DeliveryStatus.pending,
            finished_at=None,
            attempts=delivery.attempts if is_pending else 0,
        )

    async def purge(self, *, seconds: float, limit: int) -> int:
        until = self.rows.now() - timedelta(seconds=seconds)
        old = sorted((delivery for delivery in self.rows.deliveries.values() if delivery.created_at < until), key=_age)
        for delivery in old[:limit]:
            del self.rows.deliveries[delivery.id]
        return len(old[:limit])

    def _pending(self) -> list[Delivery]:
        return [other for other in self.rows.deliveries.values() if other.status is DeliveryStatus.pending]

    def _is_leased(self, delivery: Delivery) -> bool:
        return delivery.lease_expires_at is not None and delivery.lease_expires_at > self.rows.now()

    def _may_go(self, delivery: Delivery) -> bool:
        endpoint = self.rows.endpoints.get(delivery.lane)
        is_first = not any(
            other.lane == delivery.lane
            and delivery.subject is not None
            and other.subject == delivery.subject
            and other.created_at < delivery.created_at
            for other in self._pending()
        )
        is_open = endpoint is None or endpoint.state is EndpointState.enabled
        return is_first and is_open and delivery.due_at <= self.rows.now() and not self._is_leased(delivery)


class FakeWebhookRepository:
    def __init__(self, rows: Rows | None = None) -> None:
        self.rows = rows or Rows()

    async def add(self, endpoint: WebhookEndpoint, *, limit: int) -> bool:
        if len(await self.find(owner=endpoint.owner)) >= limit:
            return False
        self.rows.endpoints[endpoint.id] = endpoint
        return True

    async def get(self, endpoint_id: str) -> WebhookEndpoint:
        self.rows.now()
        return self.rows.endpoint(endpoint_id)

    async def find(self, *, owner: Whose) -> list[WebhookEndpoint]:
        self.rows.now()
        found = [endpoint for endpoint in self.rows.endpoints.values() if is_of(endpoint.owner, owner)]
        return sorted(found, key=lambda endpoint: (endpoint.created_at, endpoint.id))

    async def change(
        self,
        endpoint_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        description: str | UnsetType | None = UNSET,
    ) -> WebhookEndpoint:
        endpoint = await self.get(endpoint_id)
        return self.rows.endpoint(
            endpoint_id,
            url=url or endpoint.url,
            events=endpoint.events if events is None else tuple(events),
            description=endpoint.description if description is UNSET else description,
        )

    async def rotate(self, endpoint_id: str, *, overlap_seconds: float) -> WebhookEndpoint:
        endpoint = await self.get(endpoint_id)
        until = self.rows.now() + timedelta(seconds=overlap_seconds)
        return self.rows.endpoint(endpoint_id, secret_version=endpoint.secret_version + 1, overlap_until=until)

    async def enable(self, endpoint_id: str) -> WebhookEndpoint:
        now = self.rows.now()
        endpoint = self.rows.endpoint(
            endpoint_id,
            state=EndpointState.enabled,
            paused_at=None,
            paused_reason=None,
            failures=0,
            failing_since=None,
        )
        for delivery in list(self.rows.deliveries.values()):
            if delivery.endpoint_id == endpoint_id and delivery.status is DeliveryStatus.pending:
                self.rows.delivery(delivery.id, due_at=min(delivery.due_at, now))
        return endpoint

    async def delete(self, endpoint_id: str) -> None:
        await self.get(endpoint_id)
        del self.rows.endpoints[endpoint_id]
        for delivery in list(self.rows.deliveries.values()):
            if delivery.endpoint_id == endpoint_id:
                del self.rows.deliveries[delivery.id]


def _age(delivery: Delivery) -> tuple[datetime, str]:
    return delivery.created_at, delivery.id


def _logged(delivery: Delivery, attempt: DeliveryAttempt) -> tuple[DeliveryAttempt, ...]:
    return (*delivery.log, attempt)[-LOG_LENGTH:]
