"""Who calls: secrets and tickets become callers, and what a process remembers of keys on the way."""

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace
from structlog.testing import capture_logs

from audio_text.domain.access import ANYBODY, OPERATOR, Caller, KeyLimits, Scope
from audio_text.domain.key_secrets import digest_of, new_secret
from audio_text.errors import (
    DatabaseUnavailableError,
    KeyNotFoundError,
    KeyStateError,
    TicketsUnavailableError,
    UnauthorizedError,
)
from audio_text.ports import KeyRepository
from audio_text.services import known_keys
from audio_text.services.access import AccessService
from audio_text.settings import Settings
from factories import make_settings
from fakes.api_keys import FakeKeyRepository, FakeTickets

WORK = frozenset({Scope.submit, Scope.read})


def make_access(
    keys: KeyRepository, tickets: FakeTickets | None = None, token: str = "", **changes: Any
) -> AccessService:
    settings: Settings = make_settings({f"access.{name}": value for name, value in changes.items()})
    return AccessService(keys, tickets=tickets or FakeTickets(), settings=settings.access, operator_token=token)


async def make_key(access: AccessService, **changes: Any) -> tuple[str, str]:
    """The id and the secret of a key."""
    key, secret = await access.create(**{"owner": "acme", "name": "n", "scopes": WORK} | changes)
    return key.id, secret


async def test_a_secret_says_who_calls_and_what_they_may() -> None:
    access = make_access(FakeKeyRepository())
    limits = KeyLimits(concurrent_jobs=1)
    key_id, secret = await make_key(access, limits=limits)
    assert await access.caller(secret) == Caller(owner="acme", key_id=key_id, scopes=WORK, limits=limits)


async def test_neither_the_table_nor_the_log_knows_a_secret() -> None:
    keys = FakeKeyRepository()
    access = make_access(keys)
    with capture_logs() as logs:
        key_id, first = await make_key(access)
        _, second = await access.rotate(key_id, 60)
        await access.caller(first)
        await access.revoke(key_id)
        with pytest.raises(UnauthorizedError):
            await access.caller(second)
    seen = f"{vars(keys)} {logs}"
    for secret in (first, second):
        assert secret not in seen
        assert secret[13:] not in seen
    assert [line["event"] for line in logs] == ["key_created", "key_rotated", "key_revoked", "key_refused"]


@pytest.mark.parametrize("secret", ["", "x", "atk_", "ü", "\0", "€", "x" * 100_000])
async def test_what_is_no_secret_is_refused_without_a_statement(secret: str) -> None:
    keys = FakeKeyRepository()
    for token in ("", "the token"):
        with pytest.raises(UnauthorizedError):
            await make_access(keys, token=token).caller(secret)
    assert keys.looks == 0


async def test_an_unknown_secret_is_looked_up_once_and_refused_until_then_and_after() -> None:
    keys = FakeKeyRepository()
    access, secret = make_access(keys), new_secret()
    for _ in range(3):
        with pytest.raises(UnauthorizedError):
            await access.caller(secret)
    assert keys.looks == 1


async def test_a_key_that_is_used_all_the_time_costs_one_statement_in_every_so_many_seconds() -> None:
    keys = FakeKeyRepository()
    for seconds, looks in ((60, 1), (0, 10)):
        access = make_access(keys, cache_seconds=seconds)
        _, secret = await make_key(access)
        keys.looks = 0
        for _ in range(10):
            await access.caller(secret)
        assert keys.looks == looks


async def test_a_revoked_key_is_refused_here_at_once_and_elsewhere_when_its_time_is_over() -> None:
    keys = FakeKeyRepository()
    here, elsewhere = (make_access(keys, cache_seconds=seconds) for seconds in (60, 0.2))
    key_id, secret = await make_key(here)
    for access in (here, elsewhere):
        await access.caller(secret)
    assert (await here.revoke(key_id)).revoked_at is not None
    with pytest.raises(UnauthorizedError, match="revoked"):
        await here.caller(secret)
    await asyncio.sleep(0.3)
    with pytest.raises(UnauthorizedError, match="revoked"):
        await elsewhere.caller(secret)


async def test_a_key_expires_also_while_it_is_remembered() -> None:
    access = make_access(FakeKeyRepository(), cache_seconds=60)
    _, secret = await make_key(access, expires_in_seconds=0.2)
    await access.caller(secret)
    await asyncio.sleep(0.3)
    with pytest.raises(UnauthorizedError, match="expired"):
        await access.caller(secret)


async def test_both_secrets_hold_while_they_overlap_and_then_the_new_one_alone() -> None:
    access = make_access(FakeKeyRepository(), cache_seconds=60)
    key_id, first = await make_key(access)
    await access.caller(first)
    key, second = await access.rotate(key_id, 0.2)
    assert second.startswith(key.prefix)
    assert (await access.caller(first)) == (await access.caller(second))
    await asyncio.sleep(0.3)
    assert (await access.caller(second)).key_id == key_id
    with pytest.raises(UnauthorizedError, match="new secret"):
        await access.caller(first)


async def test_to_rotate_again_ends_the_oldest_secret() -> None:
    access = make_access(FakeKeyRepository(), cache_seconds=60)
    key_id, first = await make_key(access)
    for _ in range(2):
        await access.rotate(key_id, 60)
    with pytest.raises(UnauthorizedError):
        await access.caller(first)


async def test_a_key_that_is_no_more_is_not_rotated_and_says_why() -> None:
    access = make_access(FakeKeyRepository())
    key_id, _ = await make_key(access)
    await access.revoke(key_id)
    with pytest.raises(KeyStateError):
        await access.rotate(key_id, 60)
    for work in (access.rotate("nobody", 60), access.revoke("nobody")):
        with pytest.raises(KeyNotFoundError):
            await work


async def test_the_operators_token_is_the_first_admin_and_asks_nobody() -> None:
    keys = FakeKeyRepository()
    keys.is_down = True
    access = make_access(keys, token="the operator's token, ü")
    assert await access.caller("the operator's token, ü".encode().decode("latin-1")) == OPERATOR
    assert OPERATOR.scopes == {Scope.admin}
    assert OPERATOR.owner is None
    for wrong in ("", "the operator's token, ", "the operator's token, üx", "the operator's token, &#252;"):
        with pytest.raises(UnauthorizedError):
            await access.caller(wrong)


async def test_while_the_database_is_away_nobody_is_let_in_but_who_was_a_moment_ago() -> None:
    keys = FakeKeyRepository()
    access = make_access(keys, cache_seconds=60)
    (_, known), (_, new) = await make_key(access), await make_key(access)
    await access.caller(known)
    keys.is_down = True
    await access.caller(known)
    with pytest.raises(DatabaseUnavailableError):
        await access.caller(new)


async def test_what_is_remembered_is_bounded_and_invented_secrets_push_no_key_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(known_keys, "MOST_KNOWN", 3)
    monkeypatch.setattr(known_keys, "MOST_UNKNOWN", 3)
    keys = FakeKeyRepository()
    access = make_access(keys, cache_seconds=60)
    secrets = [(await make_key(access))[1] for _ in range(3)]
    for secret in secrets:
        await access.caller(secret)
    for _ in range(10):
        with suppress(UnauthorizedError):
            await access.caller(new_secret())
    looks = keys.looks
    for secret in secrets:
        await access.caller(secret)
    assert keys.looks == looks
    await access.caller((await make_key(access))[1])
    await access.caller(secrets[2])
    assert keys.looks == looks + 1
    await access.caller(secrets[0])
    assert keys.looks == looks + 2
    for kept, most in vars(access.known).items():
        if isinstance(most, dict):
            assert len(most) <= 3, kept


async def test_the_last_use_is_written_once_a_minute_and_not_by_the_call_itself() -> None:
    keys = FakeKeyRepository()
    access = make_access(keys, cache_seconds=0)
    key_id, secret = await make_key(access)
    await access.caller(secret)
    assert (await keys.get(key_id)).last_used_at is None
    await access.known.write_last_uses()
    first = (await keys.get(key_id)).last_used_at
    assert first is not None
    await access.caller(secret)
    await access.known.write_last_uses()
    assert (await keys.get(key_id)).last_used_at == first


async def test_uses_are_written_in_the_background(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(known_keys, "WRITE_SECONDS", 0.01)
    keys = FakeKeyRepository()
    access = make_access(keys)
    key_id, secret = await make_key(access)
    async with asyncio.TaskGroup() as group, asyncio.timeout(10):
        writing = group.create_task(access.known.write_uses())
        await access.caller(secret)
        while (await keys.get(key_id)).last_used_at is None:
            await asyncio.sleep(0.01)
        writing.cancel()


@pytest.mark.parametrize("fault", ["is_down", "is_broken"])
async def test_a_use_that_cannot_be_written_is_told_in_the_log_and_harms_nobody(fault: str) -> None:
    keys = FakeKeyRepository()
    access = make_access(keys, cache_seconds=60)
    _, secret = await make_key(access)
    await access.caller(secret)
    setattr(keys, fault, True)
    with capture_logs() as logs:
        await access.known.write_last_uses()
        await access.known.write_last_uses()
    assert [line["event"] for line in logs] == ["key_uses_not_written"]
    await access.caller(secret)


async def test_a_key_that_was_used_long_ago_is_noted_again() -> None:
    keys = FakeKeyRepository()
    access = make_access(keys)
    key_id, secret = await make_key(access)
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    await keys.mark_used({key_id: hour_ago}, apart_seconds=0)
    await access.caller(secret)
    await access.known.write_last_uses()
    last = (await keys.get(key_id)).last_used_at
    assert last is not None
    assert last > hour_ago


async def test_a_ticket_lets_its_holder_read_once_what_the_caller_may_and_do_nothing_else() -> None:
    tickets = FakeTickets()
    access = make_access(FakeKeyRepository(), tickets)
    key_id, secret = await make_key(access, scopes=frozenset(Scope))
    caller = await access.caller(secret)
    ticket = await access.issue_ticket(caller)
    assert ticket.text not in str(vars(tickets))
    assert datetime.now(UTC) < ticket.expires_at < datetime.now(UTC) + timedelta(seconds=31)
    assert await access.redeem(ticket.text) == replace(caller, scopes=frozenset({Scope.read}))
    assert key_id == caller.key_id
    for again in (ticket.text, "att_" + "0" * 43, "", "\0", secret, digest_of(ticket.text)):
        with pytest.raises(UnauthorizedError, match="ask for a new one"):
            await access.redeem(again)


async def test_the_tickets_of_a_key_end_with_it() -> None:
    access = make_access(FakeKeyRepository())
    key_id, secret = await make_key(access)
    ticket = await access.issue_ticket(await access.caller(secret))
    await access.revoke(key_id)
    with pytest.raises(UnauthorizedError, match="revoked"):
        await access.redeem(ticket.text)
    lost = await access.issue_ticket(Caller(key_id="nobody", scopes=WORK))
    with pytest.raises(UnauthorizedError):
        await access.redeem(lost.text)


async def test_a_ticket_is_not_used_up_while_its_key_cannot_be_looked_up() -> None:
    keys = FakeKeyRepository()
    access = make_access(keys)
    _, secret = await make_key(access)
    ticket = await access.issue_ticket(await access.caller(secret))
    keys.is_down = True
    for _ in range(2):
        with pytest.raises(DatabaseUnavailableError):
            await access.redeem(ticket.text)
    keys.is_down = False
    assert (await access.redeem(ticket.text)).scopes == {Scope.read}
    with pytest.raises(UnauthorizedError):
        await access.redeem(ticket.text)


async def test_in_open_mode_tickets_work_as_well() -> None:
    access = make_access(FakeKeyRepository())
    caller = await access.redeem((await access.issue_ticket(ANYBODY)).text)
    assert (caller.sees_all, caller.scopes) == (True, {Scope.read})


async def test_while_tickets_are_away_that_is_what_is_said() -> None:
    tickets = FakeTickets()
    access = make_access(FakeKeyRepository(), tickets)
    ticket = await access.issue_ticket(ANYBODY)
    tickets.is_down = True
    for work in (access.issue_ticket(ANYBODY), access.redeem(ticket.text)):
        with pytest.raises(TicketsUnavailableError):
            await work
