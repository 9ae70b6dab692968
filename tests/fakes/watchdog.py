"""A watchdog that ends nothing and remembers what it was told."""

from audio_text.ports import Claim


class FakeWatchdog:
    """`watched` holds the seconds of every claim that was not dismissed, the newest word last."""

    def __init__(self) -> None:
        self.watched: dict[Claim, list[float]] = {}
        self.dismissed: dict[Claim, list[float]] = {}
        self.is_retired = False

    def watch(self, claim: Claim, *, seconds: float) -> None:
        self.watched.setdefault(claim, []).append(seconds)

    def dismiss(self, claim: Claim) -> None:
        self.dismissed[claim] = self.watched.pop(claim, [])

    def retire(self) -> None:
        self.is_retired = True
