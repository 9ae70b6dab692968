"""What clients send, and what it means to the services."""

from datetime import UTC, datetime

import msgspec
import pytest

from audio_text.api.dto import JobView
from audio_text.api.job_requests import TranscribeRequest
from audio_text.api.mail_views import EmailRequest
from audio_text.api.messages import JobUpdateMessage
from audio_text.api.upload_views import UploadAnswer, UploadRequest
from audio_text.domain.access import ANYBODY
from audio_text.domain.events import JobUpdate
from audio_text.domain.job import JobStatus
from audio_text.domain.options import FALLBACK_TEMPERATURES, TranscriptionOptions, VadOptions
from audio_text.errors import InvalidRequestError
from audio_text.ports import UploadTarget
from audio_text.services.live import LiveUpdate
from factories import make_job, make_segment


def request(**fields: object) -> TranscribeRequest:
    return msgspec.convert({"filename": "talk.wav", "url": "http://store.test/a"} | fields, TranscribeRequest)


def test_nothing_chosen_is_no_option() -> None:
    assert request().options == {}
    assert request(language=None, vad=None, vad_filter=None).options == {}


def test_false_and_zero_are_choices() -> None:
    options = request(vad_filter=False, clip_start_seconds=0, condition_on_previous_text=False).options
    assert options == {"vad_filter": False, "clip_start_seconds": 0.0, "condition_on_previous_text": False}


@pytest.mark.parametrize(
    ("sent", "meant"),
    [(0, FALLBACK_TEMPERATURES), (0.0, FALLBACK_TEMPERATURES), (0.3, [0.3]), ([0], [0.0]), ([0, 0.5], [0.0, 0.5])],
)
def test_a_temperature_of_zero_stands_for_the_whole_sequence(sent: object, meant: object) -> None:
    assert list(request(temperature=sent).options["temperature"]) == list(meant)  # pyright: ignore[reportArgumentType]


def test_parts_of_the_vad_may_be_chosen() -> None:
    assert request(vad={"threshold": 0.4, "speech_pad_ms": None}).options == {"vad": {"threshold": 0.4}}


def test_every_option_of_a_job_can_be_chosen_and_no_other() -> None:
    beside = {"filename", "url", "model", "mode"}
    noted = {"description", "metadata", "expires_in", "deadline_in", "priority", "reuse"}
    assert set(TranscribeRequest.__struct_fields__) - beside - noted == set(TranscriptionOptions.__struct_fields__)
    vad = msgspec.json.schema(TranscribeRequest)["$defs"]["VadChoice"]["properties"]
    assert set(vad) == set(VadOptions.__struct_fields__)


@pytest.mark.parametrize("name", [field.name for field in msgspec.structs.fields(TranscriptionOptions)])
def test_a_request_takes_exactly_the_values_that_an_option_has(name: str) -> None:
    samples = [-1, 0, 0.0, 0.5, 1, 5, 20, 21, 1e6, 1e6 + 1, "en", "translate", "x" * 4_000, "x" * 4_001, True, [0.5]]
    for sample in samples:
        if name == "temperature" and not isinstance(sample, list):
            continue  # a request takes one number, too
        assert is_accepted(request, name, sample) == is_accepted(option, name, sample), sample


def option(**fields: object) -> TranscriptionOptions:
    return msgspec.convert(fields, TranscriptionOptions)


def is_accepted(make: object, name: str, value: object) -> bool:
    try:
        make(**{name: value})  # type: ignore[operator]
    except msgspec.ValidationError:
        return False
    return True


def test_model_and_mode_may_agree() -> None:
    both = request(model="tiny", mode="tiny")
    assert both.model == both.mode == "tiny"


@pytest.mark.parametrize("name", ["a", "Überschrift.wav", "a b.wav", "a.tar.wav", "\ufffd.wav", "名前.opus", "a" * 255])
def test_plain_names_are_fine(name: str) -> None:
    assert UploadRequest(filename=name, file_size=1).filename == name


@pytest.mark.parametrize("name", ["", " ", "a/b.wav", "a\\b.wav", "a\n.wav", "a\x7f.wav", "\x00", "a" * 256])
def test_other_names_are_not(name: str) -> None:
    with pytest.raises(InvalidRequestError, match="filename"):
        UploadRequest(filename=name, file_size=1)


def test_a_type_is_free_as_long_as_it_is_one_line() -> None:
    for free in ("", None, "audio/mp4; codecs=opus", "nonsense"):
        assert UploadRequest(filename="a.wav", content_type=free, file_size=1).content_type == free
    with pytest.raises(InvalidRequestError, match="content_type"):
        UploadRequest(filename="a.wav", content_type="audio/wav\n", file_size=1)


def test_an_address_has_one_at_and_a_domain() -> None:
    assert EmailRequest(email="ada@example.org").email == "ada@example.org"
    with pytest.raises(InvalidRequestError, match="email"):
        EmailRequest(email="ada")


def test_a_job_shows_every_field_also_those_that_are_unknown() -> None:
    shown = msgspec.json.decode(msgspec.json.encode(JobView.of(make_job(), caller=ANYBODY)))
    assert set(shown) == set(JobView.__struct_fields__)
    assert shown["result_text"] is None


def test_times_have_a_zone() -> None:
    moment = datetime(2030, 1, 1, 12, 30, tzinfo=UTC)
    target = UploadTarget(url="http://store.test/a", headers={}, expires_at=moment)
    shown = msgspec.json.decode(msgspec.json.encode(UploadAnswer.of(target)))
    assert shown == {"url": "http://store.test/a", "method": "PUT", "headers": {}, "expires_at": "2030-01-01T12:30:00Z"}


def told(status: JobStatus, **fields: object) -> dict[str, object]:
    job = make_job(status=status, **fields)
    update = JobUpdate(job_id=job.id, status=status, progress=42.0, segments=(make_segment(),))
    message = JobUpdateMessage.of(LiveUpdate(event_id="1-1", update=update, job=job))
    return msgspec.json.decode(msgspec.json.encode(message))


ENDING = {"result", "language", "language_probability", "processing_time", "error", "error_code"}


@pytest.mark.parametrize(
    ("status", "fields", "names"),
    [
        (JobStatus.pending, {}, set()),
        (JobStatus.processing, {}, set()),
        (JobStatus.completed, {"result_text": ""}, {"result", "language", "language_probability", "processing_time"}),
        (JobStatus.failed, {"error_message": "Broken."}, {"error", "error_code", "processing_time"}),
        (JobStatus.cancelled, {}, {"error", "error_code", "processing_time"}),
    ],
)
def test_only_the_last_update_tells_how_it_ended(status: JobStatus, fields: dict[str, object], names: set[str]) -> None:
    message = told(status, **fields)
    assert message["type"] == "job_update"
    assert ENDING & message.keys() == names
    assert isinstance(message["message"], str)


def test_a_job_that_ended_badly_always_has_a_reason() -> None:
    assert told(JobStatus.failed, error_message="Broken.")["error"] == "Broken."
    assert told(JobStatus.failed)["error"] == "The job failed."
    assert told(JobStatus.cancelled)["error"] == "The job was cancelled."
