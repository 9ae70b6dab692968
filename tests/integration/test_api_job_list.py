"""The list of jobs over HTTP: filters, order, and pages that can be followed to their end."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from audio_text.domain.job import JobStatus
from audio_text.settings import Settings
from factories import make_job
from services.api import Api, in_one_task, running

PATH = "/api/v1/job/read"
START = datetime(2026, 1, 1, tzinfo=UTC)
COUNT = 24


@pytest.fixture(scope="module")
async def shared_api(shared_api_settings: Settings) -> AsyncIterator[Api]:
    async with in_one_task(running(shared_api_settings)) as api:
        for number in range(COUNT):
            is_completed = number % 3 == 0
            job = make_job(
                id=f"job-{number:02}",
                creation_date=START + timedelta(hours=number),
                status=JobStatus.completed
                if is_completed
                else JobStatus.failed
                if number % 3 == 1
                else JobStatus.pending,
                finished_at=START + timedelta(days=30 - number) if number % 3 < 2 else None,
                duration=float(number * 7 % COUNT),
                whisper_model="base" if number % 2 else "large-v3",
                language="en" if is_completed else None,
                metadata={"half": str(number // 12), "even": str(number % 2)},
                result_text=f"Number {number} says good morning, Zürich." if is_completed else None,
            )
            await api.services.resources.jobs.add(job)
        yield api


async def _numbers(api: Api, **query: Any) -> list[int]:
    answer = await api.client.get(PATH, params=query)
    assert answer.status_code == 200, answer.text
    return [int(job["id"].removeprefix("job-")) for job in answer.json()]


async def _pages(api: Api, **query: Any) -> list[list[int]]:
    """Follow the links to the end."""
    pages: list[list[int]] = []
    answer = await api.client.get(PATH, params=query)
    while True:
        assert answer.status_code == 200, answer.text
        pages.append([int(job["id"].removeprefix("job-")) for job in answer.json()])
        if "next" not in answer.links:
            return pages
        answer = await api.client.get(answer.links["next"]["url"])


async def test_without_a_word_all_jobs_come_newest_first(shared_api: Api) -> None:
    assert await _numbers(shared_api) == list(range(COUNT))[::-1]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"status": "failed"}, [n for n in range(COUNT) if n % 3 == 1]),
        ({"status": ["failed", "pending"]}, [n for n in range(COUNT) if n % 3]),
        ({"status": "cancelled"}, []),
        ({"model": "base"}, [n for n in range(COUNT) if n % 2]),
        ({"model": ["base", "large-v3"]}, list(range(COUNT))),
        ({"model": "nothing"}, []),
        ({"language": "en"}, [n for n in range(COUNT) if n % 3 == 0]),
        ({"created_after": "2026-01-01T20:00:00Z"}, [20, 21, 22, 23]),
        ({"created_before": "2026-01-01T02:00:00+00:00"}, [0, 1]),
        ({"created_after": "2026-01-01T12:00:00+02:00", "created_before": "2026-01-01T12:00:00Z"}, [10, 11]),
        ({"metadata": "half=1"}, list(range(12, COUNT))),
        ({"metadata": ["half=1", "even=0"]}, list(range(12, COUNT, 2))),
        ({"metadata": "half="}, []),
        ({"q": "zürich"}, [n for n in range(COUNT) if n % 3 == 0]),
        ({"q": '"good morning" 3 or 6'}, [3, 6]),
        ({"q": "morning -3", "model": "base"}, [9, 15, 21]),
    ],
)
async def test_filters_let_through_what_they_say_page_by_page(
    shared_api: Api, query: dict[str, Any], expected: list[int]
) -> None:
    assert sorted(await _numbers(shared_api, **query)) == expected
    pages = await _pages(shared_api, **query, limit=3)
    assert [len(page) for page in pages[:-1]] == [3] * (len(pages) - 1)
    assert [number for page in pages for number in page] == expected[::-1]
    assert [n for page in await _pages(shared_api, **query, limit=3, order="asc") for n in page] == expected


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("sort", ["creation_date", "finished_at", "duration"])
async def test_any_order_can_be_followed_to_its_end(shared_api: Api, sort: str, order: str) -> None:
    pages = await _pages(shared_api, sort=sort, order=order, limit=5)
    assert [len(page) for page in pages] == [5, 5, 5, 5, 4]
    keys = {
        "creation_date": lambda n: (n, n),
        "finished_at": lambda n: (30 - n if n % 3 < 2 else 99, n),
        "duration": lambda n: (n * 7 % COUNT, n),
    }
    assert [n for page in pages for n in page] == sorted(range(COUNT), key=keys[sort], reverse=order == "desc")


async def test_a_cursor_belongs_to_its_filters_and_its_order(shared_api: Api) -> None:
    first = await shared_api.client.get(PATH, params={"limit": 3, "status": "failed"})
    cursor = httpx.URL(first.links["next"]["url"]).params["cursor"]
    fine = await shared_api.client.get(PATH, params={"limit": 2, "status": "failed", "cursor": cursor})
    assert fine.status_code == 200
    for other in ({}, {"status": "pending"}, {"status": "failed", "sort": "duration"}, {"status": "failed", "q": "x"}):
        refused = await shared_api.client.get(PATH, params={**other, "cursor": cursor})
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
        assert "other filters or another order" in refused.json()["detail"]


@pytest.mark.parametrize("cursor", ["x", "äöü", "WyI", "e30", "W10", "WyJhIiwxLCJiIl0", "bnVsbA", "A" * 1_000])
async def test_a_cursor_that_is_none_is_refused(shared_api: Api, cursor: str) -> None:
    for sort in ("creation_date", "duration"):
        refused = await shared_api.client.get(PATH, params={"cursor": cursor, "sort": sort})
        assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
        assert "cursor" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"status": "lost"}, "status"),
        ({"sort": "update"}, "sort"),
        ({"order": "up"}, "order"),
        ({"created_after": "yesterday"}, "created_after"),
        ({"created_after": "2026-01-01T00:00:00"}, "created_after"),
        ({"created_before": "0001-01-01T00:00:00+14:00"}, "created_before"),
        ({"created_before": "9999-12-31T23:59:59-14:00"}, "created_before"),
        ({"metadata": "half"}, "metadata"),
        ({"metadata": "=1"}, "metadata"),
        ({"q": ""}, "q"),
        ({"q": "x" * 501}, "q"),
        ({"model": ["x"] * 21}, "model"),
        ({"limit": 0}, "limit"),
    ],
)
async def test_a_query_that_cannot_be_meant_is_refused_by_its_name(
    shared_api: Api, query: dict[str, Any], field: str
) -> None:
    refused = await shared_api.client.get(PATH, params=query)
    assert refused.status_code == 400
    assert field in refused.json()["detail"]


@pytest.mark.parametrize(
    "words",
    [
        "'",
        '"',
        "&|!():*<->",
        "\\",
        "%00",
        "\x00",
        "a" * 500,
        "or or",
        "-",
        "{}",
        "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
    ],
)
async def test_anything_may_be_searched_for(shared_api: Api, words: str) -> None:
    assert (await shared_api.client.get(PATH, params={"q": words})).status_code == 200


async def test_many_lists_at_once_are_each_their_own(shared_api: Api) -> None:
    answers = await asyncio.gather(*(_numbers(shared_api, metadata=f"half={number % 2}") for number in range(10)))
    assert [len(answer) for answer in answers] == [12] * 10
