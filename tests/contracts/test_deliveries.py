"""Endpoints and deliveries: in PostgreSQL, and in the fakes that stand in for it elsewhere."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from audio_text.adapters.database import open_database
from audio_text.adapters.deliveries import PiccoloDeliveryRepository
from audio_text.adapters.webhook_endpoints import PiccoloWebhookRepository
from audio_text.domain.delivery import LOG_LENGTH, Delivery, DeliveryAttempt, DeliveryKind, DeliveryStatus
from audio_text.domain.owners import EVERYBODY
from audio_text.domain.webhooks import EndpointState, WebhookEndpoint
from audio_text.errors import DeliveryNotFoundError, WebhookNotFoundError
from audio_text.ports import DeliveryRepository, DeliveryResult, PauseRule, Recorded, WebhookRepository
from factories import make_endpoint, make_mail
from fakes.deliveries import FakeDeliveryRepository, FakeWebhookRepository, Rows
from services.database import Database

NEVER = PauseRule(failures=1_000, seconds=0)
DATA = {"id": "job", "metadata": {"ä": "{}"}}


@dataclass
class Outbox:
    webhooks: WebhookRepository
    deliveries: DeliveryRepository

    async def endpoint(self, **fields: Any) -> WebhookEndpoint:
        endpoint = make_endpoint(**fields)
        assert await self.webhooks.add(endpoint, limit=10)
        return endpoint

    async def enqueue(self, event_id: str = "evt_1", *, owner: str | None = "me", **fields: Any) -> None:
        event: dict[str, Any] = {"event_type": "job.completed", "subject": None, "data": DATA}
        await self.deliveries.enqueue_event(owner=owner, event_id=event_id, **(event | fields))

    async def claim(self, **bounds: Any) -> list[Delivery]:
        free: dict[str, Any] = {"limit": 100, "per_lane": 100, "per_owner": 100, "under_way": {}, "lease_seconds": 60.0}
        return await self.deliveries.claim(**(free | bounds))

    async def record(self, delivery: Delivery, result: DeliveryResult, *, rule: PauseRule = NEVER) -> Recorded | None:
        return await self.deliveries.record(delivery, result, rule=rule)


def delivered(**fields: Any) -> DeliveryResult:
    attempt = DeliveryAttempt(at=datetime.now(UTC), status_code=204, seconds=0.5)
    return DeliveryResult(status=DeliveryStatus.delivered, attempt=attempt, **fields)


def failed(delay_seconds: float | None = 0.0, **fields: Any) -> DeliveryResult:
    attempt = DeliveryAttempt(at=datetime.now(UTC), status_code=500, error="It answered 500.", seconds=0.5)
    status = DeliveryStatus.failed if delay_seconds is None else DeliveryStatus.pending
    return DeliveryResult(status=status, attempt=attempt, delay_seconds=delay_seconds or 0.0, **fields)


class DeliveryContract:
    async def test_an_event_is_stored_once_for_each_endpoint_of_its_owner_that_asked_for_it(
        self, outbox: Outbox
    ) -> None:
        first, second = await outbox.endpoint(), await outbox.endpoint()
        await outbox.endpoint(events=("job.failed",))
        await outbox.endpoint(owner="you")
        await outbox.endpoint(owner=None)
        for _ in range(2):
            await outbox.enqueue(subject="job")

        taken = await outbox.claim()

        assert {delivery.endpoint_id for delivery in taken} == {first.id, second.id}
        [mine] = [delivery for delivery in taken if delivery.endpoint_id == first.id]
        assert (mine.event_type, mine.event_id, mine.subject) == ("job.completed", "evt_1", "job")
        assert (mine.owner, mine.kind, mine.attempts, mine.claims) == ("me", DeliveryKind.webhook, 1, 1)
        payload = msgspec.json.decode(mine.payload)
        assert (payload["type"], payload["data"]) == ("job.completed", DATA)
        assert datetime.fromisoformat(payload["timestamp"]).tzinfo

    async def test_nobody_in_particular_is_an_owner_like_any_other(self, outbox: Outbox) -> None:
        endpoint = await outbox.endpoint(owner=None)
        await outbox.endpoint()
        await outbox.enqueue(owner=None)
        assert [delivery.endpoint_id for delivery in await outbox.claim()] == [endpoint.id]

    async def test_a_mail_is_stored_as_it_is_and_once(self, outbox: Outbox) -> None:
        mail = make_mail()
        for _ in range(2):
            await outbox.deliveries.add(mail)
        [taken] = await outbox.claim()
        again = replace(taken, payload=mail.payload, lease_expires_at=None, attempts=0, claims=0)
        assert again == mail
        assert msgspec.json.decode(taken.payload) == {"job_id": "x"}
        assert await outbox.claim() == []
        assert await outbox.record(taken, delivered()) == Recorded()

    async def test_no_two_get_the_same_delivery(self, outbox: Outbox) -> None:
        await outbox.endpoint()
        for number in range(20):
            await outbox.enqueue(f"evt_{number}")
        several = [*await asyncio.gather(*(outbox.claim(limit=5) for _ in range(6))), await outbox.claim()]
        ids = [delivery.id for taken in several for delivery in taken]
        assert len(ids) == len(set(ids)) == 20

    async def test_one_receiver_has_no_more_on_the_way_than_its_share_however_much_waits(self, outbox: Outbox) -> None:
        slow, quick = await outbox.endpoint(), await outbox.endpoint(owner="you")
        for number in range(9):
            await outbox.enqueue(f"evt_{number}")
        await outbox.enqueue("evt_you", owner="you")
        taken = await outbox.claim(limit=4, per_lane=2)
        assert sorted(delivery.endpoint_id or "" for delivery in taken) == sorted([slow.id, slow.id, quick.id])
        assert await outbox.claim(per_lane=2) == []
        assert await outbox.record(taken[0], delivered())
        assert len(await outbox.claim(per_lane=2)) == 1

    async def test_owners_take_turns_and_none_has_more_on_the_way_than_its_share(self, outbox: Outbox) -> None:
        for owner in ("me", "me", "you", None):
            await outbox.endpoint(owner=owner)
        for owner in ("me", "you", None):
            for number in range(4):
                await outbox.enqueue(f"evt_{number}", owner=owner)
        taken = await outbox.claim(limit=6, per_owner=3)
        assert Counter(delivery.owner for delivery in taken) == {"me": 2, "you": 2, None: 2}
        taken = await outbox.claim(limit=2, per_owner=3, under_way={"me": 2, "you": 1, "": 1})
        assert Counter(delivery.owner for delivery in taken) == {"you": 1, None: 1}
        taken = await outbox.claim(per_owner=3, under_way={"me": 2, "you": 3, "": 3})
        assert [delivery.owner for delivery in taken] == ["me"]
        assert await outbox.claim(per_owner=3, under_way={"me": 3, "you": 3, "": 3}) == []

    async def test_owners_take_turns_with_mails_too(self, outbox: Outbox) -> None:
        for owner in ("me", "me", "me", "me", "you", "her"):
            await outbox.deliveries.add(make_mail(owner=owner))
        taken = await outbox.claim(per_lane=2)
        assert [delivery.owner for delivery in taken] == ["me", "you"]
        taken = await outbox.claim(per_lane=3, per_owner=4, under_way={"me": 4})
        assert [delivery.owner for delivery in taken] == ["her"]
        assert len(await outbox.claim()) == 3

    async def test_what_is_about_the_same_job_goes_out_in_order(self, outbox: Outbox) -> None:
        await outbox.endpoint()
        await outbox.enqueue("evt_1", event_type="job.failed", subject="job")
        await outbox.enqueue("evt_2", subject="job")
        await outbox.enqueue("evt_other", subject="other")
        first, other = await outbox.claim()
        assert [first.event_id, other.event_id] == ["evt_1", "evt_other"]
        assert await outbox.record(first, failed(delay_seconds=3_600))
        assert await outbox.claim() == []
        await outbox.deliveries.replay(first.id)
        [first] = await outbox.claim()
        assert await outbox.record(first, failed(delay_seconds=None))
        [second] = await outbox.claim()
        assert second.event_id == "evt_2"

    async def test_a_delivery_is_over_once_it_was_taken(self, outbox: Outbox) -> None:
        endpoint = await outbox.endpoint()
        await outbox.enqueue()
        [taken] = await outbox.claim()
        result = delivered()
        assert await outbox.record(taken, result) == Recorded()
        assert await outbox.record(taken, result) is None
        assert await outbox.claim() == []
        stored = await outbox.deliveries.get(taken.id)
        assert (stored.status, stored.status_code, stored.error) == (DeliveryStatus.delivered, 204, None)
        assert stored.finished_at is not None
        assert stored.lease_expires_at is None
        assert stored.log == (result.attempt,)
        assert await outbox.deliveries.find(endpoint.id, limit=9) == [stored]

    async def test_one_that_failed_is_due_again_after_its_delay(self, outbox: Outbox) -> None:
        await outbox.endpoint()
        await outbox.enqueue()
        [taken] = await outbox.claim()
        assert await outbox.record(taken, failed(delay_seconds=60.0))
        assert await outbox.claim() == []
        stored = await outbox.deliveries.get(taken.id)
        assert timedelta(seconds=55) < stored.due_at - datetime.now(UTC) <= timedelta(seconds=60)
        assert (stored.status, stored.error, stored.finished_at) == (DeliveryStatus.pending, "It answered 500.", None)

    async def test_the_log_keeps_the_newest_attempts(self, outbox: Outbox) -> None:
        await outbox.endpoint()
        await outbox.enqueue()
        for _ in range(LOG_LENGTH + 2):
            [taken] = await outbox.claim()
            assert await outbox.record(taken, failed())
        last = failed(delay_seconds=None)
        [taken] = await outbox.claim()
        assert await outbox.record(taken, last)
        stored = await outbox.deliveries.get(taken.id)
        assert (len(stored.log), stored.log[-1], stored.attempts) == (LOG_LENGTH, last.attempt, LOG_LENGTH + 3)
        assert stored.status is DeliveryStatus.failed

    async def test_whoever_died_with_it_loses_it_and_the_log_says_so(self, outbox: Outbox) -> None:
        await outbox.endpoint()
        await outbox.enqueue()
        [lost] = await outbox.claim(lease_seconds=0.0)
        [taken] = await outbox.claim()
        assert (taken.id, taken.event_id, taken.claims) == (lost.id, lost.event_id, 2)
        assert await outbox.record(lost, delivered()) is None
        assert await outbox.record(taken, delivered()) is not None
        unknown, arrived = (await outbox.deliveries.get(taken.id)).log
        assert "unknown" in (unknown.error or "")
        assert arrived.error is None

    async def test_a_replay_is_a_new_beginning_under_the_same_event_id(self, outbox: Outbox) -> None:
        await outbox.endpoint()
        await outbox.enqueue()
        [taken] = await outbox.claim()
        assert await outbox.record(taken, failed(delay_seconds=None))
        replayed = await outbox.deliveries.replay(taken.id)
        assert (replayed.status, replayed.attempts, replayed.finished_at) == (DeliveryStatus.pending, 0, None)
        [again] = await outbox.claim()
        assert (again.event_id, again.payload, again.claims) == (taken.event_id, taken.payload, 2)

    async def test_old_deliveries_are_removed_whatever_their_state(self, outbox: Outbox) -> None:
        await outbox.endpoint()
        for number in range(3):
            await outbox.enqueue(f"evt_{number}")
        [taken] = await outbox.claim(limit=1)
        assert await outbox.record(taken, delivered())
        assert await outbox.deliveries.purge(seconds=60.0, limit=9) == 0
        assert await outbox.deliveries.purge(seconds=-60.0, limit=2) == 2
        assert await outbox.deliveries.purge(seconds=-60.0, limit=9) == 1

    async def test_a_list_of_deliveries_goes_on_where_it_stopped(self, outbox: Outbox) -> None:
        endpoint = await outbox.endpoint()
        for number in range(3):
            await outbox.enqueue(f"evt_{number}")
        newest, second = await outbox.deliveries.find(endpoint.id, limit=2)
        rest = await outbox.deliveries.find(endpoint.id, limit=9, before=(second.created_at, second.id))
        assert [delivery.event_id for delivery in (newest, second, *rest)] == ["evt_2", "evt_1", "evt_0"]
        assert await outbox.deliveries.find("nobody", limit=9) == []

    async def test_what_is_unknown_is_said_to_be(self, outbox: Outbox) -> None:
        for unknown in (outbox.deliveries.get, outbox.deliveries.replay):
            with pytest.raises(DeliveryNotFoundError):
                await unknown("nothing")
        webhooks = outbox.webhooks
        for asked in (webhooks.get("x"), webhooks.enable("x"), webhooks.delete("x"), webhooks.change("x", url="u")):
            with pytest.raises(WebhookNotFoundError):
                await asked
        with pytest.raises(WebhookNotFoundError):
            await webhooks.rotate("x", overlap_seconds=1)


class EndpointContract:
    async def test_an_endpoint_is_found_by_its_owner(self, outbox: Outbox) -> None:
        mine, yours = await outbox.endpoint(description="CRM"), await outbox.endpoint(owner="you")
        nobodys = await outbox.endpoint(owner=None)
        webhooks = outbox.webhooks
        assert await webhooks.get(mine.id) == mine
        assert await webhooks.find(owner="me") == [mine]
        assert await webhooks.find(owner=None) == [nobodys]
        assert await webhooks.find(owner=EVERYBODY) == [mine, yours, nobodys]

    async def test_an_owner_has_no_more_than_the_limit(self, outbox: Outbox) -> None:
        for owner in ("me", None):
            added = [await outbox.webhooks.add(make_endpoint(owner=owner), limit=2) for _ in range(3)]
            assert added == [True, True, False]
        await asyncio.gather(*(outbox.webhooks.add(make_endpoint(owner="you"), limit=2) for _ in range(8)))
        assert len(await outbox.webhooks.find(owner="you")) <= 2

    async def test_what_is_not_named_stays_as_it_is(self, outbox: Outbox) -> None:
        endpoint = await outbox.endpoint(description="CRM")
        webhooks = outbox.webhooks
        assert await webhooks.change(endpoint.id, url="https://other.test/") == replace(
            endpoint, url="https://other.test/"
        )
        changed = await webhooks.change(endpoint.id, events=["job.cancelled"], description=None)
        assert (changed.url, changed.events, changed.description) == ("https://other.test/", ("job.cancelled",), None)
        assert await webhooks.get(endpoint.id) == changed

    async def test_a_rotation_begins_the_next_secret(self, outbox: Outbox) -> None:
        endpoint = await outbox.endpoint()
        rotated = await outbox.webhooks.rotate(endpoint.id, overlap_seconds=60.0)
        assert rotated.secret_version == 2
        assert rotated.overlap_until is not None
        assert timedelta(seconds=55) < rotated.overlap_until - datetime.now(UTC) <= timedelta(seconds=60)

    async def test_failures_in_a_row_over_a_time_pause_an_endpoint_and_what_is_for_it_waits(
        self, outbox: Outbox
    ) -> None:
        endpoint = await outbox.endpoint()
        await outbox.enqueue()
        for rule in (PauseRule(failures=4, seconds=0), PauseRule(failures=1, seconds=60)):
            [taken] = await outbox.claim()
            assert await outbox.record(taken, failed(), rule=rule) == Recorded()
        [taken] = await outbox.claim()
        recorded = await outbox.record(taken, failed(3_600), rule=PauseRule(failures=3, seconds=0))
        assert recorded is not None
        assert recorded.paused_reason is not None
        paused = await outbox.webhooks.get(endpoint.id)
        assert (paused.state, paused.failures) == (EndpointState.paused, 3)
        assert (
            paused.paused_reason
            == recorded.paused_reason
            == "At least 3 tries in a row failed, the last: It answered 500."
        )
        assert paused.paused_at is not None

        await outbox.enqueue("evt_2")
        assert await outbox.claim() == []
        enabled = await outbox.webhooks.enable(endpoint.id)
        assert enabled == endpoint
        assert {delivery.event_id for delivery in await outbox.claim()} == {"evt_1", "evt_2"}

    async def test_what_arrives_ends_the_row_of_failures(self, outbox: Outbox) -> None:
        endpoint = await outbox.endpoint()
        await outbox.enqueue()
        [taken] = await outbox.claim()
        assert await outbox.record(taken, failed())
        failing = await outbox.webhooks.get(endpoint.id)
        assert failing.failures == 1
        assert failing.failing_since is not None
        [taken] = await outbox.claim()
        assert await outbox.record(taken, delivered())
        assert await outbox.webhooks.get(endpoint.id) == endpoint

    async def test_what_failed_on_our_side_is_not_held_against_an_endpoint(self, outbox: Outbox) -> None:
        endpoint = await outbox.endpoint()
        await outbox.enqueue()
        ours = failed(is_ours=True)
        [taken] = await outbox.claim()
        assert await outbox.record(taken, ours, rule=PauseRule(failures=1, seconds=0)) == Recorded()
        assert await outbox.webhooks.get(endpoint.id) == endpoint
        [taken] = await outbox.claim()
        assert taken.log[-1] == ours.attempt
        assert await outbox.record(taken, failed())
        failing = await outbox.webhooks.get(endpoint.id)
        [taken] = await outbox.claim()
        assert await outbox.record(taken, ours) == Recorded()
        assert await outbox.webhooks.get(endpoint.id) == failing

    async def test_whoever_is_gone_is_paused_at_once(self, outbox: Outbox) -> None:
        endpoint = await outbox.endpoint()
        await outbox.enqueue()
        [taken] = await outbox.claim()
        recorded = await outbox.record(taken, failed(None, is_gone=True))
        assert recorded is not None
        assert "410" in (recorded.paused_reason or "")
        assert (await outbox.webhooks.get(endpoint.id)).state is EndpointState.paused

    async def test_an_endpoint_takes_its_deliveries_along(self, outbox: Outbox) -> None:
        endpoint = await outbox.endpoint()
        await outbox.enqueue()
        [taken] = await outbox.claim()
        await outbox.webhooks.delete(endpoint.id)
        assert await outbox.record(taken, delivered()) is None
        with pytest.raises(DeliveryNotFoundError):
            await outbox.deliveries.get(taken.id)


class OnFakes:
    @pytest.fixture
    def outbox(self) -> Outbox:
        rows = Rows()
        return Outbox(FakeWebhookRepository(rows), FakeDeliveryRepository(rows))


class OnPostgres:
    @pytest.fixture
    async def outbox(self, database: Database) -> AsyncGenerator[Outbox]:
        async with open_database(database.settings, database.password, application_name="test") as engine:
            yield Outbox(PiccoloWebhookRepository(engine), PiccoloDeliveryRepository(engine))


class TestFakeDeliveries(OnFakes, DeliveryContract):
    pass


class TestPiccoloDeliveries(OnPostgres, DeliveryContract):
    pass


class TestFakeEndpoints(OnFakes, EndpointContract):
    pass


class TestPiccoloEndpoints(OnPostgres, EndpointContract):
    pass
