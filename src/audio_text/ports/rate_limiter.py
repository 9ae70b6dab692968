"""How often who may ask."""

from collections.abc import Sequence
from typing import Protocol

from audio_text.domain.usage import Hit, Rate, Window


class RateLimiter(Protocol):
    """Counts requests by who sends them, over all API processes. Raises LimitsUnavailableError within half a second.

    `rates` are distinct, the shortest window first.
    """

    async def hit(self, who: str, rates: Sequence[Rate]) -> Hit:
        """Count a request if it is within every rate; one that is not may be counted in shorter windows.

        Of many at once, in any number of processes, exactly as many are within a rate as it says.
        """
        ...

    async def look(self, who: str, rates: Sequence[Rate]) -> tuple[Window, ...]:
        """How each rate stands, in their order. Nothing is counted."""
        ...
