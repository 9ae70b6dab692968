"""Counting requests: by whom, what happens when nobody can count, and what the log says then."""

import pytest
from structlog.testing import capture_logs

from audio_text.domain.access import ANYBODY, Caller, KeyLimits
from audio_text.domain.usage import Allowance
from audio_text.errors import LimitsUnavailableError, RateLimitedError
from audio_text.services import limiting
from audio_text.services.limiting import LimitingService
from audio_text.settings import LimitSettings
from factories import make_settings
from fakes.limiter import FakeRateLimiter


def limits(**changes: object) -> LimitSettings:
    given = {"requests_per_minute": 2, "requests_per_hour": 9} | changes
    return make_settings({f"limits.{name}": value for name, value in given.items()}).limits


def key(name: str = "k", **given: int) -> Caller:
    return Caller(owner="o", key_id=name, limits=KeyLimits(**given))


async def accepted(service: LimitingService, caller: Caller, address: str, count: int = 4) -> int:
    hits = [await service.count(caller, address=address) for _ in range(count)]
    return sum(hit is None or hit.is_within for hit in hits)


async def test_a_key_is_counted_wherever_it_is_used_and_everybody_else_by_address() -> None:
    service = LimitingService(FakeRateLimiter(), settings=limits())
    assert await accepted(service, key(), "192.0.2.1") + await accepted(service, key(), "192.0.2.2") == 2
    assert await accepted(service, key("other"), "192.0.2.1") == 2
    assert await accepted(service, ANYBODY, "192.0.2.1") == 2
    assert await accepted(service, ANYBODY, "192.0.2.2") == 2


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("a" * 65, "a" * 66, True),
        ("", "192.0.2.1", False),
    ],
)
async def test_who_has_a_whole_network_of_addresses_is_counted_once(one: str, other: str, *, is_same: bool) -> None:
    service = LimitingService(FakeRateLimiter(), settings=limits())
    assert await accepted(service, ANYBODY, one) == 2
    assert await accepted(service, ANYBODY, other) == (0 if is_same else 2)


@pytest.mark.parametrize(
    ("of_key", "requests_per_minute"),
    [(KeyLimits(), 2), (KeyLimits(requests_per_minute=3), 3), (KeyLimits(requests_per_minute=0), None)],
)
def test_what_a_key_says_of_itself_counts_first(of_key: KeyLimits, requests_per_minute: int | None) -> None:
    service = LimitingService(FakeRateLimiter(), settings=limits())
    allowance = service.allowance(Caller(key_id="k", limits=of_key))
    assert allowance == Allowance(requests_per_minute=requests_per_minute, requests_per_hour=9)


async def test_without_a_limit_nobody_is_asked() -> None:
    limiter = FakeRateLimiter()
    service = LimitingService(limiter, settings=limits(requests_per_minute=0, requests_per_hour=0))
    assert await accepted(service, ANYBODY, "192.0.2.1") == 4
    assert await service.windows(ANYBODY, address="192.0.2.1") == ()
    assert limiter.asked == 0


async def test_refused_keys_are_counted_by_network_and_apart_from_requests() -> None:
    service = LimitingService(FakeRateLimiter(), settings=limits(refused_per_minute=2))
    for _ in range(2):
        await service.require_trusted("2001:db8::1")
        await service.count_refused("2001:db8::2")
    with pytest.raises(RateLimitedError) as refusal:
        await service.require_trusted("2001:db8::3")
    assert 0 < (refusal.value.retry_after_seconds or 0) <= 60
    await service.require_trusted("192.0.2.1")
    assert await accepted(service, ANYBODY, "2001:db8::1") == 2


@pytest.mark.parametrize("fail_open", [True, False])
async def test_while_refused_keys_cannot_be_counted_others_pass_or_not_as_the_settings_say(*, fail_open: bool) -> None:
    limiter = FakeRateLimiter()
    limiter.is_down = True
    service = LimitingService(limiter, settings=limits(refused_per_minute=2, fail_open=fail_open))
    for _ in range(3):
        await service.count_refused("192.0.2.1")
    if fail_open:
        await service.require_trusted("192.0.2.1")
    else:
        with pytest.raises(LimitsUnavailableError):
            await service.require_trusted("192.0.2.1")
    assert limiter.asked == 1


async def test_while_nobody_can_count_requests_pass_or_not_as_the_settings_say() -> None:
    for fail_open in (True, False):
        limiter = FakeRateLimiter()
        limiter.is_down = True
        service = LimitingService(limiter, settings=limits(fail_open=fail_open))
        with capture_logs() as logs:
            for _ in range(5):
                if fail_open:
                    assert await service.count(ANYBODY, address="a") is None
                else:
                    with pytest.raises(LimitsUnavailableError):
                        await service.count(ANYBODY, address="a")
        assert await service.windows(ANYBODY, address="a") is None
        assert limiter.asked == 1, "an outage must not make every request wait"
        assert [(line["event"], line["fail_open"]) for line in logs] == [("limits_do_not_work", fail_open)]


async def test_an_outage_is_told_once_and_its_end_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiting, "PAUSE_SECONDS", 0.0)
    limiter = FakeRateLimiter()
    service = LimitingService(limiter, settings=limits())
    with capture_logs() as logs:
        for limiter.is_down in (True, True, False, False, True):
            await service.count(ANYBODY, address="a")
    events = ["limits_do_not_work", "limits_work_again", "limits_do_not_work"]
    assert [line["event"] for line in logs] == events
