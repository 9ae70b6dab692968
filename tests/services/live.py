"""Both ends of a live socket: a worker that writes and publishes, and a client that listens."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from audio_text.bootstrap import open_resources
from audio_text.domain.events import JobUpdate
from audio_text.domain.job import Completed, Failed, Job, JobStatus
from audio_text.domain.transcript import Word
from audio_text.ports import Again, Claim, Resources
from audio_text.settings import Settings
from factories import make_chunk, make_job, make_segment
from services.api import ApiProcess, in_one_task

OUTCOME = Completed(
    result_text="good morning",
    duration=10.0,
    duration_after_vad=9.0,
    processing_time_seconds=2.5,
    language="en",
    language_probability=0.98,
)
BROKEN = 1006
"""What browsers make of a connection that ends without a close frame."""

FAILURE = Failed(error_code="invalid_audio", error_message="It is damaged.", processing_time_seconds=0.1)


class Worker:
    """What a worker does to a job: the row first, then the event."""

    def __init__(self, resources: Resources) -> None:
        self.jobs, self.events = resources.jobs, resources.events

    async def submitted(self) -> Job:
        job = make_job(tier=f"tier_{uuid4().hex}")  # its own, so that a claim gets this very job
        await self.jobs.add(job)
        return job

    async def claim(self, job: Job) -> Claim:
        claimed = await self.jobs.claim(job.tier, owner="test", lease_seconds=60)
        assert claimed is not None
        await self.events.publish(JobUpdate(job_id=job.id, status=JobStatus.processing, progress=job.progress))
        return Claim(job.id, claimed.claims)

    async def decode(self, claim: Claim, number: int) -> None:
        words = (Word(start=number * 2.0, end=number * 2.0 + 1, word=" Hi", probability=0.9),)
        chunk = make_chunk(make_segment(number, words=words))
        assert await self.jobs.record(claim, chunk)
        update = JobUpdate(
            job_id=claim.job_id, status=JobStatus.processing, progress=chunk.progress, segments=chunk.segments
        )
        await self.events.publish(update)

    async def complete(self, claim: Claim) -> None:
        assert await self.jobs.complete(claim, OUTCOME)
        await self.events.publish(JobUpdate(job_id=claim.job_id, status=JobStatus.completed, progress=100.0))

    async def retry(self, job: Job) -> None:
        await self.events.publish(JobUpdate.of(await self.jobs.retry(job.id, again=Again())))

    async def fail(self, claim: Claim) -> None:
        assert await self.jobs.fail(claim, FAILURE)
        await self.events.publish(JobUpdate(job_id=claim.job_id, status=JobStatus.failed, progress=0.0))


def following(server: ApiProcess, job_id: str, *, last_event_id: str = "", max_queue: int = 16) -> connect:
    query = f"?last_event_id={last_event_id}" if last_event_id else ""
    url = f"ws://{server.address}/api/v1/job/ws/{job_id}{query}"
    return connect(url, proxy=None, open_timeout=30, max_size=None, max_queue=max_queue)


def following_many(server: ApiProcess) -> connect:
    return connect(f"ws://{server.address}/api/v1/job/ws", proxy=None, open_timeout=30, max_size=None)


async def receive(socket: ClientConnection) -> dict[str, Any]:
    async with asyncio.timeout(30):
        return msgspec.json.decode(await socket.recv())


async def to_the_end(socket: ClientConnection) -> tuple[list[dict[str, Any]], int]:
    """Everything up to the close, and its code."""
    messages = []
    while True:
        try:
            messages.append(await receive(socket))
        except ConnectionClosed as closed:
            return messages, closed.rcvd.code if closed.rcvd else BROKEN


def updates(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [message for message in messages if message["type"] == "job_update"]


def segment_ids(messages: list[dict[str, Any]]) -> list[int]:
    return [segment["id"] for update in updates(messages) for segment in update["segments"]]


@dataclass
class Source:
    """A stream of server-sent events as a browser reads it."""

    response: httpx.Response
    event_id: str = ""
    retry: int = 0
    comments: int = 0

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """The `data` of each event, until the stream ends."""
        data: list[str] = []
        async for line in self.response.aiter_lines():
            name, _, value = line.partition(": ")
            match name:
                case "id":
                    self.event_id = value
                case "retry":
                    self.retry = int(value)
                case "data":
                    data.append(value)
                case _ if line.startswith(":"):
                    self.comments += 1
                case _ if data:
                    yield msgspec.json.decode("\n".join(data))
                    data.clear()

    async def next(self) -> dict[str, Any]:
        async with asyncio.timeout(30):
            return await anext(self._events)

    async def rest(self) -> list[dict[str, Any]]:
        async with asyncio.timeout(30):
            return [event async for event in self._events]

    def __post_init__(self) -> None:
        self._events = self.events()


@asynccontextmanager
async def streaming(
    server: ApiProcess,
    *job_ids: str,
    last_event_id: str | None = None,
    query: str | None = None,
    headers: dict[str, str] | None = None,
) -> AsyncIterator[Source]:
    """One job's stream, or that of several."""
    path = f"/api/v1/job/{job_ids[0]}/events" if len(job_ids) == 1 else "/api/v1/job/events"
    parameters = ({} if len(job_ids) == 1 else {"job": job_ids}) | ({"last_event_id": query} if query else {})
    headers = (headers or {}) | ({} if last_event_id is None else {"Last-Event-ID": last_event_id})
    async with (
        httpx.AsyncClient(base_url=f"http://{server.address}", timeout=30) as client,
        client.stream("GET", path, params=parameters, headers=headers) as response,
    ):
        yield Source(response)


@pytest.fixture(scope="module")
async def worker(shared_api_settings: Settings) -> AsyncIterator[Worker]:
    async with in_one_task(open_resources(shared_api_settings, name="test", live=False)) as resources:
        yield Worker(resources)
