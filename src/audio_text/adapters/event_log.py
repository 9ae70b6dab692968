"""The event logs in Redis: one stream per job, and one live stream for all of them."""

import re
from collections.abc import Collection, Sequence
from importlib.resources import files
from typing import NamedTuple, Self, cast
from uuid import uuid4

import msgspec
from redis.asyncio import Redis

from audio_text.adapters.redis_client import answering
from audio_text.domain.events import JobUpdate, Published
from audio_text.domain.job import JobStatus
from audio_text.errors import EventsUnavailableError, InvalidRequestError, StreamGapError
from audio_text.settings import EventSettings

PREFIX = "audio-text"

LIVE_STREAM = f"{PREFIX}:live"

PAGE = 100
"""Events read from a log at a time."""

LARGEST = 2**64 - 1
"""Both halves of a stream's id are unsigned 64-bit numbers."""

Fields = dict[bytes, bytes]

Entry = tuple[bytes, Fields]
"""What Redis gives for an entry of a stream: its id and its fields."""

UNREADABLE = (msgspec.DecodeError, KeyError)
"""What is raised for an entry that was not written by us, or by a newer version of us."""

_decoder = msgspec.json.Decoder(JobUpdate)


class EventId(NamedTuple):
    """A place in a stream: milliseconds, then the ordinal of the entry, from 1 without gaps."""

    ms: int
    ordinal: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what a client sent. Raises InvalidRequestError."""
        match = re.fullmatch(r"(\d{1,20})-(\d{1,20})", text, re.ASCII)
        if match is None or max(map(int, match.groups())) > LARGEST:
            raise InvalidRequestError(f"{text!r} is not the id of an event: pass an event_id as it was received.")
        return cls(*map(int, match.groups()))

    @classmethod
    def of(cls, raw: bytes) -> Self:
        """Read what Redis sent."""
        ms, _, ordinal = raw.partition(b"-")
        return cls(int(ms), int(ordinal))

    def __str__(self) -> str:
        return f"{self.ms}-{self.ordinal}"


START = EventId(0, 0)
"""Before the first event."""


class Bookmark(msgspec.Struct, frozen=True):
    """A log as it is now: its newest event, and whether nothing is missing after the place that was asked for."""

    newest: EventId
    is_continuous: bool


class RedisEventLog:
    """Appends to the logs, and reads a job's log. Methods may raise EventsUnavailableError, within 2 seconds."""

    def __init__(self, client: Redis, settings: EventSettings) -> None:
        self._client = client
        self._settings = settings
        script = files("audio_text.adapters").joinpath("publish.lua").read_text(encoding="utf-8")
        self._publish = client.register_script(script)

    async def append(self, update: JobUpdate) -> EventId:
        """Publish an update; once, even when its reply is lost and it has to be sent again."""
        settings = self._settings
        payload, token = msgspec.json.encode(update), uuid4().hex
        limits = (settings.log_length, settings.retention_seconds, settings.live_length)
        life = (update.claims, int(update.status.is_terminal), int(update.status is JobStatus.pending))
        async with answering(EventsUnavailableError):
            reply = await self._publish(
                keys=[_key(update.job_id), LIVE_STREAM], args=[payload, token, update.job_id, *limits, *life]
            )
        return EventId.of(reply)

    async def bookmark(self, job_id: str, after: EventId | None) -> Bookmark:
        """Look at the end of the log, and whether it reaches back to `after`; one round trip."""
        pipeline = self._client.pipeline(transaction=False)
        async with answering(EventsUnavailableError):
            await pipeline.xrevrange(_key(job_id), count=1)
            await pipeline.xrange(_key(job_id), min=str(after or START), count=1)
            newest, following = cast("list[list[Entry]]", await pipeline.execute())
        return Bookmark(
            newest=EventId.of(newest[0][0]) if newest else START,
            is_continuous=after is not None and _continues(after, following),
        )

    async def read(self, job_id: str, after: EventId) -> list[tuple[EventId, Published]]:
        """The events after this one, at most PAGE. Raises StreamGapError when some before them are missing."""
        async with answering(EventsUnavailableError):
            entries = cast("list[Entry]", await self._client.xrange(_key(job_id), min=str(after), count=PAGE + 1))
        if not _continues(after, entries):
            raise StreamGapError
        try:
            events = [(place, decode(place, fields)) for raw, fields in entries if (place := EventId.of(raw)) != after]
        except UNREADABLE as failure:
            raise StreamGapError from failure
        return events[:PAGE]

    async def remove(self, job_ids: Collection[str]) -> None:
        """Remove the logs of these jobs."""
        if job_ids:
            async with answering(EventsUnavailableError):
                await self._client.unlink(*map(_key, job_ids))


def decode(place: EventId, fields: Fields) -> Published:
    """Read the fields of an entry. Raises one of UNREADABLE."""
    return Published(event_id=str(place), update=_decoder.decode(fields[b"update"]))


def _continues(after: EventId, entries: Sequence[Entry]) -> bool:
    """Whether nothing is missing between `after` and the entries that the log has from there on."""
    if not entries:
        return after == START
    first = EventId.of(entries[0][0])
    return first == after or first.ordinal == after.ordinal + 1


def _key(job_id: str) -> str:
    return f"{PREFIX}:events:{job_id}"
