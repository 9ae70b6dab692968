"""Routes of an admin: keys, given out, listed, rotated and revoked; and the tickets that anybody may ask for."""

from typing import Annotated

from litestar import Response, Router, delete, get, post
from litestar.openapi.spec import Example
from litestar.params import JSONBody, PathParameter, QueryParameter

from audio_text.api.access import Access
from audio_text.api.dependencies import GivenCaller, GivenServices, GivenSettings
from audio_text.api.ids import checked_id
from audio_text.api.key_views import (
    LONGEST_LABEL,
    KeyRequest,
    KeySecret,
    KeyView,
    LimitsChoice,
    RotationRequest,
    TicketView,
)
from audio_text.api.paging import LINK, Cursor, Limit, moment, page, page_size
from audio_text.api.problems import documented, documented_header
from audio_text.domain.owners import EVERYBODY
from audio_text.errors import (
    DatabaseUnavailableError,
    InvalidRequestError,
    KeyNotFoundError,
    KeyStateError,
    TicketsUnavailableError,
)

PATH = "/api/v1/keys"
NOT_KEPT = {"Cache-Control": "no-store"}
"""Of an answer with a secret in it."""

KeyId = Annotated[
    str,
    PathParameter(description="The key's id.", examples=[Example(value="6d8b1f6e-5a0e-4c43-9c0b-2f1d7f1f8a11")]),
]
Owner = Annotated[
    str | None,
    QueryParameter(
        min_length=1,
        max_length=LONGEST_LABEL,
        description="Only keys of this owner.",
        examples=[Example(value="acme")],
    ),
]
ALWAYS = (InvalidRequestError, DatabaseUnavailableError)


@post(
    "/",
    opt={"access": Access.admin},
    summary="Create a key",
    response_description="The key, and its secret, which is never shown again.",
    responses=documented(*ALWAYS),
)
async def create_key(data: JSONBody[KeyRequest], services: GivenServices) -> Response[KeySecret]:
    """Give out a key to an owner, for some purpose, with scopes, limits and an end if it has one."""
    key, secret = await services.access.create(
        owner=data.owner,
        name=data.name,
        scopes=frozenset(data.scopes),
        limits=(data.limits or LimitsChoice()).limits(),
        expires_in_seconds=data.expires_in,
    )
    return Response(KeySecret.told(key, secret), headers=NOT_KEPT)


@get(
    "/",
    opt={"access": Access.admin},
    summary="List keys",
    response_description="Keys, newest first.",
    response_headers=[documented_header("Link", LINK)],
    responses=documented(*ALWAYS),
)
async def read_keys(
    *,
    services: GivenServices,
    settings: GivenSettings,
    owner: Owner = None,
    limit: Limit = None,
    cursor: Cursor = None,
) -> Response[list[KeyView]]:
    """List keys, revoked and expired ones among them, a page at a time."""
    size, kind = page_size(limit, settings), (PATH, owner)
    whose = EVERYBODY if owner is None else owner
    found = await services.access.list(whose, limit=size + 1, before=moment(cursor, of=kind))
    query = [("limit", size), *([("owner", owner)] if owner else [])]
    keys, headers = page(found, size, at=lambda key: (key.created_at, key.id), path=PATH, query=query, of=kind)
    return Response([KeyView.of(key) for key in keys], headers=headers)


@delete(
    "/{key_id:str}",
    opt={"access": Access.admin},
    summary="Revoke a key",
    response_description="It is revoked.",
    responses=documented(*ALWAYS, KeyNotFoundError),
)
async def revoke_key(key_id: KeyId, services: GivenServices) -> None:
    """Revoke a key for good. Safe to repeat; it stays on the list, and what its owner brought stays, too.

    Every process of the service refuses it within `access.cache_seconds`.
    """
    await services.access.revoke(checked_id(key_id, KeyNotFoundError))


@post(
    "/{key_id:str}/rotate",
    opt={"access": Access.admin},
    status_code=200,
    summary="Rotate a key",
    response_description="The key, and its new secret, which is never shown again.",
    responses=documented(*ALWAYS, KeyNotFoundError, KeyStateError),
)
async def rotate_key(
    key_id: KeyId, services: GivenServices, data: JSONBody[RotationRequest | None] = None
) -> Response[KeySecret]:
    """Give a key a new secret. The one it has now holds on for a day, or as long as the body says.

    Only these two hold: to rotate again ends the older one at once.
    """
    overlap = (data or RotationRequest()).overlap_seconds
    key, secret = await services.access.rotate(checked_id(key_id, KeyNotFoundError), overlap)
    return Response(KeySecret.told(key, secret), headers=NOT_KEPT)


@post(
    "/tickets",
    opt={"access": Access.read},
    summary="Ask for a ticket",
    response_description="The ticket.",
    responses=documented(InvalidRequestError, DatabaseUnavailableError, TicketsUnavailableError),
    tags=["keys"],
)
async def issue_ticket(services: GivenServices, caller: GivenCaller) -> Response[TicketView]:
    """Get what opens one socket or event stream, from a page that cannot send headers there: `?ticket=`.

    It is good once, for reading alone, and for `access.ticket_seconds`. A key in an address ends up in logs and
    histories; a ticket that was used is worth nothing there.
    """
    return Response(TicketView.of(await services.access.issue_ticket(caller)), headers=NOT_KEPT)


router = Router(
    "/keys",
    route_handlers=[create_key, read_keys, revoke_key, rotate_key],
    tags=["keys"],
)
