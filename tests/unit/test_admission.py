"""Letting jobs in: while a tier has room, and a key has not used what it may."""

import asyncio

import pytest
from structlog.testing import capture_logs

from audio_text.domain.access import ANYBODY, Caller, KeyLimits
from audio_text.domain.idempotency import IdempotencyKey
from audio_text.domain.job import Job
from audio_text.domain.usage import SECONDS_PER_DAY, Usage
from audio_text.errors import AudioQuotaError, ConcurrentJobsError, DatabaseUnavailableError, TierFullError
from audio_text.services import admission
from audio_text.services.admission import AdmissionService
from factories import make_job, make_settings
from fakes.repository import FakeJobRepository

TIER = "audio_small"


def service(jobs: FakeJobRepository, **settings: object) -> AdmissionService:
    return AdmissionService(jobs, settings=make_settings({k.replace("__", "."): v for k, v in settings.items()}))


async def accepted(admit: AdmissionService, count: int) -> int:
    accepted = 0
    for _ in range(count):
        try:
            await admit.add(make_job(tier=TIER), caller=ANYBODY)
        except TierFullError:
            continue
        accepted += 1
    return accepted


async def test_a_tier_takes_as_many_jobs_as_may_wait_and_another_does_not_mind() -> None:
    jobs = FakeJobRepository()
    admit = service(jobs, tiers__audio_small__max_pending_jobs=3)
    with capture_logs() as logs:
        assert await accepted(admit, 9) == 3
    await admit.check_room("audio_large")
    assert [line["event"] for line in logs] == []


async def test_what_is_refused_or_was_stored_before_takes_no_place() -> None:
    admit = service(FakeJobRepository(), tiers__audio_small__max_pending_jobs=2)
    for _ in range(5):
        await admit.check_room(TIER)
        with pytest.raises(AudioQuotaError):
            await admit.add(job(2.0), caller=key(audio_seconds_per_day=1))
    once = IdempotencyKey(text="k", fingerprint="f", seconds=60)
    assert [await admit.add(make_job(), caller=ANYBODY, key=once) for _ in range(5)] == [True, *[False] * 4]
    assert await accepted(admit, 5) == 1


async def test_jobs_that_are_stored_at_the_same_moment_fit_as_well() -> None:
    admit = service(FakeJobRepository(), tiers__audio_small__max_pending_jobs=3)
    assert sum(await asyncio.gather(*(accepted(admit, 1) for _ in range(9)))) == 3


async def test_there_is_room_again_when_a_worker_took_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "LOOK_SECONDS", 0.0)
    jobs = FakeJobRepository()
    admit = service(jobs, tiers__audio_small__max_pending_jobs=3)
    assert await accepted(admit, 5) == 3
    await jobs.claim(TIER, owner="w", lease_seconds=60)
    assert await accepted(admit, 5) == 1


async def test_who_is_refused_is_told_when_some_of_those_ahead_will_have_begun(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "LOOK_SECONDS", 0.0)
    jobs = FakeJobRepository()
    admit = service(jobs, tiers__audio_small__max_pending_jobs=1)
    await jobs.add(make_job(duration=100.0))
    with pytest.raises(TierFullError) as unknown:
        await admit.check_room(TIER)
    assert unknown.value.retry_after_seconds == admission.UNKNOWN_SECONDS
    await jobs.add(make_job(duration=100.0))
    done = await jobs.claim(TIER, owner="w", lease_seconds=60)
    assert done is not None
    jobs.overwrite(done.id, status="completed", processing_time_seconds=50.0, lease_expires_at=None, lease_owner=None)
    await jobs.add(make_job(duration=100.0))
    await jobs.claim(TIER, owner="w", lease_seconds=60)
    with capture_logs() as logs, pytest.raises(TierFullError) as known:
        await admit.check_room(TIER)
    assert known.value.retry_after_seconds == pytest.approx(100.0, rel=0.1)
    assert [(line["event"], line["tier"]) for line in logs] == [("tier_full", TIER)]


async def test_without_a_bound_the_table_is_not_asked() -> None:
    jobs = FakeJobRepository()
    jobs.is_down = True
    await service(jobs, tiers__audio_small__max_pending_jobs=0).check_room(TIER)
    with pytest.raises(DatabaseUnavailableError):
        await service(jobs, tiers__audio_small__max_pending_jobs=1).check_room(TIER)


def key(**limits: int) -> Caller:
    return Caller(owner="o", key_id="k", limits=KeyLimits(**limits))


def job(duration: float | None = None) -> Job:
    return make_job(owner="o", key_id="k", duration=duration)


async def test_a_key_with_too_many_jobs_is_told_how_many_it_may_have() -> None:
    admit = service(FakeJobRepository(), limits__concurrent_jobs=1)
    assert await admit.add(job(), caller=key())
    with pytest.raises(ConcurrentJobsError, match="may have 1 jobs") as refusal:
        await admit.add(job(), caller=key())
    assert refusal.value.retry_after_seconds == admission.JOBS_SECONDS
    assert await admit.add(job(), caller=key(concurrent_jobs=2))
    assert await admit.add(job(), caller=key(concurrent_jobs=0)), "no bound"


async def test_a_key_without_seconds_left_is_asked_back_after_midnight_unless_that_does_not_help() -> None:
    admit = service(FakeJobRepository(), limits__audio_seconds_per_day=100)
    assert await admit.add(job(90.0), caller=key())
    with pytest.raises(AudioQuotaError, match="100 seconds") as short:
        await admit.add(job(20.0), caller=key())
    assert 0 < (short.value.retry_after_seconds or 0) <= SECONDS_PER_DAY
    with pytest.raises(AudioQuotaError) as long:
        await admit.add(job(101.0), caller=key())
    assert long.value.retry_after_seconds is None


async def test_recordings_of_unknown_length_reserve_what_the_settings_say() -> None:
    jobs = FakeJobRepository()
    admit = service(jobs, limits__audio_seconds_per_day=100, limits__unknown_audio_seconds=40)
    for _ in range(2):
        assert await admit.add(job(), caller=key())
    assert await jobs.usage("k") == Usage(concurrent_jobs=2, audio_seconds_today=80.0, reserved_seconds=80.0)


async def test_a_key_whose_seconds_are_only_reserved_is_asked_back_soon_unless_that_does_not_help() -> None:
    admit = service(FakeJobRepository(), limits__audio_seconds_per_day=100, limits__unknown_audio_seconds=40)
    assert await admit.add(job(30.0), caller=key())
    assert await admit.add(job(), caller=key())
    with pytest.raises(AudioQuotaError, match="40 of them are reserved") as soon:
        await admit.add(job(), caller=key())
    assert soon.value.retry_after_seconds == admission.JOBS_SECONDS
    with pytest.raises(AudioQuotaError) as tomorrow:
        await admit.add(job(75.0), caller=key())
    assert tomorrow.value.retry_after_seconds not in {None, admission.JOBS_SECONDS}


async def test_callers_without_a_key_have_no_quota() -> None:
    admit = service(FakeJobRepository(), limits__concurrent_jobs=1, limits__audio_seconds_per_day=1)
    for _ in range(3):
        assert await admit.add(make_job(duration=60.0), caller=Caller(sees_all=True))
