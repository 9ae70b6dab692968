"""Deliveries on their way out: tries over hours, receivers that fail in every way, and a clock that a test turns."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from audio_text.domain.delivery import Delivery, DeliveryKind, DeliveryStatus, retry_delay
from audio_text.domain.webhooks import EndpointState
from audio_text.errors import (
    DatabaseUnavailableError,
    DeliveryFailedError,
    MailDisabledError,
    WebhookNotFoundError,
    WebhooksDisabledError,
)
from audio_text.ports import DeliveryResult, PauseRule, Recorded
from audio_text.services import deliverer
from audio_text.services.deliverer import Deliverer
from factories import make_endpoint, make_mail, make_settings
from fakes.deliveries import FakeDeliveryRepository, FakeWebhookRepository, Rows

Answer = Callable[[Delivery], Awaitable[int | None]]
HOUR = timedelta(hours=1)


class Receivers:
    """The sender: what each endpoint answers, 204 unless a test says otherwise, and what came where."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.answers: dict[str | None, Answer] = {}
        self.arrived: list[Delivery] = []

    async def send(self, delivery: Delivery) -> int | None:
        self.arrived.append(delivery)
        answer = self.answers.get(delivery.endpoint_id)
        return await answer(delivery) if answer else 204


class World:
    def __init__(self, **settings: Any) -> None:
        self.rows = Rows()
        self.webhooks = FakeWebhookRepository(self.rows)
        self.deliveries = FakeDeliveryRepository(self.rows)
        overrides = {f"webhooks.{key}": value for key, value in settings.items()}
        self.settings = make_settings(overrides).webhooks
        self.receivers = Receivers(self.settings.timeout_seconds)
        self.mails = Receivers(60.0)
        self.deliverer = self.another()

    def another(self, deliveries: FakeDeliveryRepository | None = None) -> Deliverer:
        senders = {DeliveryKind.webhook: self.receivers, DeliveryKind.mail: self.mails}
        return Deliverer(deliveries or self.deliveries, senders=senders, settings=self.settings)

    async def endpoint(self, owner: str = "me") -> str:
        endpoint = make_endpoint(owner=owner)
        assert await self.webhooks.add(endpoint, limit=100)
        return endpoint.id

    async def events(self, *ids: str, owner: str = "me", subject: str | None = None) -> None:
        for event_id in ids:
            await self.deliveries.enqueue_event(
                owner=owner, event_type="job.completed", event_id=event_id, subject=subject, data={}
            )

    async def pass_time(self, until: timedelta, *, step: timedelta = timedelta(seconds=2)) -> None:
        """Turn the clock, looking every few seconds as the service does."""
        while self.rows.passed < until:
            await self.deliverer.deliver_due()
            self.rows.passed += step

    def statuses(self) -> Counter[str]:
        return Counter(delivery.status.value for delivery in self.rows.deliveries.values())

    def only(self) -> Delivery:
        [delivery] = self.rows.deliveries.values()
        return delivery


def failing(status_code: int, **facts: Any) -> Answer:
    async def answer(delivery: Delivery) -> int | None:
        error = DeliveryFailedError(f"The receiver answered {status_code}.", status_code=status_code)
        for name, value in facts.items():
            setattr(error, name, value)
        raise error

    return answer


async def hanging(delivery: Delivery) -> int | None:
    await asyncio.sleep(60)
    return 204


async def test_a_receiver_that_answers_500_for_an_hour_gets_everything_once_afterwards() -> None:
    world = World()
    endpoint = await world.endpoint()
    await world.events(*(f"evt_{number}" for number in range(20)))
    world.receivers.answers[endpoint] = failing(500)
    await world.pass_time(HOUR)
    assert world.statuses() == {"pending": 20}
    refused = Counter(delivery.event_id for delivery in world.receivers.arrived)
    assert set(refused.values()) == {4}  # at once, after 5 s, 5 min and 30 min

    del world.receivers.answers[endpoint]
    world.receivers.arrived.clear()
    await world.pass_time(4 * HOUR, step=timedelta(minutes=1))
    assert world.statuses() == {"delivered": 20}
    assert Counter(delivery.event_id for delivery in world.receivers.arrived) == dict.fromkeys(refused, 1)
    [delivery, *_] = world.rows.deliveries.values()
    assert [attempt.error for attempt in delivery.log] == [*["The receiver answered 500."] * 4, None]


async def test_a_receiver_that_never_answers_well_is_given_up_after_three_days_and_paused() -> None:
    world = World()
    endpoint = await world.endpoint()
    await world.events("evt_1", "evt_2", "evt_3")
    world.receivers.answers[endpoint] = failing(500)
    with capture_logs() as logs:
        await world.pass_time(timedelta(hours=100), step=timedelta(minutes=2))
    tries = Counter(delivery.event_id for delivery in world.receivers.arrived)
    assert sum(line["event"] == "webhook_paused" for line in logs) == 1
    assert (await world.webhooks.get(endpoint)).state is EndpointState.paused
    assert max(tries.values()) == len(world.settings.retry_seconds) + 1
    assert world.statuses()["delivered"] == 0

    del world.receivers.answers[endpoint]
    await world.webhooks.enable(endpoint)
    for delivery in list(world.rows.deliveries.values()):
        if delivery.status is DeliveryStatus.failed:
            await world.deliveries.replay(delivery.id)
    await world.deliverer.deliver_due()
    assert world.statuses() == {"delivered": 3}


async def test_a_receiver_that_hangs_keeps_nobody_else_waiting() -> None:
    world = World(timeout_seconds=5.0, concurrency=4, concurrency_per_endpoint=2)
    slow = await world.endpoint()
    await world.endpoint("you")
    world.receivers.answers[slow] = hanging
    await world.events(*(f"evt_{number}" for number in range(9)))
    await world.events(*(f"yours_{number}" for number in range(9)), owner="you")
    async with world.deliverer.running():
        async with asyncio.timeout(4):
            while world.statuses()["delivered"] < 9:
                await asyncio.sleep(0.01)
        assert Counter(delivery.endpoint_id == slow for delivery in world.receivers.arrived) == {True: 2, False: 9}


async def test_one_owner_with_several_receivers_that_hang_delays_nobody_else() -> None:
    world = World(timeout_seconds=5.0, concurrency=8, concurrency_per_endpoint=2)
    for _ in range(5):
        world.receivers.answers[await world.endpoint()] = hanging
    await world.endpoint("you")
    await world.events(*(f"evt_{number}" for number in range(3)))
    await world.events(*(f"yours_{number}" for number in range(9)), owner="you")
    async with world.deliverer.running():
        async with asyncio.timeout(4):
            while world.statuses()["delivered"] < 9:
                await asyncio.sleep(0.01)
        assert Counter(delivery.owner for delivery in world.receivers.arrived) == {"me": 4, "you": 9}


async def test_a_mail_may_take_longer_than_a_webhook_and_its_lease_lasts_as_long() -> None:
    world = World(timeout_seconds=0.05)

    async def slow(delivery: Delivery) -> int | None:
        await asyncio.sleep(0.2)
        stored = await world.deliveries.get(delivery.id)
        assert stored.lease_expires_at is not None
        assert stored.lease_expires_at - world.rows.now() > timedelta(seconds=world.mails.seconds)
        return 250

    world.mails.answers[None] = slow
    await world.deliveries.add(make_mail())
    await world.deliverer.deliver_due()
    assert world.statuses() == {"delivered": 1}


async def test_a_receiver_that_hangs_has_not_taken_it() -> None:
    world = World(timeout_seconds=0.05)
    world.receivers.answers[await world.endpoint()] = hanging
    await world.events("evt_1")
    await world.deliverer.deliver_due()
    delivery = world.only()
    assert (delivery.status, delivery.error) == (DeliveryStatus.pending, "No answer within 0.05 seconds.")


@pytest.mark.parametrize(("asked", "least"), [(3_600.0, 3_600), (1e9, 86_400), (1.0, 5), (None, 5)])
async def test_a_receiver_that_asks_for_patience_gets_it_within_bounds(asked: float | None, least: int) -> None:
    world = World()
    world.receivers.answers[await world.endpoint()] = failing(429, retry_after_seconds=asked)
    await world.events("evt_1")
    await world.deliverer.deliver_due()
    delay = (world.only().due_at - world.rows.now()).total_seconds()
    assert least - 1 < delay <= max(least, 6.1)


async def test_a_receiver_that_is_gone_is_asked_no_more() -> None:
    world = World()
    endpoint = await world.endpoint()
    world.receivers.answers[endpoint] = failing(410, is_final=True, is_gone=True)
    await world.events("evt_1")
    await world.deliverer.deliver_due()
    await world.events("evt_2")
    await world.pass_time(HOUR, step=timedelta(minutes=1))
    assert world.statuses() == {"failed": 1, "pending": 1}
    assert (await world.webhooks.get(endpoint)).state is EndpointState.paused


async def test_what_a_defect_stops_is_tried_again_and_stops_nothing_else() -> None:
    world = World()

    async def broken(delivery: Delivery) -> int | None:
        raise ZeroDivisionError

    world.receivers.answers[await world.endpoint()] = broken
    await world.endpoint("you")
    await world.events("evt_1")
    await world.events("evt_2", owner="you")
    with capture_logs() as logs:
        assert await world.deliverer.deliver_due() == 2
    assert world.statuses() == {"pending": 1, "delivered": 1}
    assert "delivery_broke" in {line["event"] for line in logs}


@pytest.mark.parametrize(
    ("error", "status", "failures"),
    [
        (DatabaseUnavailableError(), "pending", 0),
        (WebhooksDisabledError(), "pending", 0),
        (MailDisabledError(), "pending", 0),
        (DeliveryFailedError(), "pending", 1),
        (WebhookNotFoundError(), "failed", 1),
    ],
)
async def test_whether_another_try_may_work_and_whose_fault_it_was_are_the_error_s_to_say(
    error: Exception, status: str, failures: int
) -> None:
    world = World()

    async def refuse(delivery: Delivery) -> int | None:
        raise error

    endpoint = await world.endpoint()
    world.receivers.answers[endpoint] = refuse
    await world.events("evt_1")
    await world.deliverer.deliver_due()
    assert world.statuses() == {status: 1}
    assert (await world.webhooks.get(endpoint)).failures == failures


async def test_what_one_process_cannot_send_another_can() -> None:
    world, elsewhere = World(), World()

    async def lacks_settings(delivery: Delivery) -> int | None:
        raise MailDisabledError

    world.mails.answers[None] = lacks_settings
    await world.deliveries.add(make_mail())
    await world.deliverer.deliver_due()
    assert "mail.host" in (world.only().error or "")
    world.rows.passed += timedelta(minutes=1)
    await elsewhere.another(world.deliveries).deliver_due()
    assert world.statuses() == {"delivered": 1}
    assert len(elsewhere.mails.arrived) == 1


async def test_what_no_process_can_send_yet_is_never_given_up() -> None:
    world, elsewhere = World(), World()

    async def lacks_settings(delivery: Delivery) -> int | None:
        raise MailDisabledError

    world.mails.answers[None] = lacks_settings
    await world.deliveries.add(make_mail())
    for _ in range(30):
        await world.deliverer.deliver_due()
        world.rows.passed += timedelta(minutes=7)
    assert len(world.mails.arrived) == 30
    assert world.statuses() == {"pending": 1}
    await elsewhere.another(world.deliveries).deliver_due()
    assert world.statuses() == {"delivered": 1}


async def test_two_dispatchers_at_once_send_nothing_twice() -> None:
    world = World(concurrency=8, concurrency_per_endpoint=8)
    await world.endpoint()
    await world.events(*(f"evt_{number}" for number in range(100)))
    async with world.deliverer.running(), world.another().running():
        async with asyncio.timeout(10):
            while world.statuses()["delivered"] < 100:
                await asyncio.sleep(0.01)
    assert len(world.receivers.arrived) == 100


async def test_what_is_about_one_job_arrives_in_order_though_the_first_try_fails() -> None:
    world = World()
    endpoint = await world.endpoint()
    outcomes = [failing(500), None, None]

    async def once(delivery: Delivery) -> int | None:
        outcome = outcomes.pop(0)
        return await outcome(delivery) if outcome else 204

    world.receivers.answers[endpoint] = once
    await world.events("evt_failed", "evt_completed", subject="job")
    await world.pass_time(timedelta(minutes=1))
    assert [delivery.event_id for delivery in world.receivers.arrived] == ["evt_failed", "evt_failed", "evt_completed"]


class AwayAfterwards(FakeDeliveryRepository):
    """The database goes away between the sending and the writing, a few times."""

    failures = 3

    async def record(self, delivery: Delivery, result: DeliveryResult, *, rule: PauseRule) -> Recorded | None:
        if self.failures:
            self.failures -= 1
            raise DatabaseUnavailableError
        return await super().record(delivery, result, rule=rule)


async def test_what_arrived_while_the_database_was_away_is_written_when_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deliverer, "RECORD_AGAIN_SECONDS", 0.01)
    world = World()
    await world.endpoint()
    await world.events("evt_1")
    assert await world.another(AwayAfterwards(world.rows)).deliver_due() == 1
    assert world.statuses() == {"delivered": 1}
    assert len(world.receivers.arrived) == 1


async def test_an_outage_is_told_once_and_everything_goes_out_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliverer, "LOOK_SECONDS", 0.01)
    world = World()
    await world.endpoint()
    await world.events("evt_1")
    world.rows.is_down = True
    with capture_logs() as logs:
        async with world.deliverer.running(), asyncio.timeout(5):
            await asyncio.sleep(0.1)
            world.rows.is_down = False
            while not world.statuses()["delivered"]:
                await asyncio.sleep(0.01)
    told = [line["event"] for line in logs if line["event"].startswith("deliveries_")]
    assert told == ["deliveries_postponed", "deliveries_resumed"]


async def test_whoever_stored_something_need_not_wait_for_the_next_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliverer, "LOOK_SECONDS", 60.0)
    world = World()
    await world.endpoint()
    async with world.deliverer.running(), asyncio.timeout(5):
        await asyncio.sleep(0.05)
        await world.events("evt_1")
        world.deliverer.wake()
        while not world.statuses()["delivered"]:
            await asyncio.sleep(0.01)


async def test_a_process_that_ends_waits_for_what_is_on_its_way_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deliverer, "STOP_SECONDS", 0.2)
    world = World()
    slow = await world.endpoint()
    await world.endpoint("you")

    async def soon(delivery: Delivery) -> int | None:
        await asyncio.sleep(0.05)
        return 204

    world.receivers.answers[slow] = hanging
    [yours] = [endpoint.id for endpoint in await world.webhooks.find(owner="you")]
    world.receivers.answers[yours] = soon
    await world.events("evt_1")
    await world.events("evt_2", owner="you")
    async with asyncio.timeout(5), world.deliverer.running():
        while len(world.receivers.arrived) < 2:
            await asyncio.sleep(0.01)
    assert world.statuses() == {"delivered": 1, "pending": 1}


async def test_neither_addresses_nor_payloads_are_logged() -> None:
    world = World()
    world.receivers.answers[await world.endpoint()] = failing(500)
    await world.endpoint()
    await world.deliveries.enqueue_event(
        owner="me", event_type="job.completed", event_id="evt_1", subject="job", data={"filename": "divorce.mp3"}
    )
    with capture_logs() as logs:
        await world.deliverer.deliver_due()
    assert {line["event"] for line in logs} == {"delivered", "delivery_postponed"}
    assert "divorce" not in str(logs)
    assert "receiver.test" not in str(logs)


def test_tries_are_spread_over_the_schedule_and_end_with_it() -> None:
    schedule = (5.0, 300.0)
    delays = [retry_delay(1, schedule) or 0.0 for _ in range(200)]
    assert min(delays) >= 5.0
    assert max(delays) <= 6.0
    assert len(set(delays)) > 100
    assert 300.0 <= (retry_delay(2, schedule) or 0.0) <= 360.0
    assert retry_delay(3, schedule) is None
