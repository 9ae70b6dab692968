"""What is handed to somebody outside, tried until it arrives."""

from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

import msgspec

from audio_text.domain.delivery import Delivery, DeliveryAttempt, DeliveryKind, DeliveryStatus


class PauseRule(msgspec.Struct, frozen=True, kw_only=True):
    """When an endpoint is called no more: so many tries in a row failed, over so long a time."""

    failures: int
    seconds: float


class DeliveryResult(msgspec.Struct, frozen=True, kw_only=True):
    """How a try ended, and what becomes of the delivery: when pending, it is due again after the delay.

    `is_gone`: the receiver wants no more, and its endpoint is paused at once. `is_ours`: it was this service that
    failed, and its endpoint is not blamed.
    """

    status: DeliveryStatus
    attempt: DeliveryAttempt
    delay_seconds: float = 0.0
    is_gone: bool = False
    is_ours: bool = False


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """What a recorded try did to its endpoint: with `paused_reason`, it paused it."""

    paused_reason: str | None = None


class DeliveryRepository(Protocol):
    """The table of deliveries. Every method may raise DatabaseUnavailableError.

    Whatever ends a job stores what its owner's endpoints asked to be told, in the same transaction and once.
    """

    async def add(self, delivery: Delivery) -> None:
        """Store a new one, pending; safe to repeat."""
        ...

    async def enqueue_event(
        self, *, owner: str | None, event_type: str, event_id: str, subject: str | None, data: Mapping[str, object]
    ) -> None:
        """Store a delivery for each endpoint of the owner that asked for this type; once per endpoint and `event_id`.

        SQL has the same as the function `enqueue_event`, for statements that change something in the same transaction.
        """
        ...

    async def claim(
        self, *, limit: int, per_lane: int, per_owner: int, under_way: Mapping[str, int], lease_seconds: float
    ) -> list[Delivery]:
        """Take deliveries that are due, so many of a lane at once and no paused endpoint's.

        Owners take turns, whoever has the fewest under way first; of an owner, the longest due. `under_way` is what the
        caller has on its way already, by owner (nobody in particular is ""): with it, no more than `per_owner`.

        Of those about the same subject in a lane, only the oldest that is pending. attempts + 1, claims + 1; where an
        earlier claim's lease ran out, the log says that its end is unknown. Claims at the same time never get the same
        delivery, and may take a few more than `per_lane` between them.
        """
        ...

    async def record(self, delivery: Delivery, result: DeliveryResult, *, rule: PauseRule) -> Recorded | None:
        """Write how a try ended: on the delivery, and on its endpoint. None when somebody else has claimed it since."""
        ...

    async def get(self, delivery_id: str) -> Delivery:
        """Read one. Raises DeliveryNotFoundError."""
        ...

    async def find(self, endpoint_id: str, *, limit: int, before: tuple[datetime, str] | None = None) -> list[Delivery]:
        """An endpoint's deliveries, newest first, created before a (time, id)."""
        ...

    async def replay(self, delivery_id: str) -> Delivery:
        """Make one that is over pending again, due now, its attempts counted anew; a pending one is due now.

        Raises DeliveryNotFoundError.
        """
        ...

    async def purge(self, *, seconds: float, limit: int) -> int:
        """Remove deliveries that were stored so long ago, pending ones too, at most `limit`; how many there were."""
        ...


class Sender(Protocol):
    """Hands deliveries of one kind to whoever they are for."""

    @property
    def seconds(self) -> float:
        """How long all of a try may take; what has not arrived by then is tried again."""
        ...

    async def send(self, delivery: Delivery) -> int | None:
        """Return once the receiver has it: HTTP's status, if there is one.

        Raises DeliveryFailedError, TransientError and DisabledError where another try may work, here or in another
        process, AudioTextError where none will.
        """
        ...


Senders = Mapping[DeliveryKind, Sender]
