"""Tickets: in Redis, and in the fake that stands in for it elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from uuid import uuid4

import pytest

from audio_text.adapters.redis_client import open_client
from audio_text.adapters.tickets import open_tickets
from audio_text.domain.access import ANYBODY, Caller, KeyLimits, Scope
from audio_text.errors import TicketsUnavailableError
from audio_text.ports import Tickets
from factories import make_settings
from fakes.api_keys import FakeTickets
from services.api import free_port, in_one_task
from services.redis import RedisServer

CALLER = Caller(owner="ä", key_id="k", scopes=frozenset({Scope.read}), limits=KeyLimits(concurrent_jobs=1))


class TicketsContract:
    @pytest.fixture
    def tickets(self) -> Tickets:
        raise NotImplementedError

    @pytest.fixture
    def away(self) -> Tickets:
        """Some that do not answer."""
        raise NotImplementedError

    @pytest.mark.parametrize("caller", [CALLER, ANYBODY], ids=["key", "anybody"])
    async def test_a_ticket_tells_whose_it_is_once(self, tickets: Tickets, caller: Caller) -> None:
        digest = str(uuid4())
        assert await tickets.take(digest) is None
        await tickets.keep(digest, caller, seconds=60)
        assert await tickets.take(str(uuid4())) is None
        assert await tickets.take(digest) == caller
        assert await tickets.take(digest) is None

    async def test_of_many_who_come_with_one_ticket_one_is_let_in(self, tickets: Tickets) -> None:
        digest = str(uuid4())
        await tickets.keep(digest, CALLER, seconds=60)
        taken = await asyncio.gather(*(tickets.take(digest) for _ in range(20)))
        assert [caller for caller in taken if caller] == [CALLER]

    async def test_a_ticket_that_was_kept_too_long_is_good_for_nothing(self, tickets: Tickets) -> None:
        digest = str(uuid4())
        await tickets.keep(digest, CALLER, seconds=0.01)
        await asyncio.sleep(0.1)
        assert await tickets.take(digest) is None

    async def test_tickets_that_are_away_say_so(self, away: Tickets) -> None:
        with pytest.raises(TicketsUnavailableError):
            await away.keep("digest", CALLER, seconds=1)
        with pytest.raises(TicketsUnavailableError):
            await away.take("digest")


class TestFakeTickets(TicketsContract):
    @pytest.fixture
    def tickets(self) -> Tickets:
        return FakeTickets()

    @pytest.fixture
    def away(self) -> Tickets:
        fake = FakeTickets()
        fake.is_down = True
        return fake


class TestRedisTickets(TicketsContract):
    @pytest.fixture
    async def tickets(self, redis_server: RedisServer) -> AsyncIterator[Tickets]:
        opened = open_tickets(redis_server.settings, redis_server.password, client_name="test")
        async with in_one_task(opened) as tickets:
            yield tickets

    @pytest.fixture
    async def away(self) -> AsyncIterator[Tickets]:
        nobody = make_settings({"redis.port": free_port()}).redis
        async with in_one_task(open_tickets(nobody, "", client_name="test")) as tickets:
            yield tickets

    async def test_a_ticket_that_nobody_uses_leaves_redis_by_itself(
        self, tickets: Tickets, redis_server: RedisServer
    ) -> None:
        digest = str(uuid4())
        await tickets.keep(digest, CALLER, seconds=60)
        settings, db = redis_server.settings, redis_server.settings.events_db
        async with open_client(settings, redis_server.password, db=db, client_name="test", connections=1) as client:
            [name] = [name async for name in client.scan_iter(match=f"*{digest}")]
            assert 0 < await client.pttl(name) <= 60_000
