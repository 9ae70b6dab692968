"""The last resort against a job that does not end."""

from typing import Protocol

from audio_text.ports.claims import Claim


class Watchdog(Protocol):
    """Ends this process where a job or the engine cannot be ended in any other way. Whoever runs it starts another."""

    def watch(self, claim: Claim, *, seconds: float) -> None:
        """End the process, and the job with time_limit_exceeded, unless it is dismissed within `seconds` from now.

        Asked again, the newest word counts.
        """
        ...

    def dismiss(self, claim: Claim) -> None:
        """The job has ended in another way; not an error when it is not watched."""
        ...

    def retire(self) -> None:
        """Let the process end in good order, handing its other jobs back: its engine is of no use any more."""
        ...
