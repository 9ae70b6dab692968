"""Endpoints of webhooks in PostgreSQL."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from audio_text.adapters.rows import json_text
from audio_text.adapters.statements import Statements, owned_by
from audio_text.domain.owners import Whose
from audio_text.domain.webhooks import WebhookEndpoint
from audio_text.errors import WebhookNotFoundError

FIELDS = WebhookEndpoint.__struct_fields__
COLUMNS = ", ".join(FIELDS)
SELECTED = ", ".join(f"endpoint.{name}" for name in FIELDS)
VALUES = ", ".join("{}::jsonb" if name == "events" else "{}" for name in FIELDS)

ADD = f"""
INSERT INTO webhook_endpoint ({COLUMNS}) SELECT {VALUES}
WHERE (SELECT count(*) FROM webhook_endpoint WHERE owner IS NOT DISTINCT FROM {{}}) < {{}}
RETURNING id
"""  # noqa: S608 -- our own names

# Of two at once, each may have found room for one: whoever sees too many steps back.
STEP_BACK = """
DELETE FROM webhook_endpoint
WHERE id = {} AND (SELECT count(*) FROM webhook_endpoint WHERE owner IS NOT DISTINCT FROM {}) > {}
RETURNING id
"""

GET = f"SELECT {SELECTED} FROM webhook_endpoint AS endpoint WHERE id = {{}}"  # noqa: S608 -- our own names

CHANGE = f"""
UPDATE webhook_endpoint AS endpoint SET url = COALESCE({{}}, url), events = COALESCE({{}}::jsonb, events),
    description = CASE WHEN {{}}::boolean THEN {{}} ELSE description END
WHERE id = {{}} RETURNING {SELECTED}
"""  # noqa: S608 -- our own names

ROTATE = f"""
UPDATE webhook_endpoint AS endpoint
SET secret_version = secret_version + 1, overlap_until = now() + make_interval(secs => {{}})
WHERE id = {{}} RETURNING {SELECTED}
"""  # noqa: S608 -- our own names

ENABLE = f"""
WITH waiting AS (
    UPDATE delivery SET due_at = now() WHERE endpoint_id = {{}} AND status = 'pending' AND due_at > now()
)
UPDATE webhook_endpoint AS endpoint
SET state = 'enabled', paused_at = NULL, paused_reason = NULL, failures = 0, failing_since = NULL
WHERE id = {{}} RETURNING {SELECTED}
"""  # noqa: S608 -- our own names

DELETE = "DELETE FROM webhook_endpoint WHERE id = {} RETURNING id"


class PiccoloWebhookRepository(Statements):
    """The port `WebhookRepository` over a Piccolo engine."""

    async def add(self, endpoint: WebhookEndpoint, *, limit: int) -> bool:
        """Store a new one, if there is room for it."""
        values = msgspec.structs.asdict(endpoint)
        values |= {"events": json_text(endpoint.events), "state": endpoint.state.value}
        if not await self._run(ADD, *values.values(), endpoint.owner, limit):
            return False
        return not await self._run(STEP_BACK, endpoint.id, endpoint.owner, limit)

    async def get(self, endpoint_id: str) -> WebhookEndpoint:
        """Read one."""
        return _only(await self._run(GET, endpoint_id, repeatable=True))

    async def find(self, *, owner: Whose) -> list[WebhookEndpoint]:
        """All of an owner, or of everybody."""
        condition, whose = owned_by(owner)
        find = f"SELECT {SELECTED} FROM webhook_endpoint AS endpoint WHERE {condition} ORDER BY created_at, id"  # noqa: S608 -- our own text
        return [_endpoint_of(row) for row in await self._run(find, *whose, repeatable=True)]

    async def change(
        self,
        endpoint_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        description: str | UnsetType | None = UNSET,
    ) -> WebhookEndpoint:
        """Change what is given."""
        described = (True, description) if description is not UNSET else (False, None)
        listed = None if events is None else json_text(list(events))
        return _only(await self._run(CHANGE, url, listed, *described, endpoint_id, repeatable=True))

    async def rotate(self, endpoint_id: str, *, overlap_seconds: float) -> WebhookEndpoint:
        """Begin the next secret."""
        return _only(await self._run(ROTATE, overlap_seconds, endpoint_id))

    async def enable(self, endpoint_id: str) -> WebhookEndpoint:
        """Call it again."""
        return _only(await self._run(ENABLE, endpoint_id, endpoint_id, repeatable=True))

    async def delete(self, endpoint_id: str) -> None:
        """Remove it with its deliveries."""
        if not await self._run(DELETE, endpoint_id):
            raise WebhookNotFoundError


def _endpoint_of(row: Mapping[str, Any]) -> WebhookEndpoint:
    return msgspec.convert({**row, "events": msgspec.json.decode(row["events"])}, WebhookEndpoint)


def _only(rows: list[Mapping[str, Any]]) -> WebhookEndpoint:
    if not rows:
        raise WebhookNotFoundError
    return _endpoint_of(rows[0])
