"""Putting wake-ups on the queue, without ever blocking the event loop.

Dramatiq's own `enqueue` is synchronous; this is its asynchronous twin for the one message that we send.
"""

import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from uuid import uuid4

from dramatiq import Message
from dramatiq.common import dq_name
from redis.asyncio import Redis

from audio_text.adapters.queue_protocol import ACTOR_NAME, NAMESPACE, dispatch_arguments, dispatch_script
from audio_text.adapters.redis_client import answering, open_client, ping
from audio_text.errors import QueueUnavailableError
from audio_text.settings import RedisSettings

CONNECTIONS = 8
"""One submit holds one for less than a millisecond."""

PRODUCER = "producer"
"""All producers share one name among the script's workers: they hold no messages that could be lost."""


class RedisJobQueue:
    """JobQueue over dramatiq's queues in Redis."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._dispatch = client.register_script(dispatch_script())

    async def enqueue(
        self, tier: str, *, job_id: str, delay_seconds: float = 0.0, request_id: str | None = None
    ) -> None:
        """Say that work exists on the tier. Raises QueueUnavailableError within 2 seconds."""
        message = _wake_up(tier, delay_seconds, {"job_id": job_id, "request_id": request_id})
        message_id: str = message.options["redis_message_id"]
        arguments = dispatch_arguments("enqueue", message.queue_name, message_id, message.encode(), worker=PRODUCER)
        async with answering(QueueUnavailableError):
            await self._dispatch(keys=[NAMESPACE], args=arguments)

    async def depth(self, tier: str) -> int:
        """How many messages of the tier wait to be taken now. Raises QueueUnavailableError."""
        async with answering(QueueUnavailableError):
            return await self._client.llen(f"{NAMESPACE}:{tier}")

    async def check(self) -> None:
        """Raise QueueUnavailableError unless the queue answers."""
        async with answering(QueueUnavailableError):
            await ping(self._client)


def _wake_up(tier: str, delay_seconds: float, trace: dict[str, str | None]) -> Message[None]:
    options: dict[str, object] = {**trace, "redis_message_id": str(uuid4())}
    queue_name = tier
    if delay_seconds > 0:
        queue_name = dq_name(tier)
        options["eta"] = int((time.time() + delay_seconds) * 1000)
    return Message(queue_name=queue_name, actor_name=ACTOR_NAME, args=(tier,), kwargs={}, options=options)


@asynccontextmanager
async def open_job_queue(
    settings: RedisSettings, password: str, *, client_name: str
) -> AsyncGenerator[RedisJobQueue, None]:
    """Open the queue; Redis does not have to be up yet."""
    async with open_client(
        settings, password, db=settings.queue_db, client_name=client_name, connections=CONNECTIONS
    ) as client:
        yield RedisJobQueue(client)
