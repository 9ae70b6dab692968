"""Routes of webhooks: what an owner wants to be told, how its calls went, and the way back after a pause."""

from typing import Annotated

from litestar import Response, Router, delete, get, patch, post
from litestar.openapi.spec import Example
from litestar.params import JSONBody, PathParameter
from msgspec import UNSET

from audio_text.api.access import Access
from audio_text.api.dependencies import GivenCaller, GivenServices, GivenSettings
from audio_text.api.ids import checked_id
from audio_text.api.paging import LINK, Cursor, Limit, moment, page, page_size
from audio_text.api.problems import documented, documented_header
from audio_text.api.webhook_views import (
    DeliveryView,
    WebhookChange,
    WebhookRequest,
    WebhookView,
    WebhookWithSecret,
    with_secret,
)
from audio_text.domain.webhooks import EventType
from audio_text.errors import (
    DatabaseUnavailableError,
    DeliveryNotFoundError,
    InvalidFieldError,
    InvalidRequestError,
    RateLimitedError,
    TooManyWebhooksError,
    WebhookNotFoundError,
    WebhooksDisabledError,
    WebhookStateError,
)

PATH = "/api/v1/webhooks"

ALWAYS = (InvalidRequestError, DatabaseUnavailableError)
OF_ONE = (*ALWAYS, WebhookNotFoundError)

WebhookId = Annotated[
    str,
    PathParameter(description="The webhook's id.", examples=[Example(value="1b0f7c1e-52a4-4a4e-9b7a-6e1f0e1c2d3a")]),
]
DeliveryId = Annotated[
    str,
    PathParameter(description="The delivery's id.", examples=[Example(value="9c3a1d52-7f4b-4c0e-8a55-0d4c8e6b1f27")]),
]


@post(
    "/",
    opt={"access": Access.submit},
    summary="Create a webhook",
    response_description="The webhook, with its secret.",
    response_headers=[documented_header("Location", "Where to read it, without its secret.")],
    responses=documented(*ALWAYS, InvalidFieldError, TooManyWebhooksError, WebhooksDisabledError),
)
async def create_webhook(
    data: JSONBody[WebhookRequest], *, services: GivenServices, caller: GivenCaller
) -> Response[WebhookWithSecret]:
    """Have an address called when jobs and batches end. Its secret is told in this answer, and never again."""
    endpoint, secret = await services.webhooks.create(
        caller, url=data.url, events=list(data.events or EventType), description=data.description
    )
    return Response(with_secret(endpoint, secret), headers={"Location": f"{PATH}/{endpoint.id}"})


@get(
    "/",
    opt={"access": Access.read},
    summary="List webhooks",
    response_description="Webhooks, the oldest first.",
    responses=documented(*ALWAYS),
)
async def read_webhooks(services: GivenServices, caller: GivenCaller) -> list[WebhookView]:
    """List all webhooks: there are few."""
    return [WebhookView.of(endpoint) for endpoint in await services.webhooks.list(caller)]


@get(
    "/{webhook_id:str}",
    opt={"access": Access.read},
    summary="Read a webhook",
    response_description="The webhook.",
    responses=documented(*OF_ONE),
)
async def read_webhook(webhook_id: WebhookId, *, services: GivenServices, caller: GivenCaller) -> WebhookView:
    """Read one webhook: whether it is called, and why not."""
    return WebhookView.of(await services.webhooks.get(caller, checked_id(webhook_id, WebhookNotFoundError)))


@patch(
    "/{webhook_id:str}",
    opt={"access": Access.submit},
    summary="Change a webhook",
    response_description="The webhook.",
    responses=documented(*OF_ONE, InvalidFieldError),
)
async def change_webhook(
    webhook_id: WebhookId, data: JSONBody[WebhookChange], *, services: GivenServices, caller: GivenCaller
) -> WebhookView:
    """Change address, events or description. What waits goes to the new address."""
    endpoint = await services.webhooks.change(
        caller,
        checked_id(webhook_id, WebhookNotFoundError),
        url=None if data.url is UNSET else data.url,
        events=None if data.events is UNSET else list(data.events),
        description=data.description,
    )
    return WebhookView.of(endpoint)


@delete(
    "/{webhook_id:str}",
    opt={"access": Access.submit},
    summary="Delete a webhook",
    response_description="It is gone.",
    responses=documented(*OF_ONE),
)
async def delete_webhook(webhook_id: WebhookId, *, services: GivenServices, caller: GivenCaller) -> None:
    """Remove a webhook with its log. What waits for it is not sent."""
    await services.webhooks.delete(caller, checked_id(webhook_id, WebhookNotFoundError))


@post(
    "/{webhook_id:str}/rotate",
    opt={"access": Access.submit},
    status_code=200,
    summary="Rotate a webhook's secret",
    response_description="The webhook, with its new secret.",
    responses=documented(*OF_ONE, WebhooksDisabledError),
)
async def rotate_secret(webhook_id: WebhookId, *, services: GivenServices, caller: GivenCaller) -> WebhookWithSecret:
    """Begin a new secret. Until `old_secret_until`, calls carry two signatures: one of the secret before."""
    return with_secret(*await services.webhooks.rotate(caller, checked_id(webhook_id, WebhookNotFoundError)))


@post(
    "/{webhook_id:str}/test",
    opt={"access": Access.submit},
    status_code=202,
    summary="Test a webhook",
    response_description="The delivery, pending.",
    responses=documented(*OF_ONE, WebhookStateError, RateLimitedError),
)
async def test_webhook(webhook_id: WebhookId, *, services: GivenServices, caller: GivenCaller) -> DeliveryView:
    """Send an event of the type `webhook.test` on the way that all events take."""
    return DeliveryView.of(await services.webhooks.test(caller, checked_id(webhook_id, WebhookNotFoundError)))


@post(
    "/{webhook_id:str}/enable",
    opt={"access": Access.submit},
    status_code=200,
    summary="Enable a paused webhook",
    response_description="The webhook, enabled.",
    responses=documented(*OF_ONE),
)
async def enable_webhook(webhook_id: WebhookId, *, services: GivenServices, caller: GivenCaller) -> WebhookView:
    """Call it again, at once with all that waits for it. Safe to repeat."""
    return WebhookView.of(await services.webhooks.enable(caller, checked_id(webhook_id, WebhookNotFoundError)))


@get(
    "/{webhook_id:str}/deliveries",
    opt={"access": Access.read},
    summary="List a webhook's deliveries",
    response_description="Deliveries, newest first.",
    response_headers=[documented_header("Link", LINK)],
    responses=documented(*OF_ONE),
)
async def read_deliveries(
    webhook_id: WebhookId,
    *,
    services: GivenServices,
    caller: GivenCaller,
    settings: GivenSettings,
    limit: Limit = None,
    cursor: Cursor = None,
) -> Response[list[DeliveryView]]:
    """List what was sent to a webhook, or is yet to be, with the log of each, a page at a time."""
    path = f"{PATH}/{checked_id(webhook_id, WebhookNotFoundError)}/deliveries"
    size = page_size(limit, settings)
    found = await services.webhooks.deliveries(caller, webhook_id, limit=size + 1, before=moment(cursor, of=path))
    deliveries, headers = page(
        found, size, at=lambda told: (told.created_at, told.id), path=path, query=[("limit", size)], of=path
    )
    return Response([DeliveryView.of(delivery) for delivery in deliveries], headers=headers)


@post(
    "/deliveries/{delivery_id:str}/replay",
    opt={"access": Access.submit},
    status_code=202,
    summary="Replay a delivery",
    response_description="The delivery, pending.",
    responses=documented(*ALWAYS, DeliveryNotFoundError),
    tags=["webhooks"],
)
async def replay_delivery(delivery_id: DeliveryId, *, services: GivenServices, caller: GivenCaller) -> DeliveryView:
    """Send an event once more, whatever became of it, under the same `webhook-id`. A paused webhook gets it later."""
    return DeliveryView.of(await services.webhooks.replay(caller, checked_id(delivery_id, DeliveryNotFoundError)))


router = Router(
    "/webhooks",
    route_handlers=[
        create_webhook,
        read_webhooks,
        read_webhook,
        change_webhook,
        delete_webhook,
        rotate_secret,
        test_webhook,
        enable_webhook,
        read_deliveries,
    ],
    tags=["webhooks"],
)
