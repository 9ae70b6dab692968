"""Webhooks end to end: real rows, real requests, and a receiver that verifies with the convention's own library."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from standardwebhooks.webhooks import WebhookVerificationError

from audio_text.bootstrap import open_deliverer, open_resources
from audio_text.domain.delivery import DeliveryStatus
from audio_text.domain.job import Completed, Failed, JobStatus
from audio_text.domain.webhooks import EventType, WebhookEndpoint, derived_secret
from audio_text.ports import Again, Claim, JobRepository, OpenResources
from audio_text.services.deliverer import Deliverer
from audio_text.settings import Settings
from factories import make_chunk, make_endpoint, make_job, make_segment
from services.database import Database
from services.outside import answer
from services.receiver import Receiver, always, never, serving

KEY = "a key that only tests know"
SENDER = Path(__file__).parents[1] / "services" / "sender_process.py"
DIGEST = "a" * 64
TIER = "audio_small"
OUTCOME = Completed(
    result_text="A secret.",
    duration=10.0,
    duration_after_vad=8.0,
    processing_time_seconds=2.5,
    language="en",
    language_probability=0.9,
    audio_sha256=DIGEST,
)
FAILURE = Failed(error_code="invalid_audio", error_message="It is damaged.", processing_time_seconds=0.1)


class World:
    """A service's rows, a receiver, and one endpoint that leads from the former to the latter."""

    def __init__(self, settings: Settings, resources: OpenResources, receiver: Receiver, deliverer: Deliverer) -> None:
        self.settings, self.resources, self.receiver, self.deliverer = settings, resources, receiver, deliverer

    @property
    def jobs(self) -> JobRepository:
        return self.resources.jobs

    async def endpoint(self, **fields: Any) -> WebhookEndpoint:
        fields = {"url": self.receiver.url, "owner": None, "events": tuple(EventType)} | fields
        endpoint = make_endpoint(**fields)
        assert await self.resources.webhooks.add(endpoint, limit=10)
        return endpoint

    async def claimed(self, **fields: Any) -> Claim:
        job = make_job(**fields)
        await self.jobs.add(job)
        claimed = await self.jobs.claim(TIER, owner="worker", lease_seconds=fields.pop("lease_seconds", 60))
        assert claimed is not None
        return Claim(claimed.id, claimed.claims)

    async def completed(self, **fields: Any) -> str:
        claim = await self.claimed(**fields)
        assert await self.jobs.complete(claim, OUTCOME)
        return claim.job_id

    async def deliver(self) -> None:
        while await self.deliverer.deliver_due():
            pass

    async def shift(self, seconds: float) -> None:
        """Let time pass: what is due later is due so much sooner."""
        await self.sql(f"UPDATE delivery SET due_at = due_at - make_interval(secs => {seconds})")

    async def sql(self, statement: str) -> None:
        database = Database(self.settings.database, self.settings.secrets.database_password)
        await database.execute(statement)

    async def statuses(self, endpoint: WebhookEndpoint) -> list[DeliveryStatus]:
        return [delivery.status for delivery in await self.resources.deliveries.find(endpoint.id, limit=100)]


def reaching(settings: Settings, receiver: Receiver, **overrides: Any) -> Settings:
    """The same service, which may call the receiver on this machine."""
    remote = replace(
        settings.remote, allow_http=True, allowed_networks=("127.0.0.1/32", "::1/128"), ports=(receiver.port,)
    )
    secrets = replace(settings.secrets, webhooks_signing_key=KEY)
    webhooks = replace(settings.webhooks, **({"timeout_seconds": 5.0} | overrides))
    return replace(settings, remote=remote, secrets=secrets, webhooks=webhooks)


@asynccontextmanager
async def opened(settings: Settings, receiver: Receiver, **overrides: Any) -> AsyncIterator[World]:
    settings = reaching(settings, receiver, **overrides)
    async with (
        open_resources(settings, name="test", live=False) as resources,
        open_deliverer(resources, settings) as deliverer,
    ):
        yield World(settings, resources, receiver, deliverer)


async def complete(world: World) -> str:
    return await world.completed()


async def complete_from_earlier(world: World) -> str:
    await world.sql("ALTER TABLE transcription_job DISABLE TRIGGER transcription_job_ended")
    await world.completed()
    await world.sql("ALTER TABLE transcription_job ENABLE TRIGGER transcription_job_ended")
    claim = await world.claimed()
    assert await world.jobs.complete_from_earlier(claim, audio_sha256=DIGEST, processing_time_seconds=0.1)
    return claim.job_id


async def fail(world: World) -> str:
    claim = await world.claimed()
    assert await world.jobs.fail(claim, FAILURE)
    return claim.job_id


async def cancel_pending(world: World) -> str:
    job = make_job()
    await world.jobs.add(job)
    for _ in range(2):
        await world.jobs.cancel(job.id)
    return job.id


async def cancel_processing(world: World) -> str:
    claim = await world.claimed()
    await world.jobs.cancel(claim.job_id)
    assert not await world.jobs.complete(claim, OUTCOME)
    return claim.job_id


async def end_exhausted(world: World) -> str:
    job = make_job()
    await world.jobs.add(job)
    assert await world.jobs.claim(TIER, owner="worker", lease_seconds=0)
    for _ in range(2):
        await world.jobs.end_exhausted({TIER: 0})
    return job.id


async def end_late(world: World) -> str:
    job = make_job(deadline=datetime.fromisoformat("2001-01-01T00:00:00Z"))
    await world.jobs.add(job)
    for _ in range(2):
        await world.jobs.end_late(limit=9)
    return job.id


ENDS: dict[Callable[[World], Awaitable[str]], str] = {
    complete: "job.completed",
    complete_from_earlier: "job.completed",
    fail: "job.failed",
    cancel_pending: "job.cancelled",
    cancel_processing: "job.cancelled",
    end_exhausted: "job.failed",
    end_late: "job.failed",
}


@pytest.mark.parametrize("end", ENDS, ids=[end.__name__ for end in ENDS])
async def test_however_a_job_ends_its_owner_is_told_once(
    api_settings: Settings, end: Callable[[World], Awaitable[str]]
) -> None:
    async with serving() as receiver, opened(api_settings, receiver) as world:
        await world.endpoint()
        await world.endpoint(owner="somebody else")
        job_id = await end(world)
        await world.deliver()
        [call] = receiver.calls
        job = await world.jobs.get(job_id)
        assert call.event["type"] == ENDS[end] == f"job.{job.status.value}"
        data = call.event["data"]
        assert (data["id"], data["filename"], data["error_code"]) == (job.id, job.filename, job.error_code)
        assert datetime.fromisoformat(data["finished_at"]) == job.finished_at


async def test_a_call_is_signed_as_the_library_verifies_it_and_holds_no_transcript(api_settings: Settings) -> None:
    async with serving() as receiver, opened(api_settings, receiver) as world:
        endpoint = await world.endpoint()
        await world.completed(filename="žluťoučký\n.wav", metadata={"case": "42"})
        await world.deliver()
        [call] = receiver.calls
        event = call.verified(derived_secret(KEY, endpoint.id, 1))
        assert event["data"]["filename"] == "žluťoučký\n.wav"
        assert event["data"]["metadata"] == {"case": "42"}
        assert "A secret." not in call.body.decode()
        assert call.headers["content-type"] == "application/json"
        for wrong in (derived_secret(KEY, endpoint.id, 2), derived_secret("another key", endpoint.id, 1)):
            with pytest.raises(WebhookVerificationError):
                call.verified(wrong)


async def test_during_a_rotation_both_secrets_verify_and_afterwards_only_the_new_one(api_settings: Settings) -> None:
    async with serving() as receiver, opened(api_settings, receiver) as world:
        endpoint = await world.endpoint()
        old, new = (derived_secret(KEY, endpoint.id, version) for version in (1, 2))
        await world.resources.webhooks.rotate(endpoint.id, overlap_seconds=60)
        await world.completed()
        await world.deliver()
        assert receiver.calls[-1].verified(old) == receiver.calls[-1].verified(new)
        await world.sql("UPDATE webhook_endpoint SET overlap_until = now()")
        await world.completed()
        await world.deliver()
        assert receiver.calls[-1].verified(new)
        with pytest.raises(WebhookVerificationError):
            receiver.calls[-1].verified(old)


async def test_an_hour_of_500_costs_nothing_but_tries_under_one_id_each(api_settings: Settings) -> None:
    async with serving(always(answer(500))) as receiver, opened(api_settings, receiver) as world:
        endpoint = await world.endpoint()
        jobs = [await world.completed() for _ in range(5)]
        for _ in range(120):
            await world.deliver()
            await world.shift(30)
        assert set(receiver.counts.values()) == {4}
        receiver.reply = always(answer(204))
        await world.shift(2 * 7_200)
        await world.deliver()
        assert set(receiver.counts.values()) == {5}
        assert await world.statuses(endpoint) == [DeliveryStatus.delivered] * 5
        assert {call.event["data"]["id"] for call in receiver.calls} == set(jobs)
        assert len({call.body for call in receiver.calls}) == 5
        [delivery, *_] = await world.resources.deliveries.find(endpoint.id, limit=1)
        assert [attempt.status_code for attempt in delivery.log] == [500, 500, 500, 500, 204]


async def test_a_receiver_that_hangs_has_not_taken_it_and_is_asked_again(api_settings: Settings) -> None:
    async with serving(always(never)) as receiver, opened(api_settings, receiver, timeout_seconds=0.3) as world:
        endpoint = await world.endpoint()
        await world.completed()
        await world.deliver()
        [delivery] = await world.resources.deliveries.find(endpoint.id, limit=9)
        assert delivery.status is DeliveryStatus.pending
        assert delivery.error
        receiver.reply = always(answer(200, b"thanks"))
        await world.shift(60)
        await world.deliver()
        assert await world.statuses(endpoint) == [DeliveryStatus.delivered]
        assert set(receiver.counts.values()) == {2}


async def test_a_redirect_to_a_private_address_is_a_failure_and_nobody_calls_there(api_settings: Settings) -> None:
    async with serving() as inside, serving() as receiver, opened(api_settings, receiver) as world:
        receiver.reply = always(answer(307, b"", f"Location: http://127.0.0.1:{inside.port}/admin"))
        endpoint = await world.endpoint()
        await world.completed()
        await world.deliver()
        [delivery] = await world.resources.deliveries.find(endpoint.id, limit=9)
        assert (delivery.status, delivery.status_code) == (DeliveryStatus.pending, 307)
        assert inside.calls == []


async def test_an_address_that_has_become_private_is_not_called(api_settings: Settings) -> None:
    async with serving() as receiver, opened(api_settings, receiver) as world:
        public_only = replace(world.settings, remote=replace(world.settings.remote, allowed_networks=()))
        endpoint = await world.endpoint()
        await world.completed()
        async with open_deliverer(world.resources, public_only) as deliverer:
            await deliverer.deliver_due()
        [delivery] = await world.resources.deliveries.find(endpoint.id, limit=9)
        assert "private network" in (delivery.error or "")
        assert receiver.calls == []


@pytest.mark.parametrize("status", [429, 503])
async def test_patience_that_is_asked_for_is_had(api_settings: Settings, status: int) -> None:
    async with (
        serving(always(answer(status, b"", "Retry-After: 7200"))) as receiver,
        opened(api_settings, receiver) as world,
    ):
        await world.endpoint()
        await world.completed()
        await world.deliver()
        await world.shift(7_000)
        await world.deliver()
        assert len(receiver.calls) == 1
        await world.shift(250)
        await world.deliver()
        assert len(receiver.calls) == 2


async def test_the_failure_and_the_success_of_a_retried_job_arrive_in_this_order(api_settings: Settings) -> None:
    async with serving() as receiver, opened(api_settings, receiver) as world:
        await world.endpoint()
        job_id = await fail(world)
        await world.jobs.retry(job_id, again=Again())
        claimed = await world.jobs.claim(TIER, owner="worker", lease_seconds=60)
        assert claimed is not None
        assert await world.jobs.record(Claim(job_id, claimed.claims), make_chunk(make_segment(0)))
        assert await world.jobs.complete(Claim(job_id, claimed.claims), OUTCOME)
        receiver.reply = always(answer(500))
        await world.deliver()
        receiver.reply = always(answer(204))
        for _ in range(2):
            await world.shift(60)
            await world.deliver()
        assert [call.event["type"] for call in receiver.calls] == ["job.failed", "job.failed", "job.completed"]


async def test_two_dispatchers_at_once_send_nothing_twice(api_settings: Settings) -> None:
    async with serving() as receiver, opened(api_settings, receiver, concurrency_per_endpoint=8) as world:
        endpoint = await world.endpoint()
        jobs = [make_job() for _ in range(60)]
        for job in jobs:
            await world.jobs.add(job)
        async with (
            open_resources(world.settings, name="other", live=False) as others,
            open_deliverer(others, world.settings) as other,
            other.running(),
            world.deliverer.running(),
        ):
            await asyncio.gather(*(world.jobs.cancel(job.id) for job in jobs))
            async with asyncio.timeout(30):
                while DeliveryStatus.pending in await world.statuses(endpoint):
                    world.deliverer.wake()
                    await asyncio.sleep(0.05)
        assert sorted(call.event["data"]["id"] for call in receiver.calls) == sorted(job.id for job in jobs)


async def test_a_process_killed_between_sending_and_writing_costs_one_more_call_with_the_same_id(
    api_settings: Settings, tmp_path: Path
) -> None:
    async with serving() as receiver, opened(api_settings, receiver) as world:
        endpoint = await world.endpoint()
        await world.completed()
        config = tmp_path / "settings.json"
        config.write_bytes(msgspec.json.encode(world.settings))
        killed = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-P", str(SENDER), str(config)], timeout=60, check=False
        )
        assert killed.returncode == -9
        assert len(receiver.calls) == 1
        await world.deliver()
        assert len(receiver.calls) == 1, "its lease still holds"
        await world.sql("UPDATE delivery SET lease_expires_at = now()")
        await world.deliver()
        assert list(receiver.counts.values()) == [2]
        assert receiver.calls[0].body == receiver.calls[1].body
        [delivery] = await world.resources.deliveries.find(endpoint.id, limit=9)
        unknown, arrived = delivery.log
        assert "unknown" in (unknown.error or "")
        assert (delivery.status, arrived.error) == (DeliveryStatus.delivered, None)


async def test_an_endpoint_that_is_deleted_while_jobs_end_stops_none_of_them(api_settings: Settings) -> None:
    async with serving() as receiver, opened(api_settings, receiver) as world:
        jobs = [make_job() for _ in range(20)]
        for job in jobs:
            await world.jobs.add(job)
        endpoints = [await world.endpoint() for _ in range(5)]
        await asyncio.gather(
            *(world.jobs.cancel(job.id) for job in jobs),
            *(world.resources.webhooks.delete(endpoint.id) for endpoint in endpoints),
        )
        assert {(await world.jobs.get(job.id)).status for job in jobs} == {JobStatus.cancelled}


async def test_without_the_service_s_key_nothing_is_sent_unsigned(api_settings: Settings) -> None:
    async with serving() as receiver, opened(api_settings, receiver) as world:
        endpoint = await world.endpoint()
        await world.completed()
        keyless = replace(world.settings, secrets=replace(world.settings.secrets, webhooks_signing_key=""))
        async with open_deliverer(world.resources, keyless) as deliverer:
            await deliverer.deliver_due()
        assert receiver.calls == []
        assert await world.statuses(endpoint) == [DeliveryStatus.pending]
        assert await world.resources.webhooks.get(endpoint.id) == endpoint, "it is not to blame"
        await world.shift(60)
        await world.deliver()
        assert await world.statuses(endpoint) == [DeliveryStatus.delivered]
