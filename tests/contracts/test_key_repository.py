"""The table of keys: in PostgreSQL, and in the fake that stands in for it elsewhere."""

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from msgspec.structs import replace

from audio_text.adapters.database import open_database
from audio_text.adapters.key_table import PiccoloKeyRepository
from audio_text.domain.access import ApiKey, Credential, KeyLimits, Scope
from audio_text.domain.key_secrets import digest_of
from audio_text.errors import DatabaseUnavailableError, KeyNotFoundError
from audio_text.ports import KeyMatch, KeyRepository
from fakes.api_keys import FakeKeyRepository
from services.database import Database
from services.relay import Relay

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
KEY = ApiKey(
    id="a", prefix="atk_aaaaaaaa", name="für {} 'alle'", owner="acme", scopes=frozenset(Scope), created_at=NOON
)


class KeyRepositoryContract:
    @pytest.fixture
    def keys(self) -> KeyRepository:
        raise NotImplementedError

    async def test_a_key_is_found_by_the_digest_of_its_secret_and_by_its_id_with_all_that_it_has(
        self, keys: KeyRepository
    ) -> None:
        limits = KeyLimits(requests_per_minute=1, audio_seconds_per_day=2)
        full = replace(KEY, limits=limits, expires_at=NOON + timedelta(days=1), scopes=frozenset({Scope.read}))
        await keys.add(KEY, digest="1")
        await keys.add(replace(full, id="b"), digest="2")
        assert await keys.match("1") == KeyMatch(key=KEY)
        assert await keys.match("2") == KeyMatch(key=replace(full, id="b"))
        assert await keys.get("a") == KEY
        assert await keys.match("3") is None

    async def test_what_many_connections_were_opened_with_is_found_at_once(self, keys: KeyRepository) -> None:
        other = replace(KEY, id="b", prefix="atk_bbbbbbbb")
        await keys.add(KEY, digest="1")
        await keys.add(other, digest="2")
        rotated = await keys.rotate("a", prefix="atk_cccccccc", digest="3", overlap_seconds=60)
        assert rotated is not None
        replaced, fresh, ticket = (Credential(key_id="a", digest=digest) for digest in ("1", "3", None))
        whole = Credential(key_id="b", digest="2")
        lost = [Credential(key_id="a", digest="2"), Credential(key_id="b", digest="1"), Credential(key_id="c")]
        found = await keys.matches([replaced, fresh, ticket, whole, *lost])
        assert found == {
            replaced: await keys.match("1"),
            fresh: KeyMatch(key=rotated),
            ticket: KeyMatch(key=rotated),
            whole: KeyMatch(key=other),
        }
        revoked = await keys.revoke("b")
        assert await keys.matches([whole]) == {whole: KeyMatch(key=revoked)}
        assert await keys.matches([]) == {}

    async def test_what_was_stored_may_be_stored_again(self, keys: KeyRepository) -> None:
        await keys.add(KEY, digest="1")
        await keys.add(KEY, digest="1")
        assert await keys.find(limit=9) == [KEY]

    async def test_keys_are_listed_newest_first_by_owner_and_page_by_page(self, keys: KeyRepository) -> None:
        for number in range(6):  # two at a time are of the same moment
            made = NOON + timedelta(seconds=number // 2)
            key = replace(KEY, id=str(number), owner=("a", "b")[number % 2], created_at=made)
            await keys.add(key, digest=str(number))
        assert [key.id for key in await keys.find(limit=9)] == ["5", "4", "3", "2", "1", "0"]
        assert [key.id for key in await keys.find(owner="b", limit=2)] == ["5", "3"]
        assert [key.id for key in await keys.find(limit=2, before=(NOON + timedelta(seconds=1), "3"))] == ["2", "1"]
        for nobody in ("c", "everybody", None):
            assert await keys.find(owner=nobody, limit=9) == []

    async def test_a_key_is_revoked_once_and_for_all(self, keys: KeyRepository) -> None:
        await keys.add(KEY, digest="1")
        revoked = await keys.revoke("a")
        assert revoked.revoked_at is not None
        assert await keys.revoke("a") == revoked
        assert await keys.match("1") == KeyMatch(key=revoked)
        with pytest.raises(KeyNotFoundError):
            await keys.revoke("b")
        with pytest.raises(KeyNotFoundError):
            await keys.get("b")

    async def test_of_the_secrets_of_a_key_the_last_two_are_found(self, keys: KeyRepository) -> None:
        await keys.add(KEY, digest="1")
        rotated = await keys.rotate("a", prefix="atk_b", digest="2", overlap_seconds=3_600)
        assert rotated == replace(KEY, prefix="atk_b")
        found = await keys.match("1")
        assert found is not None
        assert found.key == rotated
        assert found.replaced_at is not None
        assert found.replaced_at - datetime.now(UTC) > timedelta(minutes=50)
        assert await keys.match("2") == KeyMatch(key=rotated)
        await keys.rotate("a", prefix="atk_c", digest="3", overlap_seconds=0)
        assert await keys.match("1") is None
        last = await keys.match("2")
        assert last is not None
        assert last.replaced_at is not None
        assert last.replaced_at <= datetime.now(UTC)

    async def test_a_key_that_does_not_hold_gets_no_new_secret(self, keys: KeyRepository) -> None:
        assert await keys.rotate("a", prefix="atk_b", digest="2", overlap_seconds=0) is None
        await keys.add(KEY, digest="1")
        await keys.revoke("a")
        await keys.add(replace(KEY, id="b", expires_at=datetime.now(UTC)), digest="5")
        for key_id in "ab":
            assert await keys.rotate(key_id, prefix="atk_b", digest="2", overlap_seconds=0) is None
        assert await keys.match("1") is not None
        assert await keys.match("2") is None

    async def test_a_use_is_noted_where_what_is_known_is_older(self, keys: KeyRepository) -> None:
        for name in "ab":
            await keys.add(replace(KEY, id=name), digest=name)
        for at, noted in ((0, 0), (59, 0), (60, 60), (30, 60)):
            uses = {"a": NOON + timedelta(seconds=at), "nobody": NOON}
            await keys.mark_used(uses, apart_seconds=60)
            assert (await keys.get("a")).last_used_at == NOON + timedelta(seconds=noted)
        assert (await keys.get("b")).last_used_at is None

    async def test_many_may_note_the_uses_of_the_same_keys_at_once(self, keys: KeyRepository) -> None:
        names = [str(number) for number in range(20)]
        for name in names:
            await keys.add(replace(KEY, id=name), digest=name)
        forth, back = dict.fromkeys(names, NOON), dict.fromkeys(reversed(names), NOON)
        await asyncio.gather(*(keys.mark_used(uses, apart_seconds=60) for uses in (forth, back) * 4))
        assert [(await keys.get(name)).last_used_at for name in names] == [NOON] * 20


class TestFakeKeyRepository(KeyRepositoryContract):
    @pytest.fixture
    def keys(self) -> KeyRepository:
        return FakeKeyRepository()


class TestPiccoloKeyRepository(KeyRepositoryContract):
    @pytest.fixture
    async def keys(self, database: Database) -> AsyncGenerator[KeyRepository]:
        async with open_database(database.settings, database.password, application_name="test") as engine:
            yield PiccoloKeyRepository(engine)

    async def test_a_secret_is_looked_up_through_indexes(self, database: Database, keys: KeyRepository) -> None:
        connection = await database.connect()
        try:
            await connection.execute(
                "INSERT INTO api_key (id, prefix, name, owner, scopes, limits, created_at, digest, previous_digest) "
                "SELECT n, '', '', '', '{}', '{}', now(), 'd' || n, 'p' || n FROM generate_series(1, 20000) AS n"
            )
            await connection.execute("ANALYZE api_key")
            rows = await connection.fetch("EXPLAIN SELECT FROM api_key WHERE digest = 'd7' OR previous_digest = 'd7'")
        finally:
            await connection.close()
        plan = "\n".join(row[0] for row in rows)
        assert "Seq Scan" not in plan
        assert plan.count("Index Scan") == 2

    async def test_a_database_that_is_away_says_so(self, database: Database) -> None:
        nobody = Relay(database).database
        async with open_database(nobody.settings, nobody.password, application_name="test") as engine:
            keys = PiccoloKeyRepository(engine)
            for work in (
                keys.add(replace(KEY, id=str(uuid4())), digest=digest_of("x")),
                keys.match("1"),
                keys.matches([Credential(key_id="a")]),
                keys.get("a"),
                keys.find(limit=1),
                keys.revoke("a"),
                keys.rotate("a", prefix="", digest="2", overlap_seconds=0),
                keys.mark_used({"a": NOON}, apart_seconds=60),
            ):
                with pytest.raises(DatabaseUnavailableError):
                    await work
