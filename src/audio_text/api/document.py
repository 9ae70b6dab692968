"""The OpenAPI document: what the framework writes of the routes, and all that it does not know."""

from collections.abc import Sequence
from typing import Any, cast

import msgspec
from litestar import Litestar
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, License, SecurityScheme, Tag
from litestar.routes import HTTPRoute
from litestar.types import ControllerRouterHandler

from audio_text.api import (
    batch_views,
    choices,
    dto,
    events,
    job_requests,
    key_views,
    mail_views,
    messages,
    problems,
    transcript_views,
    upload_views,
    usage_views,
    webhook_views,
)
from audio_text.api.access import ALSO_OPTION, DOWNLOAD_OPTION, OPTION, TICKET_OPTION, Access
from audio_text.api.authentication import MISSING
from audio_text.api.dependencies import PROVIDERS
from audio_text.api.openai import description, refusals
from audio_text.errors import (
    AudioTextError,
    DatabaseUnavailableError,
    LimitsUnavailableError,
    RateLimitedError,
    TicketsUnavailableError,
    TooManyConnectionsError,
    UnauthorizedError,
)

_RAW_BODY = {
    "description": "The raw bytes of the file.",
    "required": True,
    "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
}
_DESCRIPTION = """\
Self-hosted, asynchronous audio to text: upload a recording, submit a job, watch it live.

1. `POST /api/v1/audio/presigned-url` tells where to send the file.
2. `PUT` the raw bytes to that `url`, with the `headers` it names. Large files: `POST /api/v1/audio/uploads`.
3. `POST /api/v1/job/transcribe` with the very same `url` gives a job.
4. Open the WebSocket `/api/v1/job/ws/{job_id}`, or ask `GET /api/v1/job/status/{job_id}` from time to time.
5. `GET /api/v1/job/{job_id}/transcript` gives the transcript: as JSON, text, a table, or subtitles; also a partial one.

Errors are `application/problem+json` (RFC 9457): `detail` is a sentence for a person, `code` is for a program.

## Keys

Send your key with every request: `Authorization: Bearer KEY`; whoever runs the service gives it to you. Jobs and
uploads belong to the key's owner: to others they do not exist (404). Without a key the answer is 401, with one that
lacks the scope 403. A socket in a browser sends the key as a subprotocol beside the one that is spoken: `audio-text`,
and `bearer.` followed by the key in base64url. Sockets and event streams also take `?ticket=`, which is good once. A
key is never part of a URL. Uploads go to a signed link, without the key.

## Live updates

The socket sends JSON objects with a `type`: first `connected`, then `job_update` with the state as it is now, and one
for everything that happens from then on, with the segments as they are decoded. `ping` comes when nothing happens; a
client may send `ping` itself. The update of a terminal status is the last one, and the server closes with code 1000.
After any other code, come back with `?last_event_id=` and the last `event_id` you saw: nothing is missed, and nothing
comes twice. 4401 and 4403 mean that the key is missing, holds no more, or is not good for that, 4404 that there is no
such job, 1013 that a part of the service is away, 4408 that the client did not take what it was sent. The messages are
among the schemas: Connected, JobUpdateMessage, Ping, Pong, ErrorMessage.

For several jobs there is one WebSocket, `/api/v1/job/ws`: send a Subscribe or Unsubscribe for each. The same updates
come as server-sent events from `/api/v1/job/{job_id}/events` and, for several jobs, `/api/v1/job/events`.
"""
SECURITY = "key"
SECURITY_SCHEME = SecurityScheme(
    type="http",
    scheme="bearer",
    description="A key; each operation names the scope that it takes: `submit`, `read` or `admin`. What takes `admin` "
    "also takes the service's AUDIO_TEXT_OPERATOR_TOKEN. A service in open mode asks for nothing but that.",
)

_EVERYWHERE = (RateLimitedError, LimitsUnavailableError, DatabaseUnavailableError)
"""Refusals wherever a key is asked for: it is looked up and its requests are counted, whatever the route needs."""

_OF_OPTIONS: dict[str, tuple[type[AudioTextError], ...]] = {
    TICKET_OPTION: (TicketsUnavailableError, TooManyConnectionsError),
    DOWNLOAD_OPTION: (TooManyConnectionsError,),
}

_ONLY_BASES = frozenset({choices.Choices, messages.Message})
"""Nothing of these types is ever sent."""

_COMPLETE = {"temperature": [[0.0, 0.2, 0.4, 0.6, 0.8, 1.0]]}
"""Examples of options that a request may abbreviate."""

_TAGS = [
    Tag(name="audio", description="Recordings: where to upload them."),
    Tag(name="jobs", description="Jobs: submit, read, list, cancel, retry, delete, mail."),
    Tag(name="batches", description="Batches: up to a thousand jobs, submitted and dealt with together."),
    Tag(name="live", description="What happens to jobs, as it happens: server-sent events, and sockets."),
    Tag(name="keys", description="For admins: keys, given out and taken back. For all: tickets for live connections."),
    Tag(name="usage", description="What a caller may use, has used, and has left."),
    Tag(name="webhooks", description="Calls of an address of yours when jobs and batches end, and how they went."),
    Tag(name="dead letters", description="For operators: jobs that were given up, and what becomes of them."),
    Tag(name="openai", description="For clients that were written for OpenAI's audio interface: base_url is `/v1`."),
    Tag(name="health", description="Whether the service lives, and whether it can work."),
]


def openapi_document(handlers: Sequence[ControllerRouterHandler], version: str) -> dict[str, Any]:
    """Describe these handlers, as OpenAPI has it."""
    config = OpenAPIConfig(
        title="audio-text",
        version=version,
        description=_DESCRIPTION,
        license=License(name="MIT", identifier="MIT"),
        tags=_TAGS,
        components=Components(security_schemes={SECURITY: SECURITY_SCHEME}),
        use_handler_docstrings=True,
        render_plugins=[JsonRenderPlugin()],
    )
    # An application that is never served: only its description is wanted.
    app = Litestar(handlers, dependencies=PROVIDERS, logging_config=None, openapi_config=config)
    document: dict[str, Any] = app.openapi_schema.to_schema()
    # The framework's schemas lose docstrings, and bounds inside optional fields; msgspec's have them.
    document["components"]["schemas"] |= _schemas()
    if upload := document["paths"].get("/api/v1/audio/upload/{key}"):
        upload["put"]["requestBody"] = _RAW_BODY
    description.complete(document)
    transcript = document["paths"]["/api/v1/job/{job_id}/transcript"]["get"]
    transcript["responses"]["200"]["content"] = transcript_views.CONTENT
    for path in ("/api/v1/job/{job_id}/events", "/api/v1/job/events"):
        document["paths"][path]["get"]["responses"]["200"]["content"] = events.CONTENT
    _tell_access(app, document["paths"])
    _drop_ids_of_examples(document["paths"])
    _drop_nulls_of_texts(document["paths"])
    _let_bodies_be_left_out(document["paths"])
    return document


def _tell_access(app: Litestar, paths: dict[str, dict[str, dict[str, Any]]]) -> None:
    """Say of every operation what it takes to call it, and what is answered to those who may not."""
    for route in app.routes:
        if not isinstance(route, HTTPRoute) or route.path_format not in paths:
            continue
        refusals_of = refusals.refusals_of if route.path_format.startswith(refusals.PREFIX) else problems.refusals_of
        for handler in route.route_handlers:
            for method in handler.http_methods - {"OPTIONS"}:
                access = Access(handler.opt.get(OPTION))
                operation = paths[route.path_format][method.lower()]
                if access not in MISSING:
                    operation["security"] = []
                    continue
                also = Access(handler.opt.get(ALSO_OPTION, access))
                operation["security"] = [{SECURITY: list(dict.fromkeys((access.value, also.value)))}]
                of_options = [
                    kind for option, kinds in _OF_OPTIONS.items() if handler.opt.get(option) for kind in kinds
                ]
                for kind in (UnauthorizedError, MISSING[access], MISSING[also], *_EVERYWHERE, *of_options):
                    problems.add_refusals(operation["responses"], refusals_of(kind))
                operation["responses"] = dict(sorted(operation["responses"].items()))


def _drop_nulls_of_texts(paths: dict[str, dict[str, dict[str, Any]]]) -> None:
    """A list or a text may be left out, but no query says null for it: that would be a text, or a list of one."""
    for operation in (operation for methods in paths.values() for operation in methods.values()):
        for parameter in operation.get("parameters", []):
            match parameter["schema"]:
                case {"oneOf": [{"type": "array" | "string"} as sent, {"type": "null"}], **others}:
                    parameter["schema"] = {**sent, **others}
                case _:
                    pass


def _let_bodies_be_left_out(paths: dict[str, dict[str, dict[str, Any]]]) -> None:
    """A body that may be null need not be there at all, which the framework does not say."""
    for operation in (operation for methods in paths.values() for operation in methods.values()):
        match operation.get("requestBody"):
            case {"content": {"application/json": {"schema": {"oneOf": [*_, {"type": "null"}]}}}} as body:
                body["required"] = False
            case _:
                pass


def _drop_ids_of_examples(node: object) -> None:
    """OpenAPI names an example by its key; the framework writes the name into it as well, where it is not allowed."""
    match node:
        case dict():
            members = cast("dict[str, Any]", node)
            if isinstance(examples := members.get("examples"), dict):
                for example in cast("dict[str, dict[str, Any]]", examples).values():
                    example.pop("id", None)
            for member in members.values():
                _drop_ids_of_examples(member)
        case list():
            for item in cast("list[object]", node):
                _drop_ids_of_examples(item)
        case _:
            pass


def _schemas() -> dict[str, Any]:
    types = [
        kind
        for module in (
            *description.MODULES,
            batch_views,
            choices,
            dto,
            job_requests,
            key_views,
            mail_views,
            messages,
            transcript_views,
            upload_views,
            usage_views,
            webhook_views,
        )
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and kind.__module__ == module.__name__
        if kind not in _ONLY_BASES
    ]
    _, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    # A job's options mean what they mean in a request.
    for shown, asked in (("TranscriptionOptions", "TranscribeRequest"), ("VadOptions", "VadChoice")):
        for name, schema in components[shown]["properties"].items():
            meaning = components[asked]["properties"][name]
            schema |= {"description": meaning["description"], "examples": _COMPLETE.get(name, meaning["examples"])}
    for component in components.values():
        tag = component.get("properties", {}).get("type", {})
        if names := tag.get("enum"):
            tag.setdefault("description", "Tells this message from others.")
            tag.setdefault("examples", names)
    return components
