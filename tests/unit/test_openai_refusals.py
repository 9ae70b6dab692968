"""What clients of OpenAI's interface are told of jobs that ended without a transcript."""

import pytest

from audio_text.api.openai.refusals import told_of
from audio_text.domain.job import JobStatus
from factories import make_job


@pytest.mark.parametrize(
    ("error_code", "status"), [("audio_quota_exceeded", 429), ("out_of_memory", 500), ("invalid_audio", 400)]
)
def test_a_request_whose_job_failed_for_good_is_not_sent_again(error_code: str, status: int) -> None:
    told = told_of(make_job(status=JobStatus.failed, error_code=error_code, error_message="It did."))
    assert (told.status, told.answer.error.code, told.answer.error.message) == (status, error_code, "It did.")
    assert told.headers["x-should-retry"] == "false"
