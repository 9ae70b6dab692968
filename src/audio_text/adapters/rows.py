"""Between the rows of the tables and the domain: the only place that knows both."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

import msgspec

from audio_text.domain.batch import Batch, Tally
from audio_text.domain.job import AttemptRecord, Job, Priority
from audio_text.domain.transcript import Segment

UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""What a Python text may hold and a PostgreSQL text may not: NUL, and halves of surrogate pairs."""

REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

RANKS = {Priority.low: -1, Priority.normal: 0, Priority.high: 1}
"""Priorities as numbers, so that an index has them in their order."""

PRIORITIES = {rank: priority for priority, rank in RANKS.items()}

JSON_COLUMNS = ("options", "metadata", "next_window", "channel_progress")


def storable(value: object) -> object:
    """Replace what PostgreSQL refuses in a text, or in all texts of a sequence or dict; leave anything else alone."""
    if isinstance(value, str):
        return UNSTORABLE.sub(REPLACEMENT, value)
    if isinstance(value, list | tuple):
        return [storable(item) for item in cast("list[object]", value)]
    if isinstance(value, dict):
        return {key: storable(item) for key, item in cast("dict[str, object]", value).items()}
    return value


def json_text(value: object) -> str | None:
    """Write a value as a JSON text for a JSONB parameter; NaN becomes null, and None is none."""
    return None if value is None else msgspec.json.encode(storable(msgspec.to_builtins(value))).decode()


def job_parameters(job: Job) -> list[object]:
    """Give the values of a job's columns, in the order of its fields."""
    stored = {"status": job.status.value, "priority": RANKS[job.priority]}
    jsons = {name: json_text(getattr(job, name)) for name in JSON_COLUMNS}
    return list((msgspec.structs.asdict(job) | stored | jsons).values())


def job_record(job: Job) -> dict[str, object]:
    """Give a job as a JSON object with the columns of its row, for jsonb_populate_recordset."""
    record = cast("dict[str, object]", msgspec.to_builtins(job))
    return record | {"priority": RANKS[job.priority]}


def job_of(row: Mapping[str, Any]) -> Job:
    """Read a row of transcription_job."""
    jsons = {name: _decoded(row[name]) for name in JSON_COLUMNS}
    return msgspec.convert({**row, **jsons, "priority": PRIORITIES[row["priority"]]}, Job)


def batch_of(row: Mapping[str, Any]) -> Batch:
    """Read a row of batch, and what was counted of its jobs, if it was."""
    fields = dict(row)
    tally = {name: fields.pop(name) for name in Tally.__struct_fields__ if name in fields}
    return msgspec.convert({**fields, "metadata": _decoded(row["metadata"]), "tally": tally}, Batch)


def segments_of(rows: Iterable[Mapping[str, Any]]) -> list[Segment]:
    """Read rows of transcription_segment."""
    return [
        msgspec.convert({**row, "tokens": _decoded(row["tokens"]), "words": _decoded(row["words"])}, Segment)
        for row in rows
    ]


def attempts_of(rows: Iterable[Mapping[str, Any]]) -> list[AttemptRecord]:
    """Read rows of transcription_attempt."""
    return [msgspec.convert(dict(row), AttemptRecord) for row in rows]


def _decoded(json: str | None) -> object:
    return None if json is None else msgspec.json.decode(json)
