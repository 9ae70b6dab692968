"""`audio-text transcribe` and the README's steps by hand, against the whole service."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jiwer
import pytest

from audio_text.local.process import free_port
from audio_text.settings import resource
from services.documents import blocks, run
from services.folders import open_folder
from services.up import Up, clean_environment, running

ROOT = Path(__file__).parents[2]
RECORDING = resource("recordings/memo_35s.wav")
REFERENCE = json.loads(resource("recordings/memo_35s.json").read_text())["text"]
SIMPLER = jiwer.Compose([jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.ReduceToListOfListOfWords()])


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    with (
        open_folder() as folder,
        running(Up(folder / "stack", "--port", str(free_port()), "--model", "demo")) as up,
    ):
        yield up


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    return Path(shutil.copy(RECORDING, tmp_path / "my memo.wav"))


def transcribe(up: Up, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "audio_text", "transcribe", *map(str, arguments)]
    environment = clean_environment(AUDIO_TEXT_SERVER=up.url)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)


def word_error_rate(text: str) -> float:
    return jiwer.wer(REFERENCE, " ".join(text.split()), reference_transform=SIMPLER, hypothesis_transform=SIMPLER)


def test_a_recording_becomes_subtitles_beside_it(up: Up, recording: Path) -> None:
    done = transcribe(up, recording, "--format", "srt")

    assert done.returncode == 0, done.stderr
    cues = recording.with_suffix(".srt").read_text().strip().split("\n\n")
    spoken = [cue.split("\n", 2) for cue in cues]
    assert [number for number, _, _ in spoken] == [str(number) for number in range(1, len(cues) + 1)]
    assert word_error_rate(" ".join(text for _, _, text in spoken)) < 0.2
    shown = re.findall(r"^\[\d\d:\d\d:\d\d\.\d{3} --> ", done.stderr, re.MULTILINE)
    assert 0 < len(shown) <= len(cues)  # a long segment is cut into several
    assert "real-time factor" in done.stderr


def test_words_have_times_when_they_are_asked_for(up: Up, recording: Path) -> None:
    done = transcribe(up, recording, "--format", "json", "--output", "-", "--words", "--language", "en")

    segments = json.loads(done.stdout)["segments"]
    words = [word for segment in segments for word in segment["words"]]
    assert words
    assert all(word["start"] <= word["end"] for word in words)


def test_several_files_are_done_and_the_bad_one_is_named(up: Up, recording: Path) -> None:
    renamed_text = recording.with_name("notes.mp3")
    renamed_text.write_text("This is no music. " * 100)

    done = transcribe(up, renamed_text, recording)

    assert done.returncode == 1
    assert re.search(r"notes\.mp3: .*audio", done.stderr)
    assert word_error_rate(recording.with_suffix(".txt").read_text()) < 0.2
    assert not renamed_text.with_suffix(".txt").exists()


def test_a_model_that_the_service_does_not_list_is_refused_in_its_words(up: Up, recording: Path) -> None:
    done = transcribe(up, recording, "--model", "enormous")

    assert done.returncode == 1
    assert "enormous" in done.stderr


def test_the_steps_of_the_readme_work_as_they_stand_there(up: Up) -> None:
    (block,) = (block for block in blocks(ROOT / "README.md") if block.heading == "The same by hand")
    port = up.url.rpartition(":")[2]
    code = block.code.replace("3203", port).replace(".venv/bin/", f"{Path(sys.executable).parent}/")

    output = run(block._replace(code=code), folder=ROOT, environment={})

    assert word_error_rate(output.strip().splitlines()[-1]) < 0.2
    assert '"type":"connected"' in output
    assert "Connection closed: 1000" in output
