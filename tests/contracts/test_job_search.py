"""Lists of jobs: in PostgreSQL, and in the fake that stands in for it elsewhere."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from audio_text.domain.job import Job, JobStatus
from audio_text.domain.listing import JobQuery, JobSort
from audio_text.ports import JobRepository
from factories import make_job
from fakes.repository import FakeJobRepository
from services.repositories import OnFake, OnPostgres

START = datetime(2026, 1, 1, tzinfo=UTC)
SPEECHES = {
    "a": "Good morning, everyone. The budget is fine.",
    "b": "GOOD evening. Fine words about the weather",
    "c": "Le temps est beau à Zürich.",
    "d": None,
}
WANTED: dict[str, JobQuery] = {
    "owner": JobQuery(owner="ann"),
    "nobody": JobQuery(owner=None),
    "batch": JobQuery(batch_id="batch 1", owner="ann"),
    "statuses": JobQuery(statuses=(JobStatus.failed, JobStatus.pending)),
    "models": JobQuery(models=("base", "none")),
    "languages": JobQuery(languages=("en", "de")),
    "metadata": JobQuery(metadata={"parity": "0", "third": "1"}),
    "times": JobQuery(created_after=START + timedelta(seconds=2), created_before=START + timedelta(seconds=5)),
    "all": JobQuery(
        statuses=(JobStatus.completed,),
        models=("base",),
        languages=("fr",),
        metadata={"parity": "0"},
        created_after=START,
        created_before=START + timedelta(days=1),
        words="fine",
    ),
}


def _job(number: int) -> Job:
    is_over = number % 2 == 0
    status = list(JobStatus)[number % 5]
    return make_job(
        id=f"job {number:02}",
        creation_date=START + timedelta(seconds=number // 3),  # several at the same moment
        status=status,
        finished_at=START + timedelta(hours=number // 4) if is_over else None,
        duration=float(number % 6) if number % 4 else None,
        whisper_model=["base", "demo"][number % 2],
        language=[None, "en", "fr", "de"][number % 4],
        owner=[None, "ann", "bob"][number % 3],
        batch_id=f"batch {number % 2}" if number % 4 else None,
        metadata={"parity": str(number % 2), "third": str(number % 3)} if number > 1 else {},
        result_text=SPEECHES["a"] if status is JobStatus.completed else None,
    )


class JobSearchContract:
    @pytest.mark.parametrize("is_ascending", [False, True], ids=["descending", "ascending"])
    @pytest.mark.parametrize("sort", JobSort)
    async def test_pages_have_no_gap_and_no_repeat_in_any_order(
        self, jobs: JobRepository, sort: JobSort, *, is_ascending: bool
    ) -> None:
        all_jobs = [_job(number) for number in range(25)]
        for job in all_jobs:
            await jobs.add(job)
        last: dict[JobSort, Any] = {JobSort.finished_at: datetime.max.replace(tzinfo=UTC), JobSort.duration: -1.0}
        expected = sorted(
            all_jobs, key=lambda job: (getattr(job, sort) or last.get(sort), job.id), reverse=not is_ascending
        )
        if sort is JobSort.duration:  # nothing is shorter than what is not known
            expected = sorted(
                all_jobs,
                key=lambda job: (-1.0 if job.duration is None else job.duration, job.id),
                reverse=not is_ascending,
            )
        query = JobQuery(sort=sort, is_ascending=is_ascending)
        found: list[Job] = []
        after = query
        while page := await jobs.find(after, limit=7):
            found += page
            after = replace(query, after=query.place_of(page[-1]))
        assert [job.id for job in found] == [job.id for job in expected]

    async def test_jobs_that_come_meanwhile_do_not_shift_a_page(self, jobs: JobRepository) -> None:
        old = [make_job(creation_date=START + timedelta(seconds=number)) for number in range(4)]
        for job in old:
            await jobs.add(job)
        page = await jobs.find(JobQuery(), limit=2)
        await jobs.add(make_job())
        rest = await jobs.find(JobQuery(after=JobQuery().place_of(page[-1])), limit=9)
        assert [job.id for job in [*page, *rest]] == [job.id for job in old[::-1]]

    @pytest.mark.parametrize("query", WANTED.values(), ids=WANTED)
    async def test_a_filter_lets_through_what_it_says_on_every_page(self, jobs: JobRepository, query: JobQuery) -> None:
        fake = FakeJobRepository()
        for job in map(_job, range(40)):
            await jobs.add(job)
            await fake.add(job)
        found = await jobs.find(query, limit=99)
        assert 0 < len(found) < 40
        assert found == await fake.find(query, limit=99)
        for sort in JobSort:
            ordered = replace(query, sort=sort)
            [first, *_] = whole = await jobs.find(ordered, limit=99)
            assert {job.id for job in whole} == {job.id for job in found}
            after = replace(ordered, after=ordered.place_of(first))
            assert await jobs.find(after, limit=99) == whole[1:]

    @pytest.mark.parametrize(
        ("words", "found"),
        [
            ("good", "ab"),
            ("GOOD fine", "ab"),
            ("budget", "a"),
            ("good budget", "a"),
            ('"good morning"', "a"),
            ('"morning good"', ""),
            ("budget or weather", "ab"),
            ("fine -weather", "a"),
            ("zürich", "c"),
            ("à", "c"),
            ("go", ""),
            ("nothing", ""),
            ("...", ""),
            ("'); --", ""),
            ("\0", ""),
        ],
    )
    async def test_words_are_found_in_transcripts(self, jobs: JobRepository, words: str, found: str) -> None:
        for number, (name, text) in enumerate(SPEECHES.items()):
            status = JobStatus.completed if text else JobStatus.failed
            await jobs.add(
                make_job(id=name, status=status, result_text=text, creation_date=START - timedelta(days=number))
            )
        assert [job.id for job in await jobs.find(JobQuery(words=words), limit=9)] == list(found)

    async def test_metadata_is_compared_whole(self, jobs: JobRepository) -> None:
        await jobs.add(make_job(id="a", metadata={"k": "v", "l": ""}))
        for metadata in ({"k": "V"}, {"K": "v"}, {"k": ""}, {"k": "v", "l": "x"}, {"": ""}):
            assert await jobs.find(JobQuery(metadata=metadata), limit=9) == []
        for metadata in ({"k": "v"}, {"l": ""}, {"k": "v", "l": ""}):
            assert len(await jobs.find(JobQuery(metadata=metadata), limit=9)) == 1


class TestFakeJobSearch(OnFake, JobSearchContract):
    pass


class TestPiccoloJobSearch(OnPostgres, JobSearchContract):
    async def test_a_transcript_of_more_different_words_than_an_index_holds_does_not_fail_its_job(
        self, jobs: JobRepository
    ) -> None:
        text = " ".join(f"w{number:x}" for number in range(200_000))
        await jobs.add(make_job(id="long", status=JobStatus.completed, result_text=text))
        assert [job.id for job in await jobs.find(JobQuery(words="w0 w5"), limit=9)] == ["long"]
