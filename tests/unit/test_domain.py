"""What jobs, options, retries and transcripts promise, whatever is around them."""

from itertools import product

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_text.domain.events import JobUpdate, Published
from audio_text.domain.job import LEGAL_TRANSITIONS, Completed, JobStatus
from audio_text.domain.options import Task, TranscriptionOptions, VadOptions
from audio_text.domain.speakers import plain_text
from audio_text.domain.tiers import RetryPolicy
from audio_text.domain.transcript import Segment, Word
from factories import make_chunk, make_job, make_segment, make_settings

FINAL = {JobStatus.completed, JobStatus.failed, JobStatus.cancelled}


def test_a_job_is_over_when_it_is_completed_failed_or_cancelled() -> None:
    assert {status for status in JobStatus if status.is_terminal} == FINAL


def test_nothing_follows_an_end_and_only_workers_complete() -> None:
    assert set(LEGAL_TRANSITIONS) == set(JobStatus)
    legal = {(old, new) for old, news in LEGAL_TRANSITIONS.items() for new in news}
    assert not {(old, new) for old, new in product(FINAL, JobStatus) if (old, new) in legal}
    assert {old for old, new in legal if new is JobStatus.completed} == {JobStatus.processing}
    assert {old for old, new in legal if new is JobStatus.pending} == {JobStatus.processing}
    assert all((status, JobStatus.cancelled) in legal for status in set(JobStatus) - FINAL)
    assert not any(old is new for old, new in legal)


def test_every_status_can_be_reached_from_pending() -> None:
    reached = {JobStatus.pending}
    for _ in JobStatus:
        reached |= {new for old in reached for new in LEGAL_TRANSITIONS[old]}
    assert reached == set(JobStatus)


def test_a_job_cannot_be_changed_in_place() -> None:
    job = make_job()
    with pytest.raises(AttributeError):
        job.status = JobStatus.completed  # type: ignore[misc]


def completed(duration: float) -> Completed:
    return Completed(
        result_text="",
        duration=duration,
        duration_after_vad=duration,
        processing_time_seconds=3.0,
        language=None,
        language_probability=None,
    )


def test_the_real_time_factor_is_processing_per_second_of_audio() -> None:
    assert completed(12.0).real_time_factor == 0.25


def test_an_empty_recording_has_no_real_time_factor() -> None:
    assert completed(0.0).real_time_factor is None


policies = st.builds(
    RetryPolicy,
    retries=st.integers(0, 100),
    first_delay_seconds=st.floats(0, 1e6),
    step_seconds=st.floats(0, 1e6),
    max_delay_seconds=st.floats(0, 1e6),
)


@given(policies)
def test_a_policy_retries_as_often_as_it_says_and_then_no_more(policy: RetryPolicy) -> None:
    delays = [policy.delay_seconds(attempt, chance=0.0) for attempt in range(1, policy.retries + 3)]
    assert sum(delay is not None for delay in delays) == policy.retries
    assert delays[policy.retries :] == [None, None]


@given(policies)
def test_delays_never_shrink_and_never_exceed_their_limit(policy: RetryPolicy) -> None:
    delays = [policy.delay_seconds(attempt, chance=0.0) or 0.0 for attempt in range(1, policy.retries + 1)]
    assert delays == sorted(delays)
    assert all(0 <= delay <= policy.max_delay_seconds for delay in delays)


@given(policies, st.integers(1, 100), st.floats(0, 1))
def test_chance_takes_up_to_half_of_a_delay_away(policy: RetryPolicy, attempt: int, chance: float) -> None:
    longest = policy.delay_seconds(attempt, chance=0.0)
    delay = policy.delay_seconds(attempt, chance=chance)
    if longest is None:
        assert delay is None
    else:
        assert delay is not None
        assert longest / 2 <= delay <= longest


@pytest.mark.parametrize(
    ("tier", "delays"),
    [
        ("audio_large", [0, 120, None]),
        ("audio_small", [0, 60, 120, None]),
        ("audio_medium", [0, 60, 120, None]),
        ("audio_processing", [0, 60, 120, None]),
    ],
)
def test_the_default_policies_retry_at_once_first_and_then_later(tier: str, delays: list[float | None]) -> None:
    retry = make_settings().tiers[tier].retry
    assert [retry.delay_seconds(attempt, chance=0.0) for attempt in range(1, len(delays) + 1)] == delays


def test_options_without_a_word_are_faster_whispers_own() -> None:
    options = TranscriptionOptions()
    assert options == msgspec.json.decode(b"{}", type=TranscriptionOptions)
    assert options.temperature == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert options.task is Task.transcribe
    assert options.language is None
    assert options == make_settings().options


def test_options_come_back_from_storage_as_they_went_in() -> None:
    options = TranscriptionOptions(
        language="de",
        task=Task.translate,
        temperature=(0.5,),
        hotwords="Litestar",
        vad=VadOptions(threshold=0.3),
        clip_start_seconds=1.5,
        clip_end_seconds=9.0,
    )
    assert msgspec.json.decode(msgspec.json.encode(options), type=TranscriptionOptions) == options


@pytest.mark.parametrize(
    "absurd",
    [
        {"beam_size": 0},
        {"beam_size": 21},
        {"beam_size": 5.5},
        {"temperature": []},
        {"temperature": [0.0] * 11},
        {"temperature": [1.5]},
        {"temperature": 0.5},
        {"language": "English"},
        {"language": ""},
        {"task": "summarise"},
        {"initial_prompt": "x" * 4_001},
        {"hotwords": 7},
        {"word_timestamps": "yes"},
        {"vad": {"threshold": 0}},
        {"vad": {"threshold": 1}},
        {"vad": {"speed": 1}},
        {"clip_start_seconds": -1},
        {"clip_end_seconds": 0},
        {"beam_sizes": 5},
    ],
    ids=str,
)
def test_absurd_options_are_refused(absurd: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(absurd, TranscriptionOptions)


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_progress_is_percent_of_audio_and_stays_between_0_and_100(position: float, duration: float) -> None:
    assert 0.0 <= make_chunk(position=position, duration=duration).progress <= 100.0


@pytest.mark.parametrize(
    ("position", "duration", "progress"),
    [(0.0, 10.0, 0.0), (1.0, 3.0, 33.3), (10.0, 10.0, 100.0), (11.0, 10.0, 100.0), (0.0, 0.0, 0.0)],
)
def test_progress_has_one_decimal(position: float, duration: float, progress: float) -> None:
    assert make_chunk(position=position, duration=duration).progress == progress


def test_the_text_of_segments_is_joined_as_whisper_wrote_it() -> None:
    segments = [make_segment(0, text=" Hello,"), make_segment(1, text=" world."), make_segment(2, text="")]
    assert plain_text(segments) == "Hello, world."
    assert plain_text(()) == ""


words = st.builds(Word, start=st.floats(0, 1e5), end=st.floats(0, 1e5), word=st.text(), probability=st.floats(0, 1))
segments = st.builds(
    make_segment, st.integers(0, 10_000), text=st.text(), words=st.none() | st.lists(words, max_size=3).map(tuple)
)


@given(st.lists(segments, max_size=3), st.sampled_from(JobStatus), st.floats(0, 100))
def test_an_event_survives_its_way_through_redis(found: list[Segment], status: JobStatus, progress: float) -> None:
    update = JobUpdate(job_id="j", status=status, progress=progress, segments=tuple(found))
    event = Published(event_id="1-0", update=update)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=Published) == event
    assert msgspec.json.decode(msgspec.json.encode(event), type=Published) == event
