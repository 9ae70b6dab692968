"""Reading transcripts: in parts, and never half of one as if it were whole."""

import json

import pytest

from audio_text.domain.formats import TranscriptFormat, render, writer
from audio_text.domain.job import JobStatus
from audio_text.domain.transcript import Segment
from audio_text.errors import DatabaseUnavailableError, JobNotFoundError, TranscriptChangedError
from audio_text.ports import Claim
from audio_text.services.transcripts import SEGMENTS_AT_ONCE, TranscriptService
from factories import make_chunk, make_job, make_segment
from fakes.repository import FakeJobRepository


class CountingRepository(FakeJobRepository):
    """Remembers how many segments each read gave."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[int] = []

    async def segments(self, job_id: str, *, first: int = 0, limit: int | None = None) -> list[Segment]:
        found = await super().segments(job_id, first=first, limit=limit)
        self.reads.append(len(found))
        return found


async def with_segments(count: int) -> tuple[CountingRepository, str]:
    jobs = CountingRepository()
    job = make_job()
    await jobs.add(job)
    claimed = await jobs.claim(job.tier, owner="a worker", lease_seconds=60)
    assert claimed is not None
    await jobs.record(Claim(job.id, claimed.claims), make_chunk(*map(make_segment, range(count))))
    return jobs, job.id


async def test_a_long_transcript_is_read_a_part_at_a_time_and_only_when_it_is_asked_for() -> None:
    count = 2 * SEGMENTS_AT_ONCE + 1
    jobs, job_id = await with_segments(count)
    service = TranscriptService(jobs=jobs)

    parts = await service.written(await service.find(job_id), writer(TranscriptFormat.srt))
    assert jobs.reads == [SEGMENTS_AT_ONCE]
    text = "".join([part async for part in parts])

    assert jobs.reads == [SEGMENTS_AT_ONCE, SEGMENTS_AT_ONCE, 1]
    assert text == render(TranscriptFormat.srt, map(make_segment, range(count)))


async def test_segments_that_come_meanwhile_are_not_in_it() -> None:
    jobs, job_id = await with_segments(3)
    service = TranscriptService(jobs=jobs)
    stored = await service.find(job_id)
    await jobs.record(Claim(job_id, 1), make_chunk(*map(make_segment, range(3, 6))))

    parts = await service.written(stored, writer(TranscriptFormat.json))

    assert len(json.loads("".join([part async for part in parts]))["segments"]) == stored.last + 1 == 3


@pytest.mark.parametrize(("first", "last", "ids"), [(1, 2, [1, 2]), (2, 9, [2]), (3, None, []), (9, None, [])])
async def test_some_of_it_can_be_had(first: int, last: int | None, ids: list[int]) -> None:
    jobs, job_id = await with_segments(3)
    service = TranscriptService(jobs=jobs)

    parts = await service.written(await service.find(job_id), writer(TranscriptFormat.json), first=first, last=last)

    document = json.loads("".join([part async for part in parts]))
    assert [segment["id"] for segment in document["segments"]] == ids


async def test_a_transcript_that_is_deleted_while_it_is_read_does_not_end_as_if_it_were_whole() -> None:
    jobs, job_id = await with_segments(2 * SEGMENTS_AT_ONCE)
    service = TranscriptService(jobs=jobs)
    stored = await service.find(job_id)
    parts = await service.written(stored, writer(TranscriptFormat.text))
    await anext(parts)
    await jobs.delete(job_id)

    with pytest.raises(TranscriptChangedError):
        await anext(parts)
    with pytest.raises(TranscriptChangedError):
        await service.written(stored, writer(TranscriptFormat.text))


async def test_a_failure_is_known_before_anything_is_written() -> None:
    jobs, job_id = await with_segments(1)
    service = TranscriptService(jobs=jobs)
    stored = await service.find(job_id)
    jobs.is_down = True

    with pytest.raises(DatabaseUnavailableError):
        await service.written(stored, writer(TranscriptFormat.vtt))


async def test_only_a_completed_job_has_all_of_it() -> None:
    jobs, job_id = await with_segments(1)
    service = TranscriptService(jobs=jobs)
    for status in JobStatus:
        jobs.overwrite(job_id, status=status)
        assert (await service.find(job_id)).is_partial is (status is not JobStatus.completed)


async def test_an_unknown_job_has_no_transcript() -> None:
    with pytest.raises(JobNotFoundError):
        await TranscriptService(jobs=FakeJobRepository()).find("nobody")
