"""A client of a running service, for programs that await and for programs that do not.

    from audio_text.client import Client

    with Client("http://127.0.0.1:3203") as client:
        for segment in client.transcribe("talk.m4a", model="base"):
            print(segment.start, segment.text)

`AsyncClient` has the same methods to `await` and to iterate with `async for`. It needs httpx, websockets and msgspec
and nothing else of what the service is made of.

How the two are one: every method is written once, as a coroutine over a `Transport` (`transport`), which is all that
touches a network, a clock or a file. `AsyncTransport` awaits; the methods of `BlockingTransport` never do, so that
the same coroutine runs to its end in one step, without an event loop and without a thread (`blocking`). What is asked
again after a failure, how uploads are cut, how a job is followed through lost connections: none of it exists twice.

Waiting: each single wait on the network is bounded by `timeout`. What fails and may be repeated is asked again, up to
`max_retries` times, after a delay that doubles and is shortened by chance, or the one that `Retry-After` names.
A submission carries an `Idempotency-Key` of its own, so that one that is repeated is still one job.

Errors are those of `audio_text.errors`: what the service refuses arrives as the class that has the answer's `code`.
"""

from audio_text.client.answers import Attempt, Channel, Job, Page, Segment, Transcript, Update, Upload
from audio_text.client.clients import AsyncClient, Client
from audio_text.client.jobs import AsyncJobs, Jobs
from audio_text.client.options import CueOptions, JobFilters, JobOptions
from audio_text.client.recording import Source
from audio_text.domain.formats import TranscriptFormat
from audio_text.domain.job import AttemptEnd, JobStatus, Priority
from audio_text.domain.options import Task
from audio_text.domain.transcript import Word

__all__ = [
    "AsyncClient",
    "AsyncJobs",
    "Attempt",
    "AttemptEnd",
    "Channel",
    "Client",
    "CueOptions",
    "Job",
    "JobFilters",
    "JobOptions",
    "JobStatus",
    "Jobs",
    "Page",
    "Priority",
    "Segment",
    "Source",
    "Task",
    "Transcript",
    "TranscriptFormat",
    "Update",
    "Upload",
    "Word",
]
