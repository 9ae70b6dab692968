"""One service, and how often it is asked: what fails and may be repeated is asked again, a few times, ever later."""

import random
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from http import HTTPStatus
from typing import cast
from urllib.parse import urlencode

import httpx
import msgspec

from audio_text.client.refusals import refusal
from audio_text.client.transport import Socket, Transport
from audio_text.domain.answers import retry_after_seconds
from audio_text.errors import ServerUnreachableError

FIRST_DELAY_SECONDS = 0.25
LONGEST_DELAY_SECONDS = 8.0

LONGEST_WAIT_SECONDS = 60.0
"""A service that wants to be left alone for longer is not waited for: its answer is told at once."""

PASSING = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
"""Answers that another try may change."""

Content = bytes | Iterable[bytes] | None
Query = Mapping[str, object]


class Session:
    """Sends requests, with the caller's headers to the service itself and to nobody else."""

    def __init__(
        self, base_url: str, transport: Transport, *, headers: Mapping[str, str], max_retries: int, max_reconnects: int
    ) -> None:
        self._base_url = base_url
        self._headers = dict(headers)
        self._max_retries = max_retries
        self.max_reconnects = max_reconnects
        self.transport = transport

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
        may_repeat: bool = True,
    ) -> httpx.Response:
        """Ask the service and give its answer. Raises ServerUnreachableError, or the error that it answered."""
        own = self._headers | {"Content-Type": "application/json"} | dict(headers or {})
        content = None if body is None else msgspec.json.encode(body)
        url = f"{self._base_url}{path}{_written(query)}"
        return await self.send(method, url, headers=own, content=lambda: content, may_repeat=may_repeat)

    async def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        content: Callable[[], Content],
        may_repeat: bool = True,
    ) -> httpx.Response:
        """Send to any address; `content` gives the body anew for each try."""
        failures = 0
        while True:
            failures += 1
            is_last = not may_repeat or failures > self._max_retries
            wait_seconds = delay_seconds(failures)
            try:
                response = await self.transport.request(method, url, headers=headers, content=content())
            except ServerUnreachableError:
                if is_last:
                    raise
            else:
                if response.is_success:
                    return response
                wait_seconds = max(wait_seconds, retry_after_seconds(response.headers) or 0.0)
                if is_last or response.status_code not in PASSING or wait_seconds > LONGEST_WAIT_SECONDS:
                    raise refusal(response.status_code, response.content, response.headers)
            await self.transport.sleep(wait_seconds)

    def connect(self, path: str, *, query: Query | None = None) -> AbstractAsyncContextManager[Socket]:
        """Open a live connection, once."""
        url = f"ws{self._base_url.removeprefix('http')}{path}{_written(query)}"
        return self.transport.connect(url, headers=self._headers)


def delay_seconds(failures: int) -> float:
    """Say how long to wait after so many failures in a row: twice as long each time, and half of it by chance."""
    longest = min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2 ** min(failures - 1, 10))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 -- so that clients do not come back together: no secret


def _written(query: Query | None) -> str:
    """Spell a query: what is None is left out, times are ISO 8601, pairs are `key=value`, several values repeat."""
    chosen = {name: _spelled(value) for name, value in (query or {}).items() if value is not None}
    return f"?{urlencode(chosen, doseq=True)}" if chosen else ""


def _spelled(value: object) -> object:
    match value:
        case datetime():
            return value.isoformat()
        case Mapping():
            pairs = cast("Mapping[str, str]", value)
            return [f"{key}={text}" for key, text in pairs.items()]
        case _:
            return value
