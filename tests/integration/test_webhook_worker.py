"""Webhooks of a whole service: a job ends in a real worker process, and the receiver hears of it at once."""

import asyncio
from pathlib import Path

import httpx
from msgspec.structs import replace

from audio_text.settings import Settings
from recordings import DATA
from services.api import running
from services.outside import answer
from services.receiver import Call, always, serving
from services.worker import worker_process

KEY = "a key that only tests know"


async def test_a_job_that_ends_in_a_worker_is_told_at_once_and_signed(api_settings: Settings, tmp_path: Path) -> None:
    async with serving() as receiver:
        settings = replace(
            api_settings,
            remote=replace(
                api_settings.remote,
                allow_http=True,
                allowed_networks=("127.0.0.1/32", "::1/128"),
                ports=(receiver.port,),
            ),
            secrets=replace(api_settings.secrets, webhooks_signing_key=KEY),
        )
        recording = await asyncio.to_thread((DATA / "one_a.flac").read_bytes)
        async with running(settings) as api:
            answered = await api.client.post("/api/v1/webhooks", json={"url": receiver.url})
            webhook = answered.raise_for_status().json()
            starting = worker_process(settings, tmp_path, "audio_small")
            worker = await asyncio.to_thread(starting.__enter__)
            try:
                job = await api.submit("talk.flac", recording, mode="demo")
                async with asyncio.timeout(60):
                    while not receiver.calls:
                        await asyncio.sleep(0.02)
                [call] = receiver.calls
                event = call.verified(webhook["secret"])
                assert (event["type"], event["data"]["id"]) == ("job.completed", job["id"])
                await _assert_tested_and_replayed(api.client, webhook["id"], receiver.calls, webhook["secret"])
                assert KEY not in worker.log.read_text()
                assert receiver.url not in worker.log.read_text()
            finally:
                await asyncio.to_thread(starting.__exit__, None, None, None)


async def _assert_tested_and_replayed(
    client: httpx.AsyncClient, webhook_id: str, calls: list[Call], secret: str
) -> None:
    tested = await client.post(f"/api/v1/webhooks/{webhook_id}/test")
    assert tested.status_code == 202
    async with asyncio.timeout(20):
        while len(calls) < 2:
            await asyncio.sleep(0.02)
    assert calls[1].verified(secret)["type"] == "webhook.test"
    replayed = await client.post(f"/api/v1/deliveries/{tested.json()['id']}/replay")
    assert replayed.status_code == 202
    async with asyncio.timeout(20):
        while len(calls) < 3:
            await asyncio.sleep(0.02)
    assert calls[2].event_id == calls[1].event_id == tested.json()["event_id"]


async def test_a_receiver_that_is_away_is_called_when_the_worker_has_come_back(
    api_settings: Settings, tmp_path: Path
) -> None:
    async with serving(always(answer(503))) as receiver:
        settings = replace(
            api_settings,
            remote=replace(
                api_settings.remote,
                allow_http=True,
                allowed_networks=("127.0.0.1/32", "::1/128"),
                ports=(receiver.port,),
            ),
            webhooks=replace(api_settings.webhooks, retry_seconds=(5.0,) * 50),
            secrets=replace(api_settings.secrets, webhooks_signing_key=KEY),
        )
        async with running(settings) as api:
            (await api.client.post("/api/v1/webhooks", json={"url": receiver.url})).raise_for_status()
            job = await api.submit("talk.flac", (DATA / "one_a.flac").read_bytes(), mode="demo")
            (await api.client.post(f"/api/v1/job/{job['id']}/cancel")).raise_for_status()
            for name in ("first", "second"):
                if name == "second":
                    receiver.reply = always(answer(204))
                before = len(receiver.calls)
                with worker_process(settings, tmp_path, "audio_small", name=name) as worker:
                    async with asyncio.timeout(30):
                        while len(receiver.calls) == before:
                            await asyncio.sleep(0.02)
                    if name == "first":
                        await asyncio.to_thread(worker.wait_for, "delivery_postponed")
                        worker.process.kill()
            assert {call.event["type"] for call in receiver.calls} == {"job.cancelled"}
            assert len(receiver.counts) == 1
