"""Rates of requests in memory, held to the same contract as those in Redis."""

import time
from collections.abc import Sequence

from audio_text.domain.usage import Hit, Rate, Window
from audio_text.errors import LimitsUnavailableError


class FakeRateLimiter:
    """While `is_down`, it cannot count; `asked` is how often it was asked to."""

    def __init__(self) -> None:
        self.is_down = False
        self.asked = 0
        self._times: dict[tuple[str, Rate], list[float]] = {}

    async def hit(self, who: str, rates: Sequence[Rate]) -> Hit:
        self.asked += 1
        is_within = True
        for rate in rates:
            is_within = is_within and len(self._counted(who, rate)) < rate.limit
            if is_within:
                self._times[who, rate].append(time.monotonic())
        return Hit(is_within, await self.look(who, rates))

    async def look(self, who: str, rates: Sequence[Rate]) -> tuple[Window, ...]:
        windows = [(rate, self._counted(who, rate)) for rate in rates]
        now = time.monotonic()
        return tuple(
            Window(rate, rate.limit - len(times), times[0] + rate.seconds - now if times else 0.0)
            for rate, times in windows
        )

    def _counted(self, who: str, rate: Rate) -> list[float]:
        if self.is_down:
            raise LimitsUnavailableError
        oldest = time.monotonic() - rate.seconds
        kept = [moment for moment in self._times.get((who, rate), []) if moment >= oldest]
        self._times[who, rate] = kept
        return kept
