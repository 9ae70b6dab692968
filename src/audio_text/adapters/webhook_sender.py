"""Calls of webhooks by the Standard Webhooks convention, through its own library: id, timestamp, signature."""

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus

from standardwebhooks.webhooks import Webhook

from audio_text.domain.answers import retry_after_seconds
from audio_text.domain.delivery import Delivery
from audio_text.domain.webhooks import WebhookEndpoint, derived_secret
from audio_text.errors import (
    DeliveryFailedError,
    PrivateAddressError,
    RemoteAnswerError,
    RemoteUnavailableError,
    RemoteUrlError,
    WebhookNotFoundError,
    WebhooksDisabledError,
)
from audio_text.ports import RemoteHttp, RemoteLimits, WebhookRepository

MOST_ANSWER_BYTES = 4_096
"""Read and thrown away, so that a receiver sees its answer taken; nothing of it is kept or shown."""

PATIENCE = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""Answers whose Retry-After is followed."""


class WebhookSender:
    """The `Sender` of webhooks."""

    def __init__(
        self, webhooks: WebhookRepository, *, http: RemoteHttp, signing_key: str, timeout_seconds: float
    ) -> None:
        self._webhooks = webhooks
        self._http = http
        self._signing_key = signing_key
        self.seconds = timeout_seconds
        self._limits = RemoteLimits(seconds=timeout_seconds, max_bytes=MOST_ANSWER_BYTES)

    async def send(self, delivery: Delivery) -> int | None:
        """Return the status once the receiver has taken it: any of 2xx."""
        if delivery.endpoint_id is None:
            raise WebhookNotFoundError
        endpoint = await self._webhooks.get(delivery.endpoint_id)
        headers = {"content-type": "application/json"} | self._signed(endpoint, delivery)
        body = delivery.payload.encode()
        try:
            answer = await self._http.post(endpoint.url, headers=headers, body=body, limits=self._limits)
        except (RemoteUrlError, PrivateAddressError, RemoteAnswerError, RemoteUnavailableError) as error:
            # Also what only the receiver's operator can mend: it is mended by then, or the endpoint is paused.
            raise DeliveryFailedError(error.detail) from error
        if HTTPStatus(200) <= answer.status < HTTPStatus(300):
            return answer.status
        raise _refusal(answer.status, answer.headers)

    def _signed(self, endpoint: WebhookEndpoint, delivery: Delivery) -> dict[str, str]:
        if not self._signing_key:
            raise WebhooksDisabledError
        now = datetime.now(UTC)
        versions = [endpoint.secret_version]
        if endpoint.overlap_until is not None and now < endpoint.overlap_until:
            versions.append(endpoint.secret_version - 1)
        secrets = (derived_secret(self._signing_key, endpoint.id, version) for version in versions)
        return {
            "webhook-id": delivery.event_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(
                Webhook(secret).sign(delivery.event_id, now, delivery.payload) for secret in secrets
            ),
        }


def _refusal(status: int, headers: Mapping[str, str]) -> DeliveryFailedError:
    error = DeliveryFailedError(f"The receiver answered {status}.", status_code=status)
    error.is_gone = error.is_final = status == HTTPStatus.GONE
    error.retry_after_seconds = retry_after_seconds(headers) if status in PATIENCE else None
    return error
