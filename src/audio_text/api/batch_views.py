"""The wire: batches of jobs."""

from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from audio_text.api.choices import refuse_nul
from audio_text.api.job_requests import Description, Metadata, TranscribeRequest, check_metadata
from audio_text.domain.batch import MOST_JOBS, Batch


class BatchRequest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Recordings to transcribe, each as for one job."""

    jobs: Annotated[
        Annotated[list[TranscribeRequest], Meta(min_length=1, max_length=MOST_JOBS)],
        Meta(
            description=f"At most {MOST_JOBS}. All of them are accepted, or none.",
            examples=[[{"filename": "talk.m4a", "url": "https://store.example/audio-text/uploads/2b/2b9c.m4a"}]],
        ),
    ]
    description: Annotated[
        Description | None, Meta(description="A note, kept with the batch.", examples=["Interviews of May"])
    ] = None
    metadata: Annotated[
        Metadata | None, Meta(description="Data of your own, kept with the batch.", examples=[{"project": "budget"}])
    ] = None

    def __post_init__(self) -> None:
        refuse_nul(description=self.description)
        check_metadata(self.metadata or {})


class CountsView(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs of a batch stand how."""

    pending: Annotated[int, Meta(description="They wait.", examples=[3])]
    processing: Annotated[int, Meta(description="A worker has them.", examples=[2])]
    completed: Annotated[int, Meta(description="Their transcripts are there.", examples=[35])]
    failed: Annotated[int, Meta(description="They ended without.", examples=[0])]
    cancelled: Annotated[int, Meta(description="Somebody ended them.", examples=[0])]


class BatchView(msgspec.Struct, frozen=True, kw_only=True):
    """A batch. Its jobs are listed by `/job/read?batch=<id>`."""

    id: Annotated[str, Meta(description="The batch's id.", examples=["7d0b4c56-3f0c-4f4e-8d3b-2a5f6f9f2b11"])]
    size: Annotated[int, Meta(description="Jobs that it was submitted with.", examples=[40])]
    counts: Annotated[CountsView, Meta(description="How they stand; those that were deleted are not counted.")]
    progress: Annotated[
        float, Meta(description="Percent, 0-100: the mean of its jobs, one that is over counts as done.", examples=[91])
    ]
    is_finished: Annotated[bool, Meta(description="Whether all of its jobs are over.", examples=[False])]
    created_at: Annotated[datetime, Meta(description="When it was submitted.", examples=["2030-01-01T12:00:00Z"])]
    finished_at: Annotated[
        datetime | None,
        Meta(
            description="When the last job was over, found within seconds; a job that is retried later leaves it.",
            examples=[None],
        ),
    ]
    description: Annotated[str | None, Meta(description="The submitter's note.", examples=["Interviews of May"])]
    metadata: Annotated[dict[str, str], Meta(description="The submitter's data.", examples=[{"project": "budget"}])]

    @classmethod
    def of(cls, batch: Batch) -> "BatchView":
        """Show a batch that was read with its tally."""
        tally = batch.tally
        return cls(
            id=batch.id,
            size=batch.size,
            counts=msgspec.convert(tally, CountsView, from_attributes=True),
            progress=round(tally.progress, 2),
            is_finished=not tally.unfinished,
            created_at=batch.created_at,
            finished_at=batch.finished_at,
            description=batch.description,
            metadata=batch.metadata,
        )
