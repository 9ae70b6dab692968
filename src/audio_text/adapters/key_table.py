"""The table of keys in PostgreSQL. Every method is one statement, and therefore one transaction."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

import msgspec

from audio_text.adapters.rows import json_text
from audio_text.adapters.statements import Statements, owned_by
from audio_text.domain.access import ApiKey, Credential
from audio_text.domain.owners import EVERYBODY, Whose
from audio_text.errors import KeyNotFoundError
from audio_text.ports import KeyMatch

FIELDS = ", ".join(ApiKey.__struct_fields__)
VALUES = ", ".join("{}" for _ in ApiKey.__struct_fields__)

# Ids are random, so a conflict can only be this very statement, sent again after its answer was lost.
ADD = f"INSERT INTO api_key (digest, {FIELDS}) VALUES ({{}}, {VALUES}) ON CONFLICT (id) DO NOTHING"  # noqa: S608 -- names

# Both digests have a unique index.
MATCH = f"""
SELECT {FIELDS}, CASE WHEN previous_digest = {{}} THEN replaced_at END AS replaced_at
FROM api_key WHERE digest = {{}} OR previous_digest = {{}}
"""  # noqa: S608 -- our own column names

MATCHES = f"SELECT {FIELDS}, digest, previous_digest, replaced_at FROM api_key WHERE id = ANY({{}}::text[])"  # noqa: S608 -- names

GET = f"SELECT {FIELDS} FROM api_key WHERE id = {{}}"  # noqa: S608 -- our own column names

BEFORE = """
({}::timestamptz IS NULL OR (created_at, id) < ({}, {}::text)) ORDER BY created_at DESC, id DESC LIMIT {}
"""

REVOKE = f"UPDATE api_key SET revoked_at = COALESCE(revoked_at, now()) WHERE id = {{}} RETURNING {FIELDS}"  # noqa: S608 -- names

# Sent again after its answer was lost, it finds its own digest, and keeps what it has put behind it.
ROTATE = f"""
UPDATE api_key SET
    prefix = {{}}, digest = {{}},
    previous_digest = CASE WHEN digest = {{}} THEN previous_digest ELSE digest END,
    replaced_at = now() + make_interval(secs => {{}})
WHERE id = {{}} AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())
RETURNING {FIELDS}
"""  # noqa: S608 -- our own column names

# A row that is locked is just being changed, maybe by another process with the same news: left out, not waited for.
MARK_USED = """
WITH used AS MATERIALIZED (
    SELECT api_key.id, news.at FROM unnest({}::text[], {}::timestamptz[]) AS news (id, at)
    JOIN api_key ON api_key.id = news.id
    WHERE api_key.last_used_at IS NULL OR api_key.last_used_at <= news.at - make_interval(secs => {})
    FOR UPDATE OF api_key SKIP LOCKED
)
UPDATE api_key SET last_used_at = used.at FROM used WHERE api_key.id = used.id
"""


class PiccoloKeyRepository(Statements):
    """The port `KeyRepository` over a Piccolo engine."""

    async def add(self, key: ApiKey, *, digest: str) -> None:
        """Store a new key."""
        plain = {"scopes": sorted(key.scopes), "limits": json_text(key.limits)}
        await self._run(ADD, digest, *(msgspec.structs.asdict(key) | plain).values(), repeatable=True)

    async def match(self, digest: str) -> KeyMatch | None:
        """Find the key that a secret belongs to."""
        rows = await self._run(MATCH, digest, digest, digest, repeatable=True)
        return KeyMatch(key=_key_of(rows[0]), replaced_at=rows[0]["replaced_at"]) if rows else None

    async def matches(self, credentials: Collection[Credential]) -> dict[Credential, KeyMatch]:
        """Find the keys that many belong to."""
        rows = await self._run(MATCHES, list({each.key_id for each in credentials}), repeatable=True)
        by_id = {row["id"]: row for row in rows}
        found = {each: _match_of(each, by_id[each.key_id]) for each in credentials if each.key_id in by_id}
        return {each: match for each, match in found.items() if match is not None}

    async def get(self, key_id: str) -> ApiKey:
        """Read one."""
        return _only(await self._run(GET, key_id, repeatable=True))

    async def find(
        self, *, owner: Whose = EVERYBODY, limit: int, before: tuple[datetime, str] | None = None
    ) -> list[ApiKey]:
        """List them, newest first."""
        date, key_id = before or (None, None)
        condition, whose = owned_by(owner)
        find = f"SELECT {FIELDS} FROM api_key WHERE {condition} AND {BEFORE}"  # noqa: S608 -- our own text
        rows = await self._run(find, *whose, date, date, key_id, limit, repeatable=True)
        return [_key_of(row) for row in rows]

    async def revoke(self, key_id: str) -> ApiKey:
        """End it, once and for all."""
        return _only(await self._run(REVOKE, key_id, repeatable=True))

    async def rotate(self, key_id: str, *, prefix: str, digest: str, overlap_seconds: float) -> ApiKey | None:
        """Give it a new secret."""
        rows = await self._run(ROTATE, prefix, digest, digest, overlap_seconds, key_id, repeatable=True)
        return _key_of(rows[0]) if rows else None

    async def mark_used(self, uses: Mapping[str, datetime], *, apart_seconds: float) -> None:
        """Note when keys were last used."""
        await self._run(MARK_USED, list(uses), list(uses.values()), apart_seconds, repeatable=True)


def _only(rows: list[Mapping[str, Any]]) -> ApiKey:
    if not rows:
        raise KeyNotFoundError
    return _key_of(rows[0])


def _match_of(credential: Credential, row: Mapping[str, Any]) -> KeyMatch | None:
    if credential.digest in {None, row["digest"]}:
        return KeyMatch(key=_key_of(row))
    if credential.digest == row["previous_digest"]:
        return KeyMatch(key=_key_of(row), replaced_at=row["replaced_at"])
    return None


def _key_of(row: Mapping[str, Any]) -> ApiKey:
    return msgspec.convert({**row, "limits": msgspec.json.decode(row["limits"])}, ApiKey)
