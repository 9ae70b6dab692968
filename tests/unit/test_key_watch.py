"""What is open with a key ends with it; how often keys are looked at for that, and what an outage changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack

import pytest

from audio_text.domain.access import Credential, Scope
from audio_text.domain.key_secrets import digest_of
from audio_text.errors import UnauthorizedError
from audio_text.services import key_watch
from audio_text.services.access import AccessService
from audio_text.services.key_watch import Standing
from factories import make_settings
from fakes.api_keys import FakeKeyRepository, FakeTickets


@pytest.fixture
def keys() -> FakeKeyRepository:
    return FakeKeyRepository()


@pytest.fixture
def access(keys: FakeKeyRepository) -> AccessService:
    return AccessService(keys, tickets=FakeTickets(), settings=make_settings({"access.cache_seconds": 60}).access)


@pytest.fixture
async def open_ends() -> AsyncIterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def made(access: AccessService, expires_in_seconds: float | None = None) -> tuple[str, Credential]:
    """A key's secret, and what is opened with it."""
    key, secret = await access.create(
        owner="o", name="n", scopes=frozenset({Scope.read}), expires_in_seconds=expires_in_seconds
    )
    await access.caller(secret)
    return secret, Credential(key_id=key.id, digest=digest_of(secret))


async def told_by(standing: Standing) -> str:
    with pytest.raises(UnauthorizedError) as lost:
        async with asyncio.timeout(10):
            await standing.lost()
    return lost.value.detail


async def test_what_is_open_with_a_key_or_its_ticket_ends_when_it_is_revoked_and_nothing_else(
    access: AccessService, open_ends: ExitStack
) -> None:
    _, mine = await made(access)
    _, other = await made(access)
    ticket = Credential(key_id=mine.key_id)
    by_secret, by_ticket, others = (
        open_ends.enter_context(access.watch.watched(each)) for each in (mine, ticket, other)
    )
    await access.watch.look()
    assert not any(standing.is_lost for standing in (by_secret, by_ticket, others))
    await access.revoke(mine.key_id)
    await access.watch.look()
    assert "revoked" in await told_by(by_secret)
    assert "revoked" in await told_by(by_ticket)
    assert not others.is_lost


async def test_what_is_open_with_a_secret_ends_with_the_overlap_and_what_a_ticket_opened_goes_on(
    access: AccessService, open_ends: ExitStack
) -> None:
    secret, old = await made(access)
    standing = open_ends.enter_context(access.watch.watched(old))
    by_ticket = open_ends.enter_context(access.watch.watched(Credential(key_id=old.key_id)))
    await access.rotate(old.key_id, 60)
    await access.watch.look()
    assert not standing.is_lost
    await access.rotate(old.key_id, 0)
    await access.watch.look()
    assert "not taken any more" in await told_by(standing)
    assert not by_ticket.is_lost
    with pytest.raises(UnauthorizedError):
        await access.caller(secret)


async def test_what_is_open_ends_when_its_key_expires_also_while_the_database_is_away(
    keys: FakeKeyRepository, access: AccessService, open_ends: ExitStack
) -> None:
    _, short = await made(access, expires_in_seconds=0.3)
    _, long = await made(access)
    ending, staying = (open_ends.enter_context(access.watch.watched(each)) for each in (short, long))
    await access.watch.look()
    keys.is_down = True
    await asyncio.sleep(0.35)
    await access.watch.look()
    assert "expired" in await told_by(ending)
    assert not staying.is_lost


@pytest.mark.parametrize("fault", ["is_down", "is_broken"])
async def test_an_outage_ends_nothing(
    keys: FakeKeyRepository, access: AccessService, open_ends: ExitStack, fault: str
) -> None:
    _, mine = await made(access)
    standing = open_ends.enter_context(access.watch.watched(mine))
    setattr(keys, fault, True)
    await access.watch.look()
    assert not standing.is_lost
    setattr(keys, fault, False)
    await access.revoke(mine.key_id)
    await access.watch.look()
    assert standing.is_lost


async def test_ten_thousand_connections_of_a_key_are_one_look_and_many_keys_a_few_statements(
    keys: FakeKeyRepository, access: AccessService, open_ends: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, mine = await made(access)
    for _ in range(10_000):
        open_ends.enter_context(access.watch.watched(mine))
    await access.watch.look()
    assert keys.asked_for == [1]
    monkeypatch.setattr(key_watch, "AT_ONCE", 10)
    for _ in range(24):
        open_ends.enter_context(access.watch.watched((await made(access))[1]))
    keys.asked_for.clear()
    await access.watch.look()
    assert keys.asked_for == [10, 10, 5]
    open_ends.close()
    keys.asked_for.clear()
    await access.watch.look()
    assert keys.asked_for == [], "nothing is open any more"


async def test_who_was_cut_off_is_not_let_in_again_by_what_is_remembered(
    keys: FakeKeyRepository, access: AccessService, open_ends: ExitStack
) -> None:
    secret, mine = await made(access)
    standing = open_ends.enter_context(access.watch.watched(mine))
    await keys.revoke(mine.key_id)  # by another process
    await access.caller(secret)
    await access.watch.look()
    assert standing.is_lost
    with pytest.raises(UnauthorizedError):
        await access.caller(secret)


async def test_keys_are_looked_at_again_and_again_and_at_once_when_one_is_revoked_here(
    keys: FakeKeyRepository, access: AccessService, open_ends: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, mine = await made(access)
    _, other = await made(access)
    standing, others = (open_ends.enter_context(access.watch.watched(each)) for each in (mine, other))
    async with asyncio.TaskGroup() as group:
        looking = group.create_task(access.watch.look_for_ever())
        await access.revoke(mine.key_id)
        assert "revoked" in await told_by(standing), "long before a minute is over"
        monkeypatch.setattr(access.watch, "_seconds", 0.02)
        access.watch.look_soon()
        await keys.revoke(other.key_id)  # by another process
        assert "revoked" in await told_by(others)
        looking.cancel()
