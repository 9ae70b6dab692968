"""Lists of jobs in memory."""

import re
from datetime import UTC, datetime
from typing import Any

from audio_text.domain.job import Job
from audio_text.domain.listing import JobQuery, JobSort, Place
from audio_text.domain.owners import is_of
from fakes.rows import FakeRows

UNKNOWN: dict[JobSort, Any] = {JobSort.finished_at: datetime.max.replace(tzinfo=UTC), JobSort.duration: -1.0}
WORD = re.compile(r"\w+")
TERM = re.compile(r'(-?)"([^"]*)"|(-?)(\S+)')


class FakeJobSearch(FakeRows):
    """Finds by looking at every job."""

    async def find(self, query: JobQuery, *, limit: int) -> list[Job]:
        await self.check()
        found = sorted(
            (job for job in self.jobs.values() if _is_wanted(job, query)),
            key=lambda job: _key(query, query.place_of(job)),
            reverse=not query.is_ascending,
        )
        if query.after is not None:
            after = _key(query, query.after)
            keys = [_key(query, query.place_of(job)) for job in found]
            found = [
                job
                for job, key in zip(found, keys, strict=True)
                if (key > after if query.is_ascending else key < after)
            ]
        return found[:limit]


def _key(query: JobQuery, place: Place) -> tuple[Any, str]:
    value, job_id = place
    return UNKNOWN[query.sort] if value is None else value, job_id


def _is_wanted(job: Job, query: JobQuery) -> bool:
    return (
        is_of(job.owner, query.owner)
        and query.batch_id in {None, job.batch_id}
        and (not query.statuses or job.status in query.statuses)
        and (not query.models or job.whisper_model in query.models)
        and (not query.languages or job.language in query.languages)
        and (query.created_after is None or job.creation_date >= query.created_after)
        and (query.created_before is None or job.creation_date < query.created_before)
        and query.metadata.items() <= job.metadata.items()
        and (query.words is None or _is_said(job.result_text, query.words))
    )


def _is_said(text: str | None, words: str) -> bool:
    if text is None or not WORD.search(words):
        return False
    said = f" {' '.join(WORD.findall(text.lower()))} "
    alternatives = re.split(r" or ", words.lower())
    return any(all(_holds(said, *term) for term in TERM.findall(alternative)) for alternative in alternatives)


def _holds(said: str, *term: str) -> bool:
    negation, phrase, other_negation, word = term
    is_there = f" {' '.join(WORD.findall(phrase or word))} " in said
    return is_there is not bool(negation or other_negation)
