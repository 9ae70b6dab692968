"""What opens one live connection, instead of a key."""

from typing import Protocol

from audio_text.domain.access import Caller


class Tickets(Protocol):
    """Tickets that were issued and not yet redeemed, over all API processes, by digest.

    Raises TicketsUnavailableError within 2 seconds.
    """

    async def keep(self, digest: str, caller: Caller, *, seconds: float) -> None:
        """Remember whose ticket it is, for so long."""
        ...

    async def take(self, digest: str) -> Caller | None:
        """Whose ticket it is: whoever asks first is told, and nobody after that."""
        ...
