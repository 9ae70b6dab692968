"""Forms as all kinds of clients write them: browsers, curl, pipes, and those that make mistakes."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

import media
from audio_text.domain.options import TranscriptionOptions
from audio_text.settings import Settings
from services.api import Api, in_one_task, running

WAV = media.wav()
PATH = "/v1/audio/transcriptions"
B = "----------------------------12345"


@pytest.fixture(scope="module")
async def shared_api(shared_api_settings: Settings) -> AsyncIterator[Api]:
    raw = msgspec.to_builtins(shared_api_settings)
    raw["upload"]["max_bytes"] = 1_000_000
    async with in_one_task(running(msgspec.convert(raw, Settings))) as api:
        yield api


def part(name: str, content: bytes | str, *headers: str) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    lines = [f'--{B}\r\nContent-Disposition: form-data; name="{name}"', *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data + b"\r\n"


def file_part(data: bytes = WAV, filename: str | None = "talk.wav", content_type: str = "audio/wav") -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    kind = f"\r\nContent-Type: {content_type}" if content_type else ""
    return f'--{B}\r\nContent-Disposition: form-data; name="file"{named}{kind}\r\n\r\n'.encode() + data + b"\r\n"


MODEL = part("model", "whisper-1")
END = f"--{B}--\r\n".encode()


async def send(
    api: Api, *parts: bytes, path: str = PATH, content_type: str = f"multipart/form-data; boundary={B}", **headers: str
) -> httpx.Response:
    body = b"".join(parts)

    async def in_pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 997):
            yield body[start : start + 997]

    return await api.client.post(
        path, content=in_pieces(), headers={"Content-Type": content_type, "Prefer": "respond-async"} | headers
    )


async def accepted(api: Api, *parts: bytes, **arguments: Any) -> dict[str, Any]:
    answer = await send(api, *parts, **arguments)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def refused(api: Api, *parts: bytes, status: int = 400, **arguments: Any) -> dict[str, Any]:
    before = stored(api)
    answer = await send(api, *parts, **arguments)
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["x-should-retry"] == "false"
    assert stored(api) == before
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    return error


def stored(api: Api) -> set[Path]:
    return {path for path in Path(api.settings.disk.folder).rglob("*") if path.is_file()}


async def test_fields_may_come_before_and_after_the_file(shared_api: Api) -> None:
    for parts in ((file_part(), MODEL, part("language", "de")), (part("language", "de"), MODEL, file_part())):
        job = await accepted(shared_api, *parts, END)
        assert job["options"]["language"] == "de"
        assert job["whisper_model"] == shared_api.settings.job.default_model


@pytest.mark.parametrize(
    "content_type",
    [
        f'multipart/form-data; boundary="{B}"',
        f"multipart/form-data;boundary={B}",
        f"Multipart/Form-Data; charset=utf-8; Boundary={B}",
        f"multipart/form-data; boundary={B}; charset=UTF-8",
    ],
)
async def test_the_boundary_may_be_quoted_or_not(shared_api: Api, content_type: str) -> None:
    await accepted(shared_api, file_part(), MODEL, END, content_type=content_type)


@pytest.mark.parametrize(
    ("filename", "content_type", "data", "extension"),
    [
        ("talk.wav", "", WAV, "wav"),
        ("TALK.WAV", "application/octet-stream", WAV, "wav"),
        (None, "", WAV, "wav"),
        ("", "", WAV, "wav"),
        ("blob", "audio/wav", WAV, "wav"),
        ("blob", "application/octet-stream", WAV, "wav"),
        ("blob", "audio/x-wav", WAV, "wav"),
        ("blob", "audio/webm;codecs=opus", media.recording("webm"), "webm"),
        ("audio.mpga", "audio/mpeg", media.recording("mp3"), "mp3"),
        ("audio.mpeg", "video/mpeg", media.recording("mp3"), "mp3"),
        ("blob", "", media.recording("mp3"), "mp3"),
        ("blob", "", media.recording("flac"), "flac"),
        ("blob", "", media.recording("ogg"), "ogg"),
        ("blob", "", media.recording("webm"), "webm"),
        ("blob", "", media.recording("m4a"), "m4a"),
        ("blob", "", media.recording("aac"), "aac"),
    ],
)
async def test_a_file_needs_no_name_that_tells_what_it_is(
    shared_api: Api, filename: str | None, content_type: str, data: bytes, extension: str
) -> None:
    before = stored(shared_api)
    job = await accepted(shared_api, file_part(data, filename, content_type), MODEL, END)
    (new,) = stored(shared_api) - before
    assert new.suffix == f".{extension}"
    assert new.read_bytes() == data
    assert job["filename"]


@pytest.mark.parametrize(
    ("filename", "label"),
    [
        ("../../etc/passwd.wav", "passwd.wav"),
        ("C:\\\\talks\\\\talk.wav", "talk.wav"),
        ("gespräch.wav", "gespräch.wav"),
        ("a%22b.wav", 'a"b.wav'),
        ("x" * 300 + ".wav", "x" * 251 + ".wav"),
    ],
)
async def test_a_file_name_is_only_a_label(shared_api: Api, filename: str, label: str) -> None:
    assert (await accepted(shared_api, file_part(WAV, filename), MODEL, END))["filename"] == label


@pytest.mark.parametrize(
    "fields",
    [
        [("timestamp_granularities[]", "word"), ("timestamp_granularities[]", "segment")],
        [("timestamp_granularities", "word"), ("timestamp_granularities", "segment")],
        [("timestamp_granularities", '["word", "segment"]')],
        [("timestamp_granularities[]", '["word"]')],
        [("timestamp_granularities[0]", "word")],
    ],
)
async def test_a_list_may_be_spelled_in_any_way(shared_api: Api, fields: list[tuple[str, str]]) -> None:
    extra = [part(name, text) for name, text in [*fields, ("response_format", "verbose_json")]]
    assert (await accepted(shared_api, *extra, MODEL, file_part(), END))["options"]["word_timestamps"] is True


@pytest.mark.parametrize(
    "fields",
    [
        [("chunking_strategy[type]", "server_vad"), ("chunking_strategy[silence_duration_ms]", "900")],
        [("chunking_strategy", '{"type": "server_vad", "silence_duration_ms": 900}')],
    ],
)
async def test_an_object_may_be_spelled_with_brackets_or_as_json(
    shared_api: Api, fields: list[tuple[str, str]]
) -> None:
    vad = (await accepted(shared_api, *[part(*field) for field in fields], MODEL, file_part(), END))["options"]["vad"]
    assert (vad["min_silence_duration_ms"], vad["speech_pad_ms"], vad["threshold"]) == (900, 300, 0.5)


async def test_what_is_empty_or_null_was_not_sent(shared_api: Api) -> None:
    names = ("language", "prompt", "temperature", "response_format", "timestamp_granularities[]", "chunking_strategy")
    empty = [part(name, text) for name in (*names, "stream") for text in ("", "null")]
    job = await accepted(shared_api, *empty, MODEL, file_part(), END)
    assert msgspec.convert(job["options"], TranscriptionOptions) == shared_api.settings.options


@pytest.mark.parametrize(
    ("text", "temperatures"),
    [("0", (0, 0.2, 0.4, 0.6, 0.8, 1.0)), ("0.0", (0, 0.2, 0.4, 0.6, 0.8, 1.0)), ("1", (1.0,)), ("0.35", (0.35,))],
)
async def test_temperature_zero_tries_warmer_ones(shared_api: Api, text: str, temperatures: tuple[float, ...]) -> None:
    job = await accepted(shared_api, part("temperature", text), MODEL, file_part(), END)
    assert tuple(job["options"]["temperature"]) == temperatures


@pytest.mark.parametrize("text", ["de", "DE", "German", " german "])
async def test_a_language_may_be_named_in_english(shared_api: Api, text: str) -> None:
    assert (await accepted(shared_api, part("language", text), MODEL, file_part(), END))["options"]["language"] == "de"


async def test_a_single_one_of_many_languages_is_the_language(shared_api: Api) -> None:
    one = await accepted(shared_api, part("languages[]", "de"), MODEL, file_part(), END)
    two = await accepted(shared_api, part("languages[]", "de"), part("languages[]", "en"), MODEL, file_part(), END)
    assert (one["options"]["language"], two["options"]["language"]) == ("de", None)


async def test_fields_that_mean_nothing_are_ignored_and_named(shared_api: Api) -> None:
    answer = await send(shared_api, part("user", "me"), part("vad_model", "x"), MODEL, file_part(), END)
    assert answer.status_code == 202
    assert answer.headers["X-Ignored-Fields"] == "user, vad_model"


async def test_a_translation_knows_fewer_fields(shared_api: Api) -> None:
    path = "/v1/audio/translations"
    answer = await send(shared_api, part("language", "de"), part("prompt", "Ms Ng"), MODEL, file_part(), END, path=path)
    assert answer.headers["X-Ignored-Fields"] == "language"
    options = answer.json()["options"]
    assert (options["task"], options["language"], options["initial_prompt"]) == ("translate", None, "Ms Ng")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "",
        "multipart/form-data",
        "multipart/mixed; boundary=x",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'x' * 300}",
        "multipart/form-data; boundary=a\tb",
    ],
)
async def test_a_body_that_is_no_form_is_refused(shared_api: Api, content_type: str) -> None:
    await refused(shared_api, file_part(), MODEL, END, content_type=content_type)


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"no form at all"],
        [file_part(), MODEL],  # the end is missing
        [file_part()[:-1000]],
        [part("x", "y") * 300, MODEL, file_part(), END],
        [part("prompt", "x" * 200_000), MODEL, file_part(), END],
        [part("x", "y" * 10_000) * 20, MODEL, file_part(), END],
        [part("prompt", b"\xff\xfe"), MODEL, file_part(), END],
        [part("prompt", "a\0b"), MODEL, file_part(), END],
        [part("prompt", "x", *[f"X-Header-{n}: y" for n in range(20)]), MODEL, file_part(), END],
        [part("prompt", "x", f"X-Header: {'y' * 10_000}"), MODEL, file_part(), END],
        [b"--" + B.encode() + b"\nContent-Disposition: form-data; name=model\n\nx\n", END],
        [f"--{B}\r\nContent-Type: text/plain\r\n\r\nx\r\n".encode(), END],
    ],
)
async def test_a_broken_form_is_refused_and_nothing_is_kept(shared_api: Api, parts: list[bytes]) -> None:
    assert (await refused(shared_api, *parts))["message"]


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([MODEL, END], "file"),
        ([file_part(), END], "model"),
        ([file_part(), part("model", ""), END], "model"),
        ([file_part(), file_part(), MODEL, END], "file"),
        ([file_part(), MODEL, part("model", "base"), END], "model"),
        ([file_part(), MODEL, part("timestamp_granularities", "[oops"), END], "timestamp_granularities"),
        ([file_part(), MODEL, part("chunking_strategy", "{oops"), END], "chunking_strategy"),
        ([file_part(), MODEL, part("stream", "perhaps"), END], "stream"),
        ([file_part(), MODEL, part("temperature", "hot"), END], "temperature"),
        ([file_part(), MODEL, part("keywords[]", "x" * 4_001), END], "keywords"),
        ([file_part(), MODEL, part("languages[]", "xx"), END], "languages"),
        ([file_part(b"hello", "notes.txt", "text/plain"), MODEL, END], "file"),
        ([file_part(b"", "talk.wav"), MODEL, END], "file"),
        ([file_part(b"RIFF but no more", "talk.wav"), MODEL, END], "file"),
    ],
)
async def test_the_field_at_fault_is_named(shared_api: Api, parts: list[bytes], param: str) -> None:
    assert (await refused(shared_api, *parts))["param"] == param


async def test_a_file_that_is_too_large_is_refused_while_it_arrives(shared_api: Api) -> None:
    error = await refused(shared_api, MODEL, file_part(WAV + bytes(1_000_000)), END, status=413)
    assert (error["code"], error["param"]) == ("upload_too_large", "file")


async def test_what_stands_around_the_parts_of_a_form_is_ignored(shared_api: Api) -> None:
    await accepted(shared_api, b"This is a form.\r\n", file_part(), MODEL, END, b"x" * 100_000)


async def test_addresses_that_do_not_exist_answer_in_the_same_shape(shared_api: Api) -> None:
    missing = await shared_api.client.get("/v1/nothing")
    assert missing.status_code == 404
    assert missing.json()["error"]["code"] == "not_found"
    wrong = await shared_api.client.get(PATH)
    assert wrong.status_code == 405
    assert "POST" in wrong.headers["Allow"]
    assert wrong.json()["error"]["message"]


async def test_other_addresses_keep_their_problems(shared_api: Api) -> None:
    answer = await shared_api.client.get("/v2/nothing")
    assert answer.headers["Content-Type"] == "application/problem+json"


async def test_what_is_away_for_a_moment_may_be_tried_again(shared_api: Api) -> None:
    folder = Path(shared_api.settings.disk.folder)
    away = folder.rename(folder.with_name("away"))
    try:
        answer = await send(shared_api, MODEL, file_part(), END)
    finally:
        away.rename(folder)
    assert answer.status_code == 503
    assert answer.json()["error"]["type"] == "server_error"
    assert (answer.headers["x-should-retry"], answer.headers["Retry-After"]) == ("true", "5")
