"""The client knows every word that the service says and takes: what is added there is missed here."""

import inspect
from typing import get_type_hints

import pytest

from audio_text.api.choices import RetryRequest
from audio_text.api.dto import AttemptView, JobView
from audio_text.api.job_list import read_jobs
from audio_text.api.job_requests import TranscribeRequest
from audio_text.api.messages import JobUpdateMessage
from audio_text.api.transcript_views import ChannelView, VerboseSegmentView, VerboseTranscriptView
from audio_text.client import Attempt, Channel, Job, JobFilters, JobOptions, Segment, Transcript, Update
from audio_text.client.options import Choices


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Job, JobView),
        (Attempt, AttemptView),
        (Update, JobUpdateMessage),
        (Transcript, VerboseTranscriptView),
        (Segment, VerboseSegmentView),
        (Channel, ChannelView),
    ],
)
def test_the_client_reads_every_field_that_the_service_sends(ours: type, theirs: type) -> None:
    assert set(ours.__struct_fields__) == set(theirs.__struct_fields__)


@pytest.mark.parametrize(("ours", "theirs"), [(JobOptions, TranscribeRequest), (Choices, RetryRequest)])
def test_the_client_offers_every_option_that_the_service_takes(ours: type, theirs: type) -> None:
    assert set(get_type_hints(ours)) == set(theirs.__struct_fields__) - {"filename", "url", "mode"}


def test_the_client_offers_every_filter_that_the_service_knows() -> None:
    ours = {"services", "caller", "settings", "limit", "cursor"}
    known = set(inspect.signature(read_jobs.fn).parameters) - ours

    assert set(get_type_hints(JobFilters)) == known
