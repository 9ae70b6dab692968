"""`audio-text keys` as an operator runs it, against a real database."""

import asyncio
import re
import subprocess

from audio_text.adapters.database import open_database
from audio_text.adapters.key_table import PiccoloKeyRepository
from audio_text.domain.access import KeyLimits, Scope
from audio_text.domain.key_secrets import digest_of
from audio_text.ports import KeyMatch
from services.commands import COMMAND, environ
from services.database import Database
from services.redis import RedisServer

# Neither a store nor Redis is needed: what is not given here is never asked for.
NEEDED = ("PATH", "PYTHONPATH", "HOME", "AUDIO_TEXT_DATABASE")


class Operator:
    """Somebody at a terminal with the database's address and password."""

    def __init__(self, database: Database, redis_server: RedisServer, folder: object) -> None:
        given = environ(database, redis_server, folder)  # pyright: ignore[reportArgumentType] -- a Path
        self.environ = {name: value for name, value in given.items() if name.startswith(NEEDED)}

    async def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, "keys", *arguments]
        return await asyncio.to_thread(
            subprocess.run, command, env=self.environ, capture_output=True, text=True, check=False, timeout=60
        )


async def test_a_key_is_made_listed_rotated_and_revoked(
    database: Database, redis_server: RedisServer, tmp_path: object
) -> None:
    operator = Operator(database, redis_server, tmp_path)
    made = await operator.run(
        *("create", "--owner", "acme", "--name", "[bold]import", "--scope", "read"),
        *("--expires-in", "90d", "--requests-per-minute", "5"),
    )
    assert made.returncode == 0, made.stderr
    secret = made.stdout.removesuffix("\n")
    assert re.fullmatch(r"atk_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}", secret)
    assert secret not in made.stderr
    async with open_database(database.settings, database.password, application_name="test") as pool:
        keys = PiccoloKeyRepository(pool)
        match = await keys.match(digest_of(secret))
        assert match is not None
        key = match.key
        assert (key.owner, key.name, key.scopes) == ("acme", "[bold]import", {Scope.read})
        assert key.limits == KeyLimits(requests_per_minute=5)
        assert key.expires_at is not None
        assert (key.expires_at - key.created_at).days == 90
        assert key.id in made.stderr

        rotated = await operator.run("rotate", key.id, "--overlap", "1h")
        assert rotated.returncode == 0, rotated.stderr
        new = rotated.stdout.removesuffix("\n")
        assert [(await keys.match(digest_of(text))) is not None for text in (secret, new)] == [True, True]

        listed = await operator.run("list")
        for cell in (key.id, new[:12], "acme", "[bold]import", "until"):
            assert cell in listed.stdout
        for text in (secret, new, new[13:]):
            assert text not in listed.stdout + listed.stderr

        for _ in range(2):
            revoked = await operator.run("revoke", key.id)
            assert (revoked.returncode, revoked.stdout) == (0, "")
        found = await keys.match(digest_of(new))
        assert isinstance(found, KeyMatch)
        assert found.key.revoked_at is not None
        assert "revoked" in (await operator.run("list", "--owner", "acme")).stdout
        again = await operator.run("rotate", key.id)
        assert (again.returncode, again.stdout) == (1, "")
        assert again.stderr.endswith("error: This key is revoked or expired, and stays so: create another.\n")


async def test_without_keys_the_list_says_so_and_an_unknown_id_is_a_sentence(
    database: Database, redis_server: RedisServer, tmp_path: object
) -> None:
    operator = Operator(database, redis_server, tmp_path)
    empty = await operator.run("list")
    assert (empty.returncode, empty.stdout, empty.stderr) == (0, "", "There are no keys.\n")
    for act in ("revoke", "rotate"):
        told = await operator.run(act, "nobody")
        assert (told.returncode, told.stdout) == (1, "")
        assert told.stderr.endswith("error: There is no key with this id.\n")
    wrong = await operator.run("create", "--owner", "a", "--name", "b", "--expires-in", "soon")
    assert wrong.returncode == 2
    assert "90d" in wrong.stderr
