"""`audio-text transcribe`, against a stub of the wire contract that misbehaves on request."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from audio_text.cli.transcribe import transcribe
from services.stub_service import StubService, stub_service, update

RECORDING = b"RIFF" + bytes(600_000)


KEY = "atk_secret"


@pytest.fixture
async def service() -> AsyncIterator[StubService]:
    async with stub_service() as stub:
        yield stub


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    path = tmp_path / "talk.wav"
    path.write_bytes(RECORDING)
    return path


async def run(service: StubService | str, *arguments: str | Path) -> Result:
    server = service if isinstance(service, str) else service.url
    command = [str(argument) for argument in arguments]
    environment = {"AUDIO_TEXT_SERVER": server, "AUDIO_TEXT_API_KEY": KEY}
    return await asyncio.to_thread(CliRunner().invoke, transcribe, command, env=environment)


async def test_a_recording_becomes_a_file_beside_it(service: StubService, audio: Path) -> None:
    result = await run(service, audio)

    assert result.exit_code == 0, result.stderr
    assert audio.with_suffix(".txt").read_text() == "Sentence 0.\nSentence 1.\n"
    assert service.uploaded == [(RECORDING, service.presigned[0]["content_type"])]
    assert service.presigned[0]["filename"] == "talk.wav"
    assert service.presigned[0]["file_size"] == len(RECORDING)
    assert service.submitted[0]["url"] == f"{service.url}/upload?signature=1"


async def test_segments_and_timings_are_shown_as_they_come(service: StubService, audio: Path) -> None:
    service.connections = [([update("processing", 50, 0), update("completed", 100, 1)], 1000)]

    result = await run(service, audio)

    assert "[00:00:00.000 --> 00:00:02.000]  Sentence 0.\n" in result.stderr
    assert "[00:00:02.000 --> 00:00:04.000]  Sentence 1.\n" in result.stderr
    assert "4.0 s of audio in 0.50 s, real-time factor 0.125, language en" in result.stderr
    assert result.stdout == ""


async def test_standard_output_carries_nothing_but_the_result(service: StubService, audio: Path) -> None:
    result = await run(service, audio, "--output", "-", "--format", "srt")

    assert result.stdout.startswith("1\n00:00:00,000 --> 00:00:02,000\nSentence 0.\n")
    assert sorted(path.name for path in audio.parent.iterdir()) == ["talk.wav"]


async def test_quiet_prints_nothing(service: StubService, audio: Path) -> None:
    result = await run(service, audio, "--quiet")

    assert (result.exit_code, result.output) == (0, "")


async def test_the_output_folder_is_made(service: StubService, audio: Path, tmp_path: Path) -> None:
    result = await run(service, audio, "--output", tmp_path / "new" / "folder", "--format", "json")

    assert result.exit_code == 0, result.stderr
    document = json.loads((tmp_path / "new" / "folder" / "talk.json").read_text())
    assert [segment["id"] for segment in document["segments"]] == [0, 1]


async def test_only_options_that_were_given_are_sent(service: StubService, audio: Path) -> None:
    await run(service, audio)
    await run(service, audio, "--model", "tiny", "--language", "en", "--task", "translate", "--words")

    first, second = service.submitted
    assert set(first) == {"filename", "url"}
    assert {**second, "url": ""} == {
        "filename": "talk.wav",
        "url": "",
        "model": "tiny",
        "language": "en",
        "task": "translate",
        "word_timestamps": True,
    }


async def test_a_lost_connection_is_taken_up_where_it_broke(service: StubService, audio: Path) -> None:
    service.connections = [
        ([update("processing", 30, 0, 1, event_id="7-0")], 1011),
        ([], 4408),
        ([update("processing", 60, 1, 2, event_id="9-0"), update("completed", 100, 3, event_id="10-0")], 1000),
    ]

    result = await run(service, audio)

    assert result.exit_code == 0, result.stderr
    assert service.cursors == [None, "7-0", "7-0"]
    assert audio.with_suffix(".txt").read_text() == "Sentence 0.\nSentence 1.\nSentence 2.\nSentence 3.\n"
    assert result.stderr.count("Sentence 1.") == 1


async def test_a_ping_is_answered_with_its_time_stamp(service: StubService, audio: Path) -> None:
    ping = {"type": "ping", "connection_id": "c", "timestamp": "2026-01-01T00:00:00Z", "message": "still there?"}
    service.connections = [([{"type": "connected"}, ping, {"type": "news"}, update("completed", 100)], 1000)]

    result = await run(service, audio)

    assert result.exit_code == 0, result.stderr
    assert service.pongs == [{"type": "pong", "timestamp": "2026-01-01T00:00:00Z"}]


async def test_a_failed_job_prints_its_sentence_and_exits_1(service: StubService, audio: Path) -> None:
    service.connections = [([update("failed", 40, 0)], 1000)]
    service.outcomes = [{"status": "failed", "error_message": "The file has no sound track."}]

    result = await run(service, audio)

    assert result.exit_code == 1
    assert result.stderr.endswith("talk.wav: The file has no sound track.\n")
    assert not audio.with_suffix(".txt").exists()


async def test_one_refused_file_does_not_stop_the_next(service: StubService, audio: Path) -> None:
    other = audio.with_name("other.wav")
    other.write_bytes(b"RIFF")
    service.connections = [([update("cancelled", 0)], 1000), ([update("completed", 100, 0)], 1000)]
    service.outcomes = [{"status": "cancelled"}]

    result = await run(service, audio, other)

    assert result.exit_code == 1
    assert "talk.wav: The job was cancelled." in result.stderr
    assert other.with_suffix(".txt").read_text() == "Sentence 0.\n"


async def test_a_refusal_prints_the_servers_own_words(service: StubService, audio: Path) -> None:
    service.refusal = lambda: web.json_response({"detail": "'.xyz' files are not accepted here."}, status=415)

    result = await run(service, audio)

    assert result.exit_code == 1
    assert result.stderr == f"{audio}: '.xyz' files are not accepted here.\n"


async def test_an_answer_without_detail_shows_at_least_its_status(service: StubService, audio: Path) -> None:
    service.refusal = lambda: web.Response(status=502, text="<h1>Bad gateway</h1>")

    assert "The server answered 502." in (await run(service, audio)).stderr


async def test_an_answer_that_makes_no_sense_is_a_refusal_not_a_traceback(service: StubService, audio: Path) -> None:
    service.refusal = lambda: web.json_response({"upload_to": "nowhere"})

    result = await run(service, audio)

    assert result.exit_code == 1
    assert "does not understand" in result.stderr


async def test_a_job_that_the_server_does_not_know_is_not_followed_for_ever(service: StubService, audio: Path) -> None:
    service.connections = []

    result = await run(service, audio)

    assert result.exit_code == 1
    assert "There is no job with this id." in result.stderr
    assert len(service.cursors) == 1


async def test_a_socket_closed_for_an_unknown_job_is_not_opened_again(service: StubService, audio: Path) -> None:
    service.connections = [([], 4404)]

    result = await run(service, audio)

    assert (result.exit_code, len(service.cursors)) == (1, 1)
    assert "as scripted" in result.stderr


async def test_the_key_of_the_environment_is_sent_and_never_shown(service: StubService, audio: Path) -> None:
    result = await run(service, audio)

    own = [request for request in service.requests if request.path.startswith("/api/")]
    assert {request.headers.get("Authorization") for request in own} == {f"Bearer {KEY}"}
    assert KEY not in result.output


async def test_without_a_key_that_the_service_takes_it_says_where_one_is_looked_for(
    service: StubService, audio: Path
) -> None:
    problem = {"detail": "This takes a key.", "code": "unauthorized"}
    service.refusal = lambda: web.json_response(problem, status=401)

    result = await run(service, audio)

    assert result.exit_code == 1
    assert "This takes a key. It is taken from the variable AUDIO_TEXT_API_KEY." in result.stderr


async def test_no_server_exits_3_and_says_where_it_looked(audio: Path, unused_tcp_port: int) -> None:
    result = await run(f"http://127.0.0.1:{unused_tcp_port}", audio)

    assert result.exit_code == 3
    assert f"http://127.0.0.1:{unused_tcp_port} cannot be reached" in result.stderr


@pytest.mark.parametrize(
    "arguments", [[], ["absent.wav"], ["--format", "doc"], ["--server", "ftp://x"], ["--task", "sing"], ["."]]
)
async def test_wrong_usage_exits_2(arguments: list[str], audio: Path) -> None:
    files = [] if arguments == [] else [audio]

    assert (await run("http://127.0.0.1:9", *arguments, *files)).exit_code == 2


async def test_two_transcripts_never_overwrite_each_other(audio: Path) -> None:
    twin = audio.with_suffix(".mp3")
    twin.write_bytes(b"x")

    result = await run("http://127.0.0.1:9", audio, twin)

    assert result.exit_code == 2
    assert "would overwrite" in result.stderr


async def test_a_transcript_never_overwrites_its_recording(tmp_path: Path) -> None:
    odd = tmp_path / "talk.txt"
    odd.write_bytes(b"RIFF")

    assert (await run("http://127.0.0.1:9", odd)).exit_code == 2


async def test_an_output_folder_that_cannot_be_made_is_refused_before_the_upload(
    service: StubService, audio: Path
) -> None:
    result = await run(service, audio, "--output", audio / "folder")

    assert result.exit_code == 2
    assert "cannot be made" in result.stderr
    assert service.presigned == []


async def test_a_transcript_that_cannot_be_written_is_a_failure_with_its_reason(
    service: StubService, audio: Path
) -> None:
    audio.with_suffix(".txt").mkdir()

    result = await run(service, audio)

    assert result.exit_code == 1
    assert "Is a directory" in result.stderr


async def test_a_server_that_measures_less_costs_only_the_summary(service: StubService, audio: Path) -> None:
    service.outcomes = [{"duration": None}, {"real_time_factor": None, "language": None}]
    service.connections *= 2

    assert "s of audio" not in (await run(service, audio)).stderr
    assert "4.0 s of audio in 0.50 s\n" in (await run(service, audio)).stderr


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]"])
async def test_no_proxy_stands_between_this_machine_and_itself(name: str, service: StubService, audio: Path) -> None:
    port = service.url.rpartition(":")[2]
    environment = {"AUDIO_TEXT_SERVER": f"http://{name}:{port}", "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}

    result = await asyncio.to_thread(CliRunner().invoke, transcribe, [str(audio)], env=environment)

    assert "127.0.0.1:9" not in result.stderr
    assert result.exit_code == 0 or name == "[::1]"


async def test_a_name_that_is_not_utf8_can_be_sent(service: StubService, audio: Path, tmp_path: Path) -> None:
    odd = tmp_path / "caf\udce9.wav"
    odd.write_bytes(b"RIFF")

    result = await run(service, odd)

    assert result.exit_code == 0, result.stderr
    assert service.submitted[0]["filename"] == "caf\N{REPLACEMENT CHARACTER}.wav"


async def test_ctrl_c_exits_130(service: StubService, audio: Path) -> None:
    service.connections = [([update("processing", 10, 0), {"type": "hang"}], 1000)]
    program = "from audio_text.cli.transcribe import transcribe; transcribe()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(audio), "--server", service.url, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    async for line in process.stderr:
        if b"Sentence 0." in line:
            process.send_signal(signal.SIGINT)
            break
    rest = await process.stderr.read()

    assert await process.wait() == 130
    assert b"goes on" in rest
    assert b"Traceback" not in rest
