"""Every block of the page of recipes, against a whole service, with nothing but the two variables that it names."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from audio_text.client import Client
from audio_text.settings import Settings, resource
from services.api import ApiProcess
from services.documents import Block, blocks, run
from services.whole import NOBODYS, whole_service

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "recipes.md"
RECORDING = resource("recordings/memo_35s.wav")
BLOCKS = list(blocks(PAGE))

TEXT = r"(?s:meeting with Michael.*five)"
SHOWN = {
    "Upload, submit, wait": rf"completed\s.*{TEXT}",
    "Segments as they are decoded": TEXT,
    "Subtitles": r"1\n00:00:0\d,\d{3} --> 00:00:0\d,\d{3}\n",
    "Cancel, and do it again": r"cancelled\npending\n",
    "List and search": r"(^|\n){job_id} talk\.wav",
    "Submit once, whatever happens": r"^(?P<id>\S{36})\n(?P=id)\n$",
    "OpenAI's package": TEXT,
    "Errors": r"job_not_found(.|\n)+There is no job",
}


@pytest.fixture(scope="module")
def api(shared_api_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    with whole_service(shared_api_settings, tmp_path_factory.mktemp("service")) as api:
        yield api


@pytest.fixture(scope="module")
def client(api: ApiProcess) -> Iterator[Client]:
    with Client(f"http://{api.address}") as client:
        yield client


@pytest.fixture(scope="module")
def completed(client: Client) -> str:
    job = client.jobs.submit(client.upload(RECORDING, filename="talk.wav"))
    return client.jobs.wait(job.id, timeout=60).id


@pytest.fixture
def waiting(client: Client) -> str:
    """A job that no worker takes: there is none for its tier."""
    return client.jobs.submit(client.upload(RECORDING, filename="talk.wav"), model=NOBODYS).id


@pytest.mark.parametrize("block", BLOCKS, ids=[f"line-{block.line}-{block.language}" for block in BLOCKS])
def test_a_recipe_works_as_it_stands(
    block: Block, api: ApiProcess, tmp_path: Path, completed: str, request: pytest.FixtureRequest
) -> None:
    shutil.copy(RECORDING, tmp_path / "talk.wav")
    job_id = request.getfixturevalue("waiting") if block.heading.startswith("Cancel") else completed
    environment = {"AUDIO_TEXT_SERVER": f"http://{api.address}", "JOB_ID": job_id}

    output = run(block, folder=tmp_path, environment=environment)

    assert re.search(SHOWN[block.heading].replace("{job_id}", job_id), output), output


def test_every_recipe_is_run() -> None:
    assert {block.heading for block in BLOCKS} == set(SHOWN)
    assert {block.language for block in BLOCKS} == {"sh", "python", "js"}
