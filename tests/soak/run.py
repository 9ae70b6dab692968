"""The soak: many clients, much chaos, and then the verdict."""

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import httpx

from recordings import DATA, MEMO, conversation, path_of, samples_of, write
from soak.chaos import Chaos, Injected
from soak.clients import ANSWER_SECONDS, Client, Story, UnexpectedAnswerError
from soak.system import System
from soak.verdict import Twin, Verdict, judge

CROWD = 24
"""Clients at a time."""

LONG_SHARE = 0.2

BEHAVIOURS = ["follow"] * 5 + ["poll"] * 4 + ["cancel"]


class Recordings(NamedTuple):
    """What is uploaded: mostly something short."""

    short: list[Path]
    long: list[Path]

    def any(self, chance: random.Random) -> Path:
        return chance.choice(self.long if chance.random() < LONG_SHARE else self.short)


SHIPPED = Recordings([DATA / "one_a.flac", DATA / "one_b.flac", DATA / "two.flac", MEMO], [path_of("memo_100s")])


def many_kinds(folder: Path, *, seed: int) -> Recordings:
    """The shipped ones also in other containers, and conversations of up to six minutes."""
    folder.mkdir()
    short, long = list(SHIPPED.short), list(SHIPPED.long)
    for name, extension in (("one_a", "mp3"), ("two", "webm"), ("one_b", "m4a"), ("memo_35s", "opus")):
        short.append(write(folder / f"{name}.{extension}", samples_of(name)))
    for seconds, extension in ((200.0, "mp3"), (360.0, "ogg")):
        talk = conversation(seconds, pauses=(0.3, 1.5), seed=seed)
        long.append(write(folder / f"talk_{seconds:.0f}s.{extension}", talk.samples))
    return Recordings(short, long)


async def soak(
    system: System,
    recordings: Recordings,
    *,
    jobs: int,
    seed: int,
    pause: tuple[float, float],
    most_faults: int | None = None,
) -> tuple[Verdict, list[Injected], float]:
    """Run it; what came of it, the faults, and the seconds it took. `pause`: least and most seconds between faults."""
    chance = random.Random(seed)
    chosen = [recordings.any(chance) for _ in range(jobs)]
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=0)
    async with httpx.AsyncClient(timeout=ANSWER_SECONDS, trust_env=False, limits=limits) as http:
        twins = await _twins(system, http, sorted(set(chosen)))
        before = set(twins)
        began = time.monotonic()
        chaos = Chaos(system, seed=seed, pause=pause, most=most_faults)
        async with asyncio.TaskGroup() as group:
            group.create_task(chaos.run())
            try:
                stories = await _clients(system, http, chosen, seed)
            finally:
                chaos.stop()
        verdict = await judge(
            system, stories, chaos.injected, {twin.filename: twin for twin in twins.values()}, before=before
        )
    return verdict, chaos.injected, time.monotonic() - began


async def _twins(system: System, http: httpx.AsyncClient, paths: Sequence[Path]) -> dict[str, Twin]:
    async def one(path: Path) -> tuple[str, Twin]:
        story = await Client(http, system.api_urls, behaviour="poll", chance=random.Random(0)).run(path)
        job = await system.resources.jobs.get(story.job_id)
        assert job.status.value == "completed", job
        segments = await system.resources.jobs.segments(job.id)
        assert not any(segment.temperature for segment in segments), f"{path.name}: sampled, so it has no twin"
        return job.id, Twin(path.name, job.result_text or "", segments)

    return dict(await asyncio.gather(*map(one, paths)))


async def _clients(system: System, http: httpx.AsyncClient, chosen: Sequence[Path], seed: int) -> list[Story]:
    room = asyncio.Semaphore(CROWD)

    async def one(number: int, path: Path) -> Story:
        chance = random.Random(seed * 1_000_003 + number)
        async with room:
            client = Client(http, system.api_urls, behaviour=chance.choice(BEHAVIOURS), chance=chance)
            try:
                return await client.run(path)
            except TimeoutError:
                client.story.complaints.append("its client waited in vain")
            except UnexpectedAnswerError as error:
                client.story.complaints.append(str(error))
            return client.story

    return await asyncio.gather(*(one(number, path) for number, path in enumerate(chosen)))
