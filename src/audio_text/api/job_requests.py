"""The wire: what a client sends to submit a job, and to change what is noted on it."""

import re
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from audio_text.api.choices import NO_NUL, Choices, refuse_nul
from audio_text.api.dto import NAME, check_name
from audio_text.domain.access import Caller
from audio_text.domain.job import MOST_METADATA, Priority
from audio_text.errors import InvalidRequestError
from audio_text.ports import Notes
from audio_text.services.submission import Submission

LONGEST_KEY, LONGEST_VALUE = 64, 512
"""Characters in metadata."""

LONGEST_SECONDS = 2**31 - 1
"""68 years, from now on: a time that every database and every client can hold."""

_NOT_IN_A_KEY = re.compile(r"[\x00-\x1f\x7f=]")

Description = Annotated[str, Meta(max_length=4_000, extra_json_schema=NO_NUL)]
Key = Annotated[str, Meta(min_length=1, max_length=LONGEST_KEY, extra_json_schema={"pattern": r"^[^\x00-\x1f\x7f=]*$"})]
Value = Annotated[str, Meta(max_length=LONGEST_VALUE, extra_json_schema=NO_NUL)]
Metadata = Annotated[dict[Key, Value], Meta(max_length=MOST_METADATA)]


class TranscribeRequest(Choices, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recording to transcribe. Whatever is left out or null keeps the service's default."""

    filename: Annotated[
        str,
        Meta(description="A label for the job: the file's name.", examples=["talk.m4a"], extra_json_schema=NAME),
    ]
    url: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=8_192,
            description="The upload URL as it was handed out. Where the service fetches recordings that lie elsewhere: "
            "an https:// URL that gives the file away without a login, or s3://bucket/key of a bucket that it reads.",
            examples=["https://store.example/audio-text/uploads/2b/2b9c.m4a?X-Amz-Signature=6f1e"],
        ),
    ]
    description: Annotated[
        Description | None, Meta(description="A note, kept with the job.", examples=["Budget meeting"])
    ] = None
    metadata: Annotated[
        Metadata | None,
        Meta(
            description=f"Data of your own, kept with the job and good for finding it: at most {MOST_METADATA} keys of "
            f"{LONGEST_KEY} characters (no `=`), and values of {LONGEST_VALUE}.",
            examples=[{"project": "budget", "year": "2030"}],
        ),
    ] = None
    priority: Annotated[
        Priority | None,
        Meta(description="Jobs of a higher class are begun before others; `normal` by default.", examples=["high"]),
    ] = None
    reuse: Annotated[
        bool | None,
        Meta(
            description="Whether the transcript of an earlier job may be the answer: one of the same owner with the "
            "same recording, byte for byte, the same model and options, and no clip. The service has its own default: "
            "usually not.",
            examples=[True],
        ),
    ] = None
    expires_in: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(
            description="Remove the job, its transcript and its recording so many seconds after it ended. "
            "The service has a longest time, and its own default: usually never.",
            examples=[604_800],
        ),
    ] = None
    deadline_in: Annotated[
        Annotated[int, Meta(ge=1, le=LONGEST_SECONDS)] | None,
        Meta(
            description="Fail the job with `deadline_passed` unless a worker has begun it within so many seconds. "
            "What was begun goes on.",
            examples=[3_600],
        ),
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_name(self.filename)
        refuse_nul(url=self.url, description=self.description)
        check_metadata(self.metadata or {})

    def submission(self, caller: Caller, *, request_id: str | None) -> Submission:
        """What is asked for, by whom."""
        return Submission(
            filename=self.filename,
            url=self.url,
            caller=caller,
            model=self.model or self.mode,
            options=self.options,
            description=self.description,
            metadata=self.metadata or {},
            priority=self.priority or Priority.normal,
            reuse=self.reuse,
            expires_in=self.expires_in,
            deadline_in=self.deadline_in,
            request_id=request_id,
        )


class NotesRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to change, as a JSON merge patch (RFC 7396): what is left out stays, null removes."""

    description: Annotated[
        Description | UnsetType | None, Meta(description="A note, kept with the job.", examples=["Budget meeting"])
    ] = UNSET
    metadata: Annotated[
        dict[Key, Value | None] | UnsetType | None,
        Meta(
            description="Keys to set, and those to remove, with null; null instead of an object removes all.",
            examples=[{"project": "budget", "year": None}],
        ),
    ] = UNSET

    def __post_init__(self) -> None:
        refuse_nul(description=self.description or None)
        check_metadata(self.metadata or {})

    @property
    def notes(self) -> Notes:
        """What changes."""
        return Notes(description=self.description, metadata=self.metadata)


def check_metadata(metadata: dict[Key, Value] | dict[Key, Value | None]) -> None:
    """Raise InvalidRequestError for what its type cannot tell."""
    for key, value in metadata.items():
        if _NOT_IN_A_KEY.search(key):
            raise InvalidRequestError("A key of `metadata` holds a control character or `=`.")
        refuse_nul(metadata=value)
