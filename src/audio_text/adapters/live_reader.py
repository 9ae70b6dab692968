"""One task and one connection per process read the live stream, for all followers of all jobs."""

import asyncio
from collections.abc import Iterator
from itertools import chain
from typing import NoReturn, Protocol, cast

import structlog
from redis.asyncio import Redis

from audio_text.adapters.event_log import LIVE_STREAM, START, UNREADABLE, Entry, EventId, Fields, decode
from audio_text.adapters.redis_client import ANSWER_SECONDS, answering, pause_seconds, run_id
from audio_text.domain.events import Published
from audio_text.errors import EventsUnavailableError

log = structlog.get_logger(__name__)

BLOCK_SECONDS = 5.0
"""How long one read waits for something new; after a silent one we look whether the stream is still the same."""

BATCH = 500
"""Entries per read."""


class Follower(Protocol):
    """Somebody who wants the events of one job."""

    @property
    def job_id(self) -> str:
        """Which job."""
        ...

    def offer(self, place: EventId, published: Published) -> None:
        """Take the next event; must not wait."""
        ...

    def fall_behind(self) -> None:
        """Take note that events may be missing: the job's log has them."""
        ...

    def lose_track(self) -> None:
        """Take note that events may be missing, and that the log may not know them either."""
        ...


class LiveReader:
    """Reads the live stream for ever and hands each entry to the followers of its job."""

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._followers: dict[str, set[Follower]] = {}
        self._interrupted: set[Follower] = set()
        self._server: str | None = None
        self._position = START

    @property
    def follower_count(self) -> int:
        """How many follow, over all jobs."""
        return sum(1 for _ in self._all())

    def add(self, follower: Follower) -> None:
        """From now on the follower gets everything, or is told that it fell behind."""
        self._followers.setdefault(follower.job_id, set()).add(follower)

    def remove(self, follower: Follower) -> None:
        """Forget the follower."""
        self._interrupted.discard(follower)
        followers = self._followers[follower.job_id]
        followers.discard(follower)
        if not followers:
            del self._followers[follower.job_id]

    async def run(self) -> NoReturn:
        """Read until cancelled, over every loss of the connection."""
        failures = 0
        while True:
            try:
                await self._take_place()
                while True:
                    await self._read()
                    failures = 0
            except Exception as failure:  # noqa: BLE001 -- every follower depends on this task: whatever broke, go on
                if not failures:
                    log.warning("live_reader_interrupted", error=repr(failure.__cause__ or failure))
                failures += 1
            self._interrupted.update(self._all())
            await asyncio.sleep(pause_seconds(failures))

    async def _take_place(self) -> None:
        """Go on where we were, or, if that place is gone, at the end: then everybody fell behind.

        A restarted server may have forgotten what it had already confirmed, and nothing in it shows that: with
        appendonly and everysec, the last two seconds. Then only the rows are sure.
        """
        async with answering(EventsUnavailableError):
            server = await run_id(self._client)
            if server == self._server and await self._has(self._position):
                self._interrupted.clear()
                return
            newest = cast("list[Entry]", await self._client.xrevrange(LIVE_STREAM, count=1))
        is_restarted = self._server not in {None, server}
        log.info("live_reader_placed", is_restarted=is_restarted)
        self._server = server
        self._position = EventId.of(newest[0][0]) if newest else START
        for follower in self._all():
            if is_restarted and follower in self._interrupted:
                follower.lose_track()
            else:
                follower.fall_behind()
        self._interrupted.clear()

    async def _has(self, place: EventId) -> bool:
        if place == START:
            return True
        return bool(await self._client.xrange(LIVE_STREAM, min=str(place), max=str(place), count=1))

    async def _read(self) -> None:
        position, block_ms = str(self._position), int(BLOCK_SECONDS * 1000)
        async with answering(EventsUnavailableError, seconds=BLOCK_SECONDS + ANSWER_SECONDS):
            reply = await self._client.xread({LIVE_STREAM: position}, count=BATCH, block=block_ms)
        if not reply:
            await self._take_place()
            return
        ((_, entries),) = cast("list[tuple[bytes, list[Entry]]]", reply)
        for raw, fields in entries:
            self._pass_on(EventId.of(raw), fields)

    def _pass_on(self, place: EventId, fields: Fields) -> None:
        previous, self._position = self._position, place
        if place.ordinal != previous.ordinal + 1:
            log.warning("live_events_missed", after=str(previous), next=str(place))
            for follower in self._all():
                follower.fall_behind()
        followers = self._followers.get(fields.get(b"job", b"").decode())
        if not followers:
            return
        try:
            event = EventId.of(fields[b"event"])
            published = decode(event, fields)
        except UNREADABLE:
            log.exception("live_event_unreadable", place=str(place))
            for follower in followers:
                follower.fall_behind()
            return
        for follower in followers:
            follower.offer(event, published)

    def _all(self) -> Iterator[Follower]:
        return chain.from_iterable(self._followers.values())
