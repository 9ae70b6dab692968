"""Server-sent events: how one is written, and the answer that they travel in."""

from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from audio_text.api.streamed import Outlet, Streamed

MEDIA_TYPE = "text/event-stream"

HEADERS = {
    "content-type": f"{MEDIA_TYPE}; charset=utf-8",
    "cache-control": "no-store",
    "x-accel-buffering": "no",  # nginx would collect pieces
}

PING = b": ping\n\n"
"""A comment: clients skip it, and a proxy sees that the connection lives."""


def event(data: msgspec.Struct, *, event_id: str | None = None) -> bytes:
    """Write an event; `event_id` is what a client that comes back sends as Last-Event-ID."""
    name = b"" if event_id is None else b"id: %s\n" % event_id.encode()
    return b"%sdata: %s\n\n" % (name, msgspec.json.encode(data))


def retry(seconds: float) -> bytes:
    """Tell the client how long to wait before it comes back."""
    return b"retry: %d\n\n" % round(seconds * 1_000)


def pause(code: str, seconds: float) -> bytes:
    """Tell the same a client for which there is nothing now, and why in a comment."""
    return b": %s\n%s" % (code.encode(), retry(seconds))


def described_stream(*messages: str, example: dict[str, str]) -> dict[str, Any]:
    """Describe a stream for OpenAPI 3.1, where the schema is that of one event; `messages` are names of schemas."""
    data = {
        "type": "string",
        "description": f"JSON: {' or '.join(messages)}.",
        "contentMediaType": "application/json",
        "contentSchema": {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in messages]},
    }
    event_id = {"type": "string", "description": "What a client that comes back sends as Last-Event-ID."}
    schema = {
        "type": "object",
        "description": "One of the events; comments come in between.",
        "properties": {"data": data} | ({"id": event_id} if "id" in example else {}),
        "required": ["data"],
    }
    return {MEDIA_TYPE: {"schema": schema, "examples": {"event": {"value": example}}}}


class EventSource(Streamed):
    """A stream of events that `tell` writes to its outlet."""

    def __init__(
        self, tell: Callable[[Outlet], Coroutine[Any, Any, None]], *, send_timeout_seconds: float, prelude: bytes = b""
    ) -> None:
        super().__init__(tell, headers=HEADERS, send_timeout_seconds=send_timeout_seconds, prelude=prelude)
