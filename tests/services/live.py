"""Both ends of a live socket: a worker that writes and publishes, and a client that listens."""

import asyncio
from typing import Any
from uuid import uuid4

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from audio_text.domain.events import JobUpdate
from audio_text.domain.job import Completed, Failed, Job, JobStatus
from audio_text.domain.transcript import Word
from audio_text.ports import Claim, Resources
from factories import make_chunk, make_job, make_segment
from services.api import ApiProcess

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

    async def fail(self, claim: Claim) -> None:
        assert await self.jobs.fail(claim, FAILURE)
        await self.events.publish(JobUpdate(job_id=claim.job_id, status=JobStatus.failed, progress=0.0))


def following(server: ApiProcess, job_id: str, *, last_event_id: str = "", max_queue: int = 16) -> connect:
    query = f"?last_event_id={last_event_id}" if last_event_id else ""
    url = f"ws://{server.address}/api/v1/job/ws/{job_id}{query}"
    return connect(url, proxy=None, open_timeout=30, max_size=None, max_queue=max_queue)


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
