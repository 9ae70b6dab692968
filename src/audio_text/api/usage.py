"""The route that tells callers what they may use, what they have used, and when they get more."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from litestar import Request, get
from litestar.openapi.spec import Example
from litestar.params import QueryParameter

from audio_text.api.access import Access
from audio_text.api.client_address import address_of
from audio_text.api.dependencies import GivenCaller, GivenServices
from audio_text.api.problems import documented
from audio_text.api.usage_views import Amount, UsageView
from audio_text.domain.access import Caller, Scope
from audio_text.domain.usage import SECONDS_PER_HOUR, SECONDS_PER_MINUTE, Allowance, Rate, Window, next_day
from audio_text.errors import DatabaseUnavailableError, InvalidRequestError, KeyNotFoundError

_KeyId = Annotated[
    str | None,
    QueryParameter(
        max_length=100,
        description="For keys with the scopes `read` and `admin`: another key's id.",
        examples=[Example(value="6d8b1f6e-5a0e-4c43-9c0b-2f1d7f1f8a11")],
    ),
]


@get(
    "/usage",
    opt={"access": Access.read},
    summary="Read limits and usage",
    response_description="What may be used, and what is.",
    responses=documented(InvalidRequestError, KeyNotFoundError, DatabaseUnavailableError),
    tags=["usage"],
)
async def read_usage(
    *,
    request: Request[Any, Any, Any],
    services: GivenServices,
    caller: GivenCaller,
    key_id: _KeyId = None,
) -> UsageView:
    """Tell what the caller's key may use, has used, and has left; without keys, of the caller's address."""
    if key_id is not None and key_id != caller.key_id:
        if Scope.admin not in caller.scopes:
            raise KeyNotFoundError
        key = await services.access.get(key_id)
        caller = Caller(owner=key.owner, key_id=key.id, limits=key.limits)
    address = address_of(request)
    allowance = services.limiting.allowance(caller)
    windows = await services.limiting.windows(caller, address=address)
    minute, hour = _rates(allowance, windows)
    if caller.key_id is None:
        return UsageView(
            key_id=None,
            requests_per_minute=minute,
            requests_per_hour=hour,
            concurrent_jobs=Amount(),
            audio_seconds_today=Amount(),
            audio_seconds_reserved=None,
        )
    used = await services.resources.jobs.usage(caller.key_id)
    tomorrow = next_day(datetime.now(UTC))
    return UsageView(
        key_id=caller.key_id,
        requests_per_minute=minute,
        requests_per_hour=hour,
        concurrent_jobs=Amount.of(allowance.concurrent_jobs, used.concurrent_jobs),
        audio_seconds_today=Amount.of(
            allowance.audio_seconds_per_day, round(used.audio_seconds_today, 3), resets_at=tomorrow
        ),
        audio_seconds_reserved=round(used.reserved_seconds, 3),
    )


def _rates(allowance: Allowance, windows: tuple[Window, ...] | None) -> tuple[Amount, Amount]:
    known = {window.rate: window for window in windows or ()}
    amounts = {rate.seconds: _rate(rate, known.get(rate)) for rate in allowance.rates}
    return amounts.get(SECONDS_PER_MINUTE, Amount()), amounts.get(SECONDS_PER_HOUR, Amount())


def _rate(rate: Rate, window: Window | None) -> Amount:
    if window is None:
        return Amount(limit=rate.limit)
    resets_at = datetime.now(UTC) + timedelta(seconds=window.reset_seconds)
    return Amount.of(rate.limit, rate.limit - window.remaining, resets_at=resets_at)
