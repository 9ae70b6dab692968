"""Use case: count the requests of each caller, and refuse those that are too many."""

import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from ipaddress import IPv6Address, ip_address
from typing import TypeVar

import structlog

from audio_text.domain.access import Caller
from audio_text.domain.usage import Allowance, Hit, Window
from audio_text.errors import LimitsUnavailableError, RateLimitedError
from audio_text.ports import RateLimiter
from audio_text.settings import LimitSettings

PAUSE_SECONDS = 1.0
"""How long nobody is counted after a count failed: an outage must not make every request wait for it."""

IPV6_PREFIX = 64
"""Bits of an IPv6 address that say who somebody is; of the rest, every household has as many as it likes."""

LONGEST_ADDRESS = 64
"""Characters of what is no address of a network: a test's name, or a socket's path."""

Answer = TypeVar("Answer")

log = structlog.get_logger(__name__)


class LimitingService:
    """Counts requests by key, or by the client's address where there is none.

    While requests cannot be counted, all or none get through, as the settings say: nobody waits longer for that than
    once a second, and an outage is logged when it begins and when it ends.
    """

    def __init__(self, limiter: RateLimiter, *, settings: LimitSettings) -> None:
        self._limiter = limiter
        self._settings = settings
        self._is_away = False
        self._away_until = 0.0

    def allowance(self, caller: Caller) -> Allowance:
        """What the caller may use."""
        return self._settings.allowance(caller.limits)

    async def count(self, caller: Caller, *, address: str) -> Hit | None:
        """Count a request; None where there is no limit, or it could not be counted. Raises LimitsUnavailableError."""
        rates = self.allowance(caller).rates
        return await self._asked(partial(self._limiter.hit, who(caller, address), rates)) if rates else None

    async def require_trusted(self, address: str) -> None:
        """Raise RateLimitedError for an address to which too many keys were refused; LimitsUnavailableError.

        Nothing is counted here: those that are under way at the same moment all pass.
        """
        rates = self._settings.refused_rates
        windows = await self._asked(partial(self._limiter.look, _refused(address), rates)) if rates else None
        if windows and not windows[0].remaining:
            raise RateLimitedError(
                f"More than {rates[0].limit} keys or tickets were refused to this address within a minute: keys that "
                "were not used here before have to wait as long as Retry-After says.",
                retry_after_seconds=windows[0].reset_seconds,
            )

    async def count_refused(self, address: str) -> None:
        """Count a key or a ticket that was refused to an address; where nobody can count, it is left out."""
        rates = self._settings.refused_rates
        with suppress(LimitsUnavailableError):
            if rates:
                await self._asked(partial(self._limiter.hit, _refused(address), rates))

    async def windows(self, caller: Caller, *, address: str) -> tuple[Window, ...] | None:
        """Tell how the caller's rates stand; None: nobody can tell just now."""
        rates = self.allowance(caller).rates
        try:
            return await self._limiter.look(who(caller, address), rates) if rates else ()
        except LimitsUnavailableError:
            return None

    async def _asked(self, ask: Callable[[], Awaitable[Answer]]) -> Answer | None:
        if time.monotonic() < self._away_until:
            return self._uncounted(None)
        try:
            answer = await ask()
        except LimitsUnavailableError as error:
            return self._uncounted(error)
        if self._is_away:
            self._is_away = False
            log.info("limits_work_again")
        return answer

    def _uncounted(self, error: LimitsUnavailableError | None) -> None:
        if error is not None:
            self._away_until = time.monotonic() + PAUSE_SECONDS
            if not self._is_away:
                self._is_away = True
                log.error("limits_do_not_work", fail_open=self._settings.fail_open, cause=repr(error.__cause__))
        if not self._settings.fail_open:
            raise error or LimitsUnavailableError


def who(caller: Caller, address: str) -> str:
    """Name whose limits count: those of a key, or of the network that a household has."""
    return f"key:{caller.key_id}" if caller.key_id else f"address:{_household(address)}"


def _refused(address: str) -> str:
    return f"refused:{_household(address)}"


def _household(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:LONGEST_ADDRESS]
    if isinstance(parsed, IPv6Address):
        bits = 128 - IPV6_PREFIX
        return f"{IPv6Address(int(parsed) >> bits << bits)}/{IPV6_PREFIX}"
    return str(parsed)
