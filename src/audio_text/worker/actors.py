"""The actors: doorways from the queue into the use cases. Bodies stay short; safe to run twice."""

from collections.abc import Callable

import dramatiq


def declare_actors(
    broker: dramatiq.Broker, *, actor_name: str, queue_name: str, run_next: Callable[[str], None]
) -> None:
    """Register the actors on this broker. A function, since a decorator would bind a global broker at import."""

    def transcribe(tier: str) -> None:
        """A wake-up: some job of this tier waits. Which one is decided by the claim."""
        run_next(tier)

    dramatiq.actor(actor_name=actor_name, broker=broker, queue_name=queue_name)(transcribe)
