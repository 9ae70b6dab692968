"""Use case: hand stored deliveries to whoever they are for, until each was taken or is given up.

It runs in the event loop of every worker process, and never on a thread that transcribes.
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import structlog
from msgspec.structs import replace

from audio_text.domain.delivery import Delivery, DeliveryAttempt, DeliveryStatus, retry_delay
from audio_text.domain.usage import SECONDS_PER_DAY
from audio_text.errors import AudioTextError, DeliveryFailedError, DisabledError, TransientError
from audio_text.ports import DeliveryRepository, DeliveryResult, PauseRule, Recorded, Senders
from audio_text.settings import WebhookSettings

log = structlog.get_logger(__name__)

LOOK_SECONDS = 2.0
"""How often each worker process looks for what others have stored and for what is due again: one indexed query."""

TIDY_SECONDS = 600.0
"""How often it removes deliveries that are too old."""

MOST_PURGED = 1_000
"""Deliveries removed per statement."""

STOP_SECONDS = 3.0
"""How long what is on its way may take when the process ends: less than it is given for that."""

RECORD_SECONDS = 30.0
"""How long a lease outlives its try: while the database is away, what happened can be written so long."""

RECORD_AGAIN_SECONDS = 0.5
"""How often that is tried."""

OWNERS_SHARE = 0.5
"""Of what a process sends at once, one owner has no more: receivers that hang may all be one owner's, and whoever comes
then must find room. Endpoints are bounded for themselves, but an owner has several."""

WAIT_FOR_SETTINGS = 2
"""Which wait of the schedule (5 minutes) is the longest where this process lacks a setting, which another may have."""

LONGEST_ERROR = 300
"""Characters of a sentence in the log of a delivery."""


class Deliverer:
    """Sends what is due. `wake` makes it look at once."""

    def __init__(self, deliveries: DeliveryRepository, *, senders: Senders, settings: WebhookSettings) -> None:
        self._deliveries = deliveries
        self._senders = senders
        self._settings = settings
        self._rule = PauseRule(failures=settings.pause_after_failures, seconds=settings.pause_after_seconds)
        self._woken = asyncio.Event()
        self._lease_seconds = max(sender.seconds for sender in senders.values()) + RECORD_SECONDS
        self._sending: dict[asyncio.Task[None], str] = {}  # by whose they are
        self._is_stopping = False

    def wake(self) -> None:
        """Look at once: something was stored by this process. On the event loop's thread."""
        self._woken.set()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Deliver until the context ends; what is on its way then has a few seconds to arrive, or is sent again."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._look_forever(group)), group.create_task(self._tidy_forever())]
            try:
                yield
            finally:
                self._is_stopping = True
                for task in tasks:
                    task.cancel()
                if self._sending:
                    _, late = await asyncio.wait(self._sending, timeout=STOP_SECONDS)
                    for task in late:
                        task.cancel()

    async def deliver_due(self) -> int:
        """Send what is due and wait for the answers; how many there were. Raises DatabaseUnavailableError."""
        taken = await self._claim()
        async with asyncio.TaskGroup() as group:
            self._send_in(group, taken)
        return len(taken)

    def _send_in(self, group: asyncio.TaskGroup, taken: Sequence[Delivery]) -> None:
        for delivery in taken:
            task = group.create_task(self._deliver(delivery))
            self._sending[task] = delivery.owner or ""
            task.add_done_callback(self._make_room)

    def _make_room(self, task: asyncio.Task[None]) -> None:
        self._sending.pop(task, None)
        self._woken.set()  # for the next of its lane

    async def _look_forever(self, group: asyncio.TaskGroup) -> None:
        is_postponed = False
        while True:
            self._woken.clear()
            try:
                self._send_in(group, await self._claim())
            except TransientError as error:
                if not is_postponed:
                    log.warning("deliveries_postponed", code=error.code, error=error.detail)
                is_postponed = True
                await asyncio.sleep(LOOK_SECONDS)
            else:
                if is_postponed:
                    log.info("deliveries_resumed")
                is_postponed = False
                await self._wait()

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(LOOK_SECONDS):
                await self._woken.wait()
        except TimeoutError:
            return

    async def _tidy_forever(self) -> None:
        while True:
            try:
                count = await self._deliveries.purge(
                    seconds=self._settings.keep_days * SECONDS_PER_DAY, limit=MOST_PURGED
                )
            except TransientError as error:
                log.warning("old_deliveries_kept", code=error.code, error=error.detail)
                count = 0
            if count:
                log.info("old_deliveries_removed", count=count)
            await asyncio.sleep(0 if count == MOST_PURGED else TIDY_SECONDS)

    async def _claim(self) -> list[Delivery]:
        free = self._settings.concurrency - len(self._sending)
        if free <= 0:
            return []
        return await self._deliveries.claim(
            limit=free,
            per_lane=self._settings.concurrency_per_endpoint,
            per_owner=max(1, int(self._settings.concurrency * OWNERS_SHARE)),
            under_way=Counter(self._sending.values()),
            lease_seconds=self._lease_seconds,
        )

    async def _deliver(self, delivery: Delivery) -> None:
        result = await self._try(delivery)
        recorded = await self._record(delivery, result)
        if recorded is not None:
            self._tell(delivery, result, recorded)

    async def _try(self, delivery: Delivery) -> DeliveryResult:
        at, begun = datetime.now(UTC), time.monotonic()
        status_code: int | None = None
        error: AudioTextError | None = None
        try:
            sender = self._senders[delivery.kind]
            async with asyncio.timeout(sender.seconds):
                status_code = await sender.send(delivery)
        except TimeoutError:
            error = DeliveryFailedError(f"No answer within {self._senders[delivery.kind].seconds:g} seconds.")
        except AudioTextError as refusal:
            error = refusal
        except Exception as defect:  # one delivery that trips over a defect must not end this process's jobs
            log.exception("delivery_broke", delivery_id=delivery.id, kind=delivery.kind.value)
            error = DeliveryFailedError(f"The service itself failed: {type(defect).__name__}.")
        attempt = DeliveryAttempt(at=at, status_code=status_code, seconds=round(time.monotonic() - begun, 3))
        return self._failure(delivery, attempt, error) if error else _success(attempt)

    def _failure(self, delivery: Delivery, attempt: DeliveryAttempt, error: AudioTextError) -> DeliveryResult:
        is_disabled = isinstance(error, DisabledError)
        is_ours = is_disabled or isinstance(error, TransientError)
        is_final, is_gone = not is_ours, False
        if isinstance(error, DeliveryFailedError):
            is_final, is_gone = error.is_final, error.is_gone
            attempt = replace(attempt, status_code=error.status_code)
        asked, schedule = error.retry_after_seconds, self._settings.retry_seconds
        # What another process has set up, or this one will have, is waited for as long as deliveries are kept.
        attempts = min(delivery.attempts, len(schedule), WAIT_FOR_SETTINGS) if is_disabled else delivery.attempts
        delay = None if is_final else retry_delay(attempts, schedule, asked_seconds=asked)
        return DeliveryResult(
            status=DeliveryStatus.failed if delay is None else DeliveryStatus.pending,
            attempt=replace(attempt, error=error.detail[:LONGEST_ERROR]),
            delay_seconds=delay or 0.0,
            is_gone=is_gone,
            is_ours=is_ours,
        )

    async def _record(self, delivery: Delivery, result: DeliveryResult) -> Recorded | None:
        """Write it, for as long as the lease holds: what is not written is sent again, to a receiver that has it."""
        deadline = time.monotonic() + RECORD_SECONDS
        while True:
            try:
                return await self._deliveries.record(delivery, result, rule=self._rule)
            except TransientError as error:
                if self._is_stopping or time.monotonic() > deadline:
                    log.warning("delivery_not_recorded", delivery_id=delivery.id, error=error.detail)
                    return None
                await asyncio.sleep(RECORD_AGAIN_SECONDS)

    def _tell(self, delivery: Delivery, result: DeliveryResult, recorded: Recorded) -> None:
        # Neither where to nor what: addresses may hold secrets, and payloads are other people's.
        facts = {
            "delivery_id": delivery.id,
            "endpoint_id": delivery.endpoint_id,
            "event_type": delivery.event_type,
            "event_id": delivery.event_id,
            "attempt": delivery.attempts,
            "status_code": result.attempt.status_code,
            "seconds": result.attempt.seconds,
        }
        if result.attempt.error is None:
            log.info("delivered", kind=delivery.kind.value, **facts)
        elif result.status is DeliveryStatus.failed:
            log.warning("delivery_given_up", kind=delivery.kind.value, error=result.attempt.error, **facts)
        else:
            again = round(result.delay_seconds)
            log.info("delivery_postponed", kind=delivery.kind.value, error=result.attempt.error, again=again, **facts)
        if recorded.paused_reason is not None:
            log.warning("webhook_paused", endpoint_id=delivery.endpoint_id, reason=recorded.paused_reason)


def _success(attempt: DeliveryAttempt) -> DeliveryResult:
    return DeliveryResult(status=DeliveryStatus.delivered, attempt=attempt)
