"""Use case: count the requests of each caller, and refuse those that are too many."""

import time
from ipaddress import IPv6Address, ip_address

import structlog

from audio_text.domain.access import Caller
from audio_text.domain.usage import Allowance, Hit, Window
from audio_text.errors import LimitsUnavailableError
from audio_text.ports import RateLimiter
from audio_text.settings import LimitSettings

PAUSE_SECONDS = 1.0
"""How long nobody is counted after a count failed: an outage must not make every request wait for it."""

IPV6_PREFIX = 64
"""Bits of an IPv6 address that say who somebody is; of the rest, every household has as many as it likes."""

LONGEST_ADDRESS = 64
"""Characters of what is no address of a network: a test's name, or a socket's path."""

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
        if not rates:
            return None
        if time.monotonic() < self._away_until:
            return self._uncounted(None)
        try:
            hit = await self._limiter.hit(who(caller, address), rates)
        except LimitsUnavailableError as error:
            return self._uncounted(error)
        if self._is_away:
            self._is_away = False
            log.info("limits_work_again")
        return hit

    async def windows(self, caller: Caller, *, address: str) -> tuple[Window, ...] | None:
        """Tell how the caller's rates stand; None: nobody can tell just now."""
        rates = self.allowance(caller).rates
        try:
            return await self._limiter.look(who(caller, address), rates) if rates else ()
        except LimitsUnavailableError:
            return None

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


def _household(address: str) -> str:
    try:
        parsed = ip_address(address)
    except ValueError:
        return address[:LONGEST_ADDRESS]
    if isinstance(parsed, IPv6Address):
        bits = 128 - IPV6_PREFIX
        return f"{IPv6Address(int(parsed) >> bits << bits)}/{IPV6_PREFIX}"
    return str(parsed)
