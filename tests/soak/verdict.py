"""What is left when all is quiet again, held against what was promised."""

import asyncio
import statistics
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from audio_text.adapters.event_log import START, EventId, RedisEventLog
from audio_text.adapters.redis_client import open_client
from audio_text.domain.job import AttemptEnd, AttemptRecord, Job, JobStatus
from audio_text.domain.listing import JobQuery
from audio_text.domain.transcript import Segment
from audio_text.services.storage import StorageService
from soak.chaos import Injected
from soak.clients import Story
from soak.system import System

QUIET_SECONDS = 90.0
"""How long what is pending or unannounced when the last client has gone may take."""


class Twin(msgspec.Struct, frozen=True):
    """The same recording, transcribed while nothing happened."""

    filename: str
    text: str
    segments: list[Segment]


class Ending(msgspec.Struct, frozen=True):
    """A job as it stands, and everything that it has."""

    job: Job
    attempts: list[AttemptRecord]
    segments: list[Segment]
    ends_told: int

    @property
    def cuts(self) -> list[float]:
        """Where an attempt went on in the middle of the recording, in seconds."""
        return [attempt.position for attempt in self.attempts if attempt.position > 0]

    @property
    def lost(self) -> int:
        """How many workers died, or went silent, over it."""
        return sum(attempt.end is AttemptEnd.lost for attempt in self.attempts)


class Verdict(msgspec.Struct):
    """The table, and every promise that was broken."""

    accepted: int
    endings: list[Ending]
    broken: list[str]
    swept: int
    slowest_accept_seconds: float = 0.0
    takeovers: list[float] = []

    def of(self, status: JobStatus) -> list[Job]:
        return [ending.job for ending in self.endings if ending.job.status is status]

    @property
    def recomputed(self) -> list[float]:
        """Seconds of audio per lost worker, of jobs that lost any; those that lost several tell their mean."""
        return [ending.job.recomputed_seconds / ending.lost for ending in self.endings if ending.lost]


async def settle(system: System) -> None:
    """Wait until no job is under way and every end was told. Raises TimeoutError."""
    jobs = system.resources.jobs
    async with asyncio.timeout(QUIET_SECONDS):
        while await jobs.find(JobQuery(statuses=(JobStatus.pending, JobStatus.processing)), limit=1):
            await asyncio.sleep(0.5)
        while await jobs.unannounced(seconds=-60, limit=1):
            await asyncio.sleep(0.5)


async def judge(
    system: System, stories: Sequence[Story], injected: Sequence[Injected], twins: dict[str, Twin], *, before: set[str]
) -> Verdict:
    """Look at everything. `before` are jobs that are none of the stories'."""
    broken: list[str] = [f"{story.job_id}: {complaint}" for story in stories for complaint in story.complaints]
    try:
        await settle(system)
    except TimeoutError:
        broken.append(f"something was still under way after {QUIET_SECONDS:.0f} s")
    endings = await _endings(system, before)
    known = {ending.job.id: ending for ending in endings}
    accepted = [story for story in stories if story.job_id]
    broken += [f"{story.job_id}: lost" for story in accepted if story.job_id not in known]
    verdict = Verdict(len(accepted), endings, broken, await _tidy(system, endings, broken))
    last_flush = max((fault.ended for fault in injected if fault.kind == "Redis flushed"), default=0.0)
    for ending in endings:
        broken += [f"{ending.job.id}: {wrong}" for wrong in _wrong(ending, last_flush)]
        if _is_completed(ending):
            broken += [f"{ending.job.id}: {wrong}" for wrong in differences(ending, twins[ending.job.filename])]
    for story in stories:
        if story.job_id in known:
            broken += [f"{story.job_id}: {wrong}" for wrong in _misled(story, known[story.job_id])]
    verdict.slowest_accept_seconds = max(story.accepted_after_seconds for story in stories)
    verdict.takeovers = _takeovers(endings, injected)
    return verdict


def differences(ending: Ending, twin: Twin) -> list[str]:
    """What a completed job says that its twin does not: text, and of each segment its times, text and tokens."""
    theirs = [*map(_said, twin.segments)]
    ours = [*map(_said, ending.segments)]
    if ending.job.result_text == twin.text and ours == theirs:
        return []
    place = next((place for place, (one, other) in enumerate(zip(ours, theirs, strict=False)) if one != other), -1)
    first = f"first {ours[place]}, not {theirs[place]}" if place >= 0 else f"{len(ours)} segments, not {len(theirs)}"
    return [f"differs from its twin {twin.filename}, interrupted at {ending.cuts}: {first}"]


async def _endings(system: System, before: set[str]) -> list[Ending]:
    jobs, settings = system.resources.jobs, system.settings
    found: list[Job] = []
    query = JobQuery()
    while page := await jobs.find(query, limit=500):
        found += page
        query = JobQuery(after=query.place_of(page[-1]))
    async with open_client(
        settings.redis,
        system.settings.secrets.redis_password,
        db=settings.redis.events_db,
        client_name="soak",
        connections=1,
    ) as client:
        log = RedisEventLog(client, settings.events)
        return [
            Ending(job, await jobs.attempts(job.id), await jobs.segments(job.id), await _ends_told(log, job.id))
            for job in found
            if job.id not in before
        ]


async def _ends_told(log: RedisEventLog, job_id: str) -> int:
    place, told = START, 0
    while page := await log.read(job_id, place):
        told += sum(published.update.status.is_terminal for _, published in page)
        place = EventId(*page[-1][0])
    return told


def _wrong(ending: Ending, last_flush: float) -> list[str]:
    job = ending.job
    wrong = []
    if not job.status.is_terminal:
        wrong.append(f"is {job.status.value}")
    if job.lease_owner or job.lease_expires_at or any(attempt.end is None for attempt in ending.attempts):
        wrong.append("has a lease or an attempt that never ended")
    if ending.ends_told > 1:
        wrong.append(f"was told to have ended {ending.ends_told} times")
    if ending.ends_told < 1 and job.finished_at and job.finished_at.timestamp() > last_flush:
        wrong.append("was never told to have ended")
    if job.status is JobStatus.failed and not (job.error_code and job.error_message):
        wrong.append("failed without a reason")
    return wrong


def _misled(story: Story, ending: Ending) -> list[str]:
    job = ending.job
    if story.told != job.status.value:
        return [f"is {job.status.value}, and its client was told {story.told}"]
    if story.told == "completed" and story.result != job.result_text:
        return ["its client was told another text"]
    if story.behaviour == "follow" and story.told == "completed":
        stored = {segment.id: segment.text for segment in ending.segments}
        if missing := sorted(set(stored) - set(story.segments)):
            return [
                f"its follower was never sent segments {missing} of {len(stored)}, in {story.connections} connections"
            ]
        if story.segments != stored:
            return ["its follower was sent other segments than are stored"]
    return []


async def _tidy(system: System, endings: Sequence[Ending], broken: list[str]) -> int:
    """Sweep as if the time for it had come; how many recordings were left for that."""
    now = msgspec.structs.replace(system.settings.store, orphan_days=0)
    keys = await asyncio.to_thread(system.object_keys)
    await StorageService(system.resources, settings=msgspec.structs.replace(system.settings, store=now)).sweep()
    left = await asyncio.to_thread(system.object_keys)
    retryable = {e.job.object_key for e in endings if e.job.status in {JobStatus.failed, JobStatus.cancelled}}
    if orphans := left - retryable:
        broken.append(f"{len(orphans)} recordings are stored that no job needs")
    if gone := retryable - left:
        broken.append(f"{len(gone)} recordings of jobs that can be retried are gone")
    await system.resources.store.remove_abandoned()
    if files := [path.name for path in system.temp_folder.iterdir()]:
        broken.append(f"temporary files are left: {files}")
    return len(keys - left)


def _takeovers(endings: Sequence[Ending], injected: Sequence[Injected]) -> list[float]:
    """Seconds from the fault that cost a job its worker to the next claim of the job."""
    found = []
    for ending in endings:
        for attempt, following in pairwise(ending.attempts):
            if attempt.end is not AttemptEnd.lost:
                continue
            window = attempt.started_at.timestamp(), following.started_at.timestamp()
            hits = [
                fault.began
                for fault in injected
                if fault.victim == attempt.owner and window[0] <= fault.began <= window[1]
            ]
            if hits:
                found.append(window[1] - min(hits))
    return found


def _said(segment: Segment) -> tuple[float, float, str, tuple[int, ...]]:
    return segment.start, segment.end, segment.text, segment.tokens


def table(verdict: Verdict, injected: Sequence[Injected], *, seed: int, seconds: float) -> str:
    """Give the figures as lines for the screen."""
    kinds = Counter(fault.kind for fault in injected)
    failed = Counter(job.error_code for job in verdict.of(JobStatus.failed))
    lost = sum(": lost" in line for line in verdict.broken)
    twice = sum(ending.ends_told > 1 for ending in verdict.endings)
    reasons = f" ({', '.join(f'{code}: {count}' for code, count in failed.items())})" if failed else ""
    lines = [
        f"seed {seed}: {len(injected)} faults in {seconds:.0f} s",
        *(f"  {count:4}  {kind}" for kind, count in sorted(kinds.items())),
        f"jobs accepted                      {verdict.accepted}",
        f"     carried out, unanswered       {len(verdict.endings) - verdict.accepted}",
        f"     completed                     {len(verdict.of(JobStatus.completed))}",
        f"     cancelled                     {len(verdict.of(JobStatus.cancelled))}",
        f"     failed                        {len(verdict.of(JobStatus.failed))}{reasons}",
        f"     lost                          {lost}",
        f"     ended twice                   {twice}",
        f"workers lost under a job           {sum(ending.lost for ending in verdict.endings)}",
        f"completed after a resume           {sum(bool(e.cuts) for e in verdict.endings if _is_completed(e))}",
        f"audio decoded again per lost worker {_spread(verdict.recomputed)}",
        f"lost worker to next claim          {_spread(verdict.takeovers)}",
        f"longest wait for an accepted submit {verdict.slowest_accept_seconds:.1f} s",
        f"recordings left to the sweep       {verdict.swept}",
        f"promises broken                    {len(verdict.broken)}",
        *(f"  {line}" for line in verdict.broken),
    ]
    return "\n".join(lines)


def _is_completed(ending: Ending) -> bool:
    return ending.job.status is JobStatus.completed


def _spread(seconds: Sequence[float]) -> str:
    return f"median {statistics.median(seconds):.1f} s, most {max(seconds):.1f} s" if seconds else "none"
