"""Deliveries in PostgreSQL: taken by a claim, written under its fence, as jobs are."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from audio_text.adapters.rows import json_text
from audio_text.adapters.statements import Statements
from audio_text.domain.delivery import LOG_LENGTH, Delivery
from audio_text.domain.webhooks import EndpointState
from audio_text.errors import DeliveryNotFoundError
from audio_text.ports import DeliveryResult, PauseRule, Recorded

FIELDS = Delivery.__struct_fields__
COLUMNS = ", ".join(FIELDS)
SELECTED = ", ".join(f"delivery.{name}" for name in FIELDS)
JSONS = ("payload", "log")
VALUES = ", ".join("{}::jsonb" if name in JSONS else "{}" for name in FIELDS)

ADD = f"INSERT INTO delivery ({COLUMNS}) VALUES ({VALUES}) ON CONFLICT DO NOTHING"  # noqa: S608 -- our own names

ENQUEUE_EVENT = "SELECT enqueue_event({}, {}, {}, {}, {}::jsonb)"


def _logged(entry: str) -> str:
    """Append an entry to the log, which keeps the newest."""
    return f"CASE WHEN jsonb_array_length(log) < {LOG_LENGTH} THEN log ELSE log - 0 END || jsonb_build_object({entry})"


LOST = "'at', lease_expires_at, 'error', 'Its worker process ended, and whether it arrived is unknown.'"

# From lane to lane by one look into the index each, however much waits in one; in each lane the oldest that may go out.
# A lane without an endpoint is mail's, and shared: of each of its owners the oldest. Then owners take turns, as in
# `job_turn`: an owner's first goes out as if it had only what this process is sending for it, its second as if the
# first was being sent, too. Counting before locking lets two at once take a few more of a lane, and what one has locked
# and leaves behind, the other passes over this time.
CLAIM = f"""
WITH RECURSIVE lane AS (
    (SELECT lane AS name FROM delivery WHERE status = 'pending' ORDER BY lane LIMIT 1)
    UNION ALL
    SELECT (SELECT lane FROM delivery WHERE status = 'pending' AND lane > lane.name ORDER BY lane LIMIT 1)
    FROM lane WHERE lane.name IS NOT NULL
), open AS (
    SELECT name, endpoint.owner, endpoint.id IS NULL AS is_shared, {{}} - (
        SELECT count(*) FROM delivery WHERE lane = name AND status = 'pending' AND lease_expires_at > now()
    ) AS free
    FROM lane LEFT JOIN webhook_endpoint AS endpoint ON endpoint.id = name
    WHERE name IS NOT NULL AND endpoint.state IS DISTINCT FROM '{EndpointState.paused.value}'
), owned AS (
    SELECT name, owner, free FROM open WHERE NOT is_shared
    UNION ALL
    SELECT DISTINCT name, delivery.owner, free FROM open JOIN delivery ON delivery.lane = name
    WHERE is_shared AND delivery.status = 'pending' AND delivery.due_at <= now()
), share AS (
    SELECT *, COALESCE(({{}}::jsonb ->> COALESCE(owner, ''))::integer, 0) AS busy FROM owned
), dealt AS (
    SELECT due.id, due.due_at, share.name, share.free,
        share.busy + row_number() OVER (PARTITION BY share.owner ORDER BY due.due_at, due.id) AS turn
    FROM share CROSS JOIN LATERAL (
        SELECT id, due_at FROM delivery
        WHERE lane = share.name AND owner IS NOT DISTINCT FROM share.owner
          AND status = 'pending' AND due_at <= now() AND COALESCE(lease_expires_at <= now(), true)
          AND NOT EXISTS (
            SELECT FROM delivery AS earlier
            WHERE earlier.lane = delivery.lane AND earlier.subject = delivery.subject
              AND earlier.status = 'pending' AND earlier.created_at < delivery.created_at
          )
        ORDER BY due_at, id LIMIT GREATEST(LEAST(share.free, {{}}, {{}} - share.busy), 0) FOR UPDATE SKIP LOCKED
    ) AS due
), fair AS (
    SELECT *, row_number() OVER (PARTITION BY name ORDER BY turn, due_at, id) AS place FROM dealt WHERE turn <= {{}}
), next AS (
    SELECT id FROM fair WHERE place <= free ORDER BY turn, due_at, id LIMIT {{}}
)
UPDATE delivery SET attempts = attempts + 1, claims = claims + 1,
    lease_expires_at = now() + make_interval(secs => {{}}),
    log = CASE WHEN lease_expires_at IS NULL THEN log ELSE {_logged(LOST)} END
FROM next WHERE delivery.id = next.id
RETURNING {SELECTED}
"""  # noqa: S608 -- our own names

ATTEMPT = "'at', {}::timestamptz, 'status_code', {}::integer, 'error', {}::text, 'seconds', {}::float8"

# What failed counts against the endpoint, unless it was ours to do better, and what arrived clears it: mostly there is
# nothing to clear, nor to write.
RECORD = f"""
WITH tried AS (
    UPDATE delivery SET status = {{}}, due_at = now() + make_interval(secs => {{}}), lease_expires_at = NULL,
        status_code = {{}}, error = {{}}, log = {_logged(ATTEMPT)},
        finished_at = CASE WHEN {{}}::boolean THEN now() END
    WHERE id = {{}} AND claims = {{}} AND status = 'pending'
    RETURNING endpoint_id
), judged AS (
    UPDATE webhook_endpoint SET failures = CASE WHEN {{}}::boolean THEN failures + 1 ELSE 0 END,
        failing_since = CASE WHEN {{}}::boolean THEN COALESCE(failing_since, now()) END
    FROM tried
    WHERE webhook_endpoint.id = tried.endpoint_id AND NOT {{}}::boolean AND ({{}}::boolean OR failures > 0)
    RETURNING webhook_endpoint.*
)
SELECT judged.* FROM tried LEFT JOIN judged ON judged.id = tried.endpoint_id
"""  # noqa: S608 -- our own names

PAUSE = """
UPDATE webhook_endpoint SET state = 'paused', paused_at = now(), paused_reason = {}
WHERE id = {} AND state = 'enabled'
  AND ({}::boolean OR failures >= {} AND failing_since <= now() - make_interval(secs => {}))
RETURNING paused_reason
"""

GET = f"SELECT {SELECTED} FROM delivery WHERE id = {{}}"  # noqa: S608 -- our own names

FIND = f"""
SELECT {SELECTED} FROM delivery
WHERE endpoint_id = {{}} AND (created_at, id) < (COALESCE({{}}::timestamptz, 'infinity'), COALESCE({{}}, ''))
ORDER BY created_at DESC, id DESC LIMIT {{}}
"""  # noqa: S608 -- our own names

REPLAY = f"""
UPDATE delivery SET due_at = now(), status = 'pending', finished_at = NULL,
    attempts = CASE status WHEN 'pending' THEN attempts ELSE 0 END
WHERE id = {{}} RETURNING {SELECTED}
"""  # noqa: S608 -- our own names

PURGE = """
WITH old AS MATERIALIZED (
    SELECT id FROM delivery WHERE created_at < now() - make_interval(secs => {})
    ORDER BY created_at, id LIMIT {} FOR UPDATE SKIP LOCKED
)
DELETE FROM delivery USING old WHERE delivery.id = old.id RETURNING delivery.id
"""


class PiccoloDeliveryRepository(Statements):
    """The port `DeliveryRepository` over a Piccolo engine."""

    async def add(self, delivery: Delivery) -> None:
        """Store a new one."""
        values = msgspec.structs.asdict(delivery) | {"log": json_text(delivery.log)}
        values |= {"kind": delivery.kind.value, "status": delivery.status.value}
        await self._run(ADD, *values.values(), repeatable=True)

    async def enqueue_event(
        self, *, owner: str | None, event_type: str, event_id: str, subject: str | None, data: Mapping[str, object]
    ) -> None:
        """Store a delivery for each endpoint that asked for it."""
        await self._run(ENQUEUE_EVENT, owner, event_type, event_id, subject, json_text(data), repeatable=True)

    async def claim(
        self, *, limit: int, per_lane: int, per_owner: int, under_way: Mapping[str, int], lease_seconds: float
    ) -> list[Delivery]:
        """Take deliveries that are due."""
        bounds = (per_lane, json_text(under_way), limit, per_owner, per_owner, limit)
        rows = await self._run(CLAIM, *bounds, lease_seconds)
        return sorted((delivery_of(row) for row in rows), key=lambda delivery: (delivery.due_at, delivery.id))

    async def record(self, delivery: Delivery, result: DeliveryResult, *, rule: PauseRule) -> Recorded | None:
        """Write how a try ended."""
        attempt, has_failed = result.attempt, result.attempt.error is not None
        is_over = result.status.value != "pending"
        answer = (attempt.status_code, attempt.error)
        entry = (attempt.at, *answer, attempt.seconds)
        fence = (delivery.id, delivery.claims)
        news = (result.status.value, result.delay_seconds, *answer, *entry, is_over, *fence)
        rows = await self._run(RECORD, *news, has_failed, has_failed, result.is_ours, has_failed)
        if not rows:
            return None
        if not has_failed or result.is_ours or delivery.endpoint_id is None:
            return Recorded()
        return await self._judge(delivery.endpoint_id, result, rule)

    async def _judge(self, endpoint_id: str, result: DeliveryResult, rule: PauseRule) -> Recorded:
        # A statement of its own: should it be lost, the next failure brings it again.
        reason = (
            "The receiver answered 410 Gone."
            if result.is_gone
            else f"At least {rule.failures} tries in a row failed, the last: {result.attempt.error}"
        )
        rows = await self._run(PAUSE, reason, endpoint_id, result.is_gone, rule.failures, rule.seconds)
        return Recorded(paused_reason=rows[0]["paused_reason"] if rows else None)

    async def get(self, delivery_id: str) -> Delivery:
        """Read one."""
        return _only(await self._run(GET, delivery_id, repeatable=True))

    async def find(self, endpoint_id: str, *, limit: int, before: tuple[datetime, str] | None = None) -> list[Delivery]:
        """An endpoint's deliveries, newest first."""
        rows = await self._run(FIND, endpoint_id, *(before or (None, None)), limit, repeatable=True)
        return [delivery_of(row) for row in rows]

    async def replay(self, delivery_id: str) -> Delivery:
        """Make it due now."""
        return _only(await self._run(REPLAY, delivery_id, repeatable=True))

    async def purge(self, *, seconds: float, limit: int) -> int:
        """Remove the oldest."""
        return len(await self._run(PURGE, seconds, limit))


def delivery_of(row: Mapping[str, Any]) -> Delivery:
    """Read a row of delivery; the payload stays the text that the database writes."""
    return msgspec.convert({**row, "log": msgspec.json.decode(row["log"])}, Delivery)


def _only(rows: list[Mapping[str, Any]]) -> Delivery:
    if not rows:
        raise DeliveryNotFoundError
    return delivery_of(rows[0])
