"""What a process says about the things it stands on."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from audio_text.errors import QueueUnavailableError
from audio_text.ports import Resources
from audio_text.services import dependencies as module
from audio_text.services.dependencies import Dependency, dependencies, watching
from factories import make_settings
from fakes.batches import FakeBatchRepository
from fakes.events import FakeEventServer, FakeEventStream
from fakes.queue import FakeJobQueue
from fakes.repository import FakeJobRepository
from fakes.store import FakeAudioStore


class Part:
    """Something that is there or not."""

    def __init__(self, *, is_there: bool) -> None:
        self.is_there = is_there
        self.looks = self.preparations = 0

    async def check(self) -> None:
        self.looks += 1
        if not self.is_there:
            raise QueueUnavailableError from ConnectionRefusedError(111, "refused")

    async def prepare(self) -> None:
        await self.check()
        self.preparations += 1

    async def looked_at(self, times: int = 1) -> None:
        wanted = self.looks + times
        async with asyncio.timeout(30):
            while self.looks < wanted:
                await asyncio.sleep(0)

    def as_dependency(self, *, prepare: bool = False) -> Dependency:
        return Dependency(
            name="queue",
            place="Redis at here:6379",
            advice="start it",
            check=self.check,
            prepare=self.prepare if prepare else None,
        )


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_SECONDS", "FIRST_PAUSE_SECONDS", "LONGEST_PAUSE_SECONDS"):
        monkeypatch.setattr(module, name, 0.001)


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


async def test_what_is_missing_is_named_with_its_place_its_reason_and_what_to_do(logs: list[Any]) -> None:
    part = Part(is_there=False)
    async with watching([part.as_dependency()]):
        await part.looked_at(2)
    [line] = logs
    assert (line["event"], line["log_level"], line["dependency"]) == ("dependency_missing", "warning", "queue")
    assert line["message"] == "Waiting for Redis at here:6379: start it."
    assert "refused" in line["reason"]


async def test_the_log_repeats_itself_but_now_and_then(logs: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    part = Part(is_there=False)
    async with watching([part.as_dependency()]):
        await part.looked_at(20)
        assert len(logs) == 1
        monkeypatch.setattr(module, "REPEAT_SECONDS", 0.0)
        await part.looked_at(3)
    assert 2 <= len(logs) <= 6
    assert {line["event"] for line in logs} == {"dependency_missing"}


async def test_what_came_back_is_told_and_what_was_always_there_is_not(logs: list[Any]) -> None:
    late, early = Part(is_there=False), Part(is_there=True)
    async with watching([late.as_dependency(), early.as_dependency()]):
        await asyncio.gather(late.looked_at(), early.looked_at())
        late.is_there = True
        await late.looked_at(2)
        late.is_there = False
        await late.looked_at(3)
        late.is_there = True
        await late.looked_at(2)
    assert [line["event"] for line in logs] == ["dependency_missing", "dependency_back"] * 2


async def test_what_went_away_is_prepared_again_when_it_comes_back(logs: list[Any]) -> None:
    part = Part(is_there=True)
    async with watching([part.as_dependency(prepare=True)]):
        await part.looked_at(3)
        assert part.preparations == 1
        part.is_there = False
        await part.looked_at(3)
        part.is_there = True
        await part.looked_at(2)
    assert part.preparations == 2
    assert [line["event"] for line in logs] == ["dependency_missing", "dependency_back"]


async def test_a_part_that_hangs_is_missing_too(logs: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHECK_SECONDS", 0.001)
    began = asyncio.Event()

    async def hang() -> None:
        if logs:
            began.set()
        await asyncio.Event().wait()

    async with watching([Dependency(name="store", place="a bucket", advice="start it", check=hang)]):
        async with asyncio.timeout(30):
            await began.wait()
    assert logs[0]["reason"] == "It does not answer."


@pytest.mark.parametrize(
    ("kind", "place", "advice"),
    [
        ("disk", "the folder /srv/audio", "AUDIO_TEXT_DISK_FOLDER"),
        ("s3", "http://gateway:7480", "AUDIO_TEXT_S3_ENDPOINT"),
    ],
)
async def test_every_dependency_says_where_it_is_expected_and_which_settings_say_so(
    kind: str, place: str, advice: str
) -> None:
    settings = make_settings(
        {"store.kind": kind, "disk.folder": "/srv/audio", "s3.endpoint": "http://gateway:7480", "redis.host": "r"}
    )
    resources = Resources(
        jobs=(jobs := FakeJobRepository()),
        batches=FakeBatchRepository(jobs),
        store=FakeAudioStore(),
        queue=FakeJobQueue(),
        events=FakeEventStream(FakeEventServer()),
    )
    named = {dependency.name: dependency for dependency in dependencies(resources, settings, prepare=True)}
    assert list(named) == ["database", "queue", "events", "store"]
    assert place in named["store"].place
    assert advice in named["store"].advice
    assert "AUDIO_TEXT_DATABASE_HOST" in named["database"].advice
    assert named["queue"].place == f"Redis at r:{settings.redis.port}, database {settings.redis.queue_db}"
    assert [name for name, dependency in named.items() if dependency.prepare] == ["store"]
