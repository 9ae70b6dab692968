"""Where somebody wants to be told."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import UNSET, UnsetType

from audio_text.domain.owners import Whose
from audio_text.domain.webhooks import WebhookEndpoint


class WebhookRepository(Protocol):
    """The table of endpoints. Every method may raise DatabaseUnavailableError; `owner` is whose it is."""

    async def add(self, endpoint: WebhookEndpoint, *, limit: int) -> bool:
        """Store a new one; False, and nothing stored, when its owner has `limit` already."""
        ...

    async def get(self, endpoint_id: str) -> WebhookEndpoint:
        """Read one. Raises WebhookNotFoundError."""
        ...

    async def find(self, *, owner: Whose) -> list[WebhookEndpoint]:
        """All that are whose is asked for, the oldest first."""
        ...

    async def change(
        self,
        endpoint_id: str,
        *,
        url: str | None = None,
        events: Sequence[str] | None = None,
        description: str | UnsetType | None = UNSET,
    ) -> WebhookEndpoint:
        """Change what is given. Raises WebhookNotFoundError."""
        ...

    async def rotate(self, endpoint_id: str, *, overlap_seconds: float) -> WebhookEndpoint:
        """Begin the next secret; the one before signs, too, for so long. Raises WebhookNotFoundError."""
        ...

    async def enable(self, endpoint_id: str) -> WebhookEndpoint:
        """Call it again: no failures any more, and what waits is due now. Raises WebhookNotFoundError."""
        ...

    async def delete(self, endpoint_id: str) -> None:
        """Remove it with its deliveries. Raises WebhookNotFoundError."""
        ...
