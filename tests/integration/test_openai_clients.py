"""The official `openai` package, used as its documentation shows: only the address and the key are ours."""

import math
from collections.abc import AsyncIterator, Iterator
from io import BytesIO
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

import media
from audio_text.settings import Settings
from recordings import path_of, plain, text_of, words_of
from services.openai_service import Service, openai_service

SPEECH = path_of("two")
SAID = words_of([text_of("two")])
SECONDS = 8.0


@pytest.fixture(scope="module")
def service(shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with openai_service(shared_api_settings, tmp_path_factory.mktemp("service")) as service:
        yield service


@pytest.fixture
def client(service: Service) -> Iterator[OpenAI]:
    with OpenAI(base_url=service.base_url, api_key="any", timeout=60) as client:
        yield client


@pytest.fixture
async def async_client(service: Service) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=service.base_url, api_key="any", timeout=60) as client:
        yield client


def test_transcribe_a_recording(client: OpenAI) -> None:
    with SPEECH.open("rb") as audio_file:
        transcription = client.audio.transcriptions.create(model="whisper-1", file=audio_file)

    assert words_of([transcription.text]) == SAID
    assert transcription.usage is not None
    assert transcription.usage.type == "duration"
    assert transcription.usage.seconds == SECONDS


@pytest.mark.parametrize(
    "model", ["demo", "whisper-1", "gpt-4o-transcribe", "gpt-4o-mini-transcribe", "gpt-transcribe"]
)
def test_name_a_model_of_the_service_or_one_of_openais(client: OpenAI, model: str) -> None:
    transcription = client.audio.transcriptions.create(model=model, file=SPEECH)

    assert words_of([transcription.text]) == SAID


def test_get_plain_text(client: OpenAI) -> None:
    text = client.audio.transcriptions.create(model="whisper-1", file=SPEECH, response_format="text")

    assert words_of([text]) == SAID
    assert text == text.strip()


def test_get_subtitles(client: OpenAI) -> None:
    srt = client.audio.transcriptions.create(model="whisper-1", file=SPEECH, response_format="srt")
    vtt = client.audio.transcriptions.create(model="whisper-1", file=SPEECH, response_format="vtt")

    assert srt.startswith("1\n00:00:0")
    assert " --> 00:00:0" in srt
    assert vtt.startswith("WEBVTT\n\n00:00:0")
    assert "00:00:00.000 -->" not in vtt


def test_get_segments_with_times_and_scores(client: OpenAI) -> None:
    transcription = client.audio.transcriptions.create(model="whisper-1", file=SPEECH, response_format="verbose_json")

    assert (transcription.language, transcription.duration) == ("english", pytest.approx(SECONDS, abs=0.5))
    assert transcription.to_dict()["task"] == "transcribe"
    assert transcription.words is None
    assert transcription.segments is not None
    assert "".join(segment.text for segment in transcription.segments).strip() == transcription.text
    assert [segment.id for segment in transcription.segments] == [0, 1]
    for segment in transcription.segments:
        assert 0 < segment.start < segment.end <= transcription.duration
        assert segment.tokens
        assert segment.compression_ratio > 0
        assert segment.avg_logprob < 0
        assert 0 <= segment.no_speech_prob <= 1
        assert segment.temperature >= 0
        assert segment.seek >= 0


def test_get_times_of_words(client: OpenAI) -> None:
    transcription = client.audio.transcriptions.create(
        model="whisper-1", file=SPEECH, response_format="verbose_json", timestamp_granularities=["word"]
    )

    assert transcription.segments is None
    assert transcription.words is not None
    assert [plain(word.word) for word in transcription.words] == SAID
    assert all(word.word == word.word.strip() for word in transcription.words)
    assert all(word.start <= word.end for word in transcription.words)


def test_get_times_of_words_and_segments(client: OpenAI) -> None:
    transcription = client.audio.transcriptions.create(
        model="whisper-1", file=SPEECH, response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )

    assert transcription.words
    assert transcription.segments


@pytest.mark.parametrize(
    ("response_format", "content_type"),
    [
        ("json", "application/json"),
        ("verbose_json", "application/json"),
        ("text", "text/plain; charset=utf-8"),
        ("srt", "text/plain; charset=utf-8"),
        ("vtt", "text/plain; charset=utf-8"),
    ],
)
def test_every_format_has_its_content_type(client: OpenAI, response_format: Any, content_type: str) -> None:
    answer = client.audio.transcriptions.with_raw_response.create(
        model="whisper-1", file=SPEECH, response_format=response_format
    )
    assert answer.headers["content-type"] == content_type


def test_silence_has_no_text(client: OpenAI) -> None:
    silence = ("silence.wav", media.wav())
    verbose = client.audio.transcriptions.create(model="whisper-1", file=silence, response_format="verbose_json")
    stream = client.audio.transcriptions.create(model="whisper-1", file=silence, stream=True)

    assert (verbose.text, verbose.segments, verbose.duration) == ("", [], 1.0)
    assert [(event.type, event.text) for event in stream] == [("transcript.text.done", "")]


def test_say_what_to_expect(service: Service, client: OpenAI) -> None:
    answer = client.audio.transcriptions.with_raw_response.create(
        model="whisper-1",
        file=SPEECH,
        language="en",
        prompt="The budget of Sarah.",
        temperature=0.2,
        chunking_strategy={"type": "server_vad", "threshold": 0.4, "silence_duration_ms": 700},
        keywords=["budget", "lunch"],
    )

    job = service.job(answer.headers["x-job-id"])
    assert job["filename"] == "two.flac"
    assert job["options"]["language"] == "en"
    assert job["options"]["initial_prompt"] == "The budget of Sarah."
    assert job["options"]["temperature"] == [0.2]
    assert job["options"]["hotwords"] == "budget, lunch"
    assert job["options"]["vad"]["threshold"] == 0.4
    assert job["options"]["vad"]["min_silence_duration_ms"] == 700
    assert job["options"]["vad"]["speech_pad_ms"] == 300


def test_send_bytes_with_a_name(client: OpenAI) -> None:
    transcription = client.audio.transcriptions.create(model="whisper-1", file=("speech.flac", SPEECH.read_bytes()))

    assert words_of([transcription.text]) == SAID


def test_send_a_stream_without_a_name(client: OpenAI) -> None:
    transcription = client.audio.transcriptions.create(model="whisper-1", file=BytesIO(SPEECH.read_bytes()))

    assert words_of([transcription.text]) == SAID


def test_stream_the_text_as_it_is_decoded(client: OpenAI) -> None:
    stream = client.audio.transcriptions.create(model="gpt-4o-mini-transcribe", file=SPEECH, stream=True)

    *deltas, done = list(stream)
    assert {delta.type for delta in deltas} == {"transcript.text.delta"}
    assert done.type == "transcript.text.done"
    assert len(deltas) == 2
    assert "".join(delta.delta for delta in deltas) == done.text
    assert words_of([done.text]) == SAID


def test_stream_and_leave_early(client: OpenAI) -> None:
    with client.audio.transcriptions.create(model="whisper-1", file=SPEECH, stream=True) as stream:
        first = next(iter(stream))

    assert words_of([first.delta]) == SAID[: len(words_of([first.delta]))]


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_translate_into_english(client: OpenAI) -> None:
    translation = client.audio.translations.create(model="whisper-1", file=SPEECH)
    verbose = client.audio.translations.create(model="whisper-1", file=SPEECH, response_format="verbose_json")
    text = client.audio.translations.create(model="whisper-1", file=SPEECH, response_format="text")

    assert verbose.text == translation.text == text
    assert verbose.language == "english"
    assert verbose.to_dict()["task"] == "translate"
    assert math.isclose(verbose.duration, SECONDS, abs_tol=0.5)


async def test_transcribe_asynchronously(async_client: AsyncOpenAI) -> None:
    transcription = await async_client.audio.transcriptions.create(model="whisper-1", file=SPEECH)

    assert words_of([transcription.text]) == SAID


async def test_stream_asynchronously(async_client: AsyncOpenAI) -> None:
    stream = await async_client.audio.transcriptions.create(model="whisper-1", file=SPEECH, stream=True)

    text = ""
    async for event in stream:
        if event.type == "transcript.text.delta":
            text += event.delta
        else:
            assert event.text == text
    assert words_of([text]) == SAID


def test_list_the_models(client: OpenAI) -> None:
    models = [model.id for model in client.models.list()]

    assert models[0] == "demo"
    assert {"demo", "base", "whisper-1", "gpt-4o-transcribe"} <= set(models)


def test_read_a_model(client: OpenAI) -> None:
    model = client.models.retrieve("whisper-1")

    assert (model.id, model.object, model.owned_by) == ("whisper-1", "model", "audio-text")


def test_a_model_that_does_not_exist_is_not_found(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.audio.transcriptions.create(model="whisper-9", file=SPEECH)
    assert (refused.value.code, refused.value.param) == ("model_not_found", "model")

    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("Systran/none")


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"temperature": 1.5}, "temperature"),
        ({"language": "klingon"}, "language"),
        ({"response_format": "xml"}, "response_format"),
        ({"response_format": "diarized_json"}, "response_format"),
        ({"response_format": "verbose_json", "timestamp_granularities": ["character"]}, "timestamp_granularities"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities"),
        ({"response_format": "srt", "stream": True}, "stream"),
        ({"include": ["logprobs"]}, "include"),
        ({"known_speaker_names": ["agent"]}, "known_speaker_names"),
        ({"chunking_strategy": {"type": "client_vad"}}, "chunking_strategy"),
        ({"prompt": "x" * 4_001}, "prompt"),
    ],
)
def test_a_field_that_is_not_possible_is_a_bad_request_that_names_it(
    service: Service, client: OpenAI, wrong: dict[str, Any], param: str
) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.audio.transcriptions.create(model="whisper-1", file=SPEECH, **wrong)

    error = refused.value
    assert error.body is not None
    assert error.body.keys() == {"message", "type", "param", "code"}
    assert (error.type, error.param) == ("invalid_request_error", param)
    assert f"`{param}`" in error.message
    assert error.request_id
    assert not service.stored()


def test_what_is_no_audio_is_a_bad_request(service: Service, client: OpenAI) -> None:
    for file in (("notes.wav", b"not a recording at all"), ("notes.txt", b"text"), ("empty.wav", b"")):
        with pytest.raises(openai.BadRequestError) as refused:
            client.audio.transcriptions.create(model="whisper-1", file=file)
        assert refused.value.param == "file"
    assert not service.stored()


def test_a_job_that_fails_ends_the_call_without_another_try(service: Service, client: OpenAI) -> None:
    before = len(service.jobs())
    with pytest.raises(openai.InternalServerError) as failed:
        client.audio.transcriptions.create(model="tiny", file=SPEECH)  # is not on this machine, and the hub is off
    assert failed.value.code == "model_unavailable"
    assert len(service.jobs()) == before + 1


def test_a_job_that_fails_ends_the_stream_with_an_error(client: OpenAI) -> None:
    stream = client.audio.transcriptions.create(model="tiny", file=SPEECH, stream=True)
    with pytest.raises(openai.APIError, match="model"):
        list(stream)
