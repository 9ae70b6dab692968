"""Hostile recordings: whatever is in them, each ends in a stable code, and nothing else happens."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from attacks.corpus import HostileFile, corpus
from attacks.sweep import CODES, COMPLETED, Outcome, sweep
from attacks.watch import Lures, lures
from audio_text.adapters.decoders import CHILD_MODULE

REFUSED = {"invalid_audio", "empty_audio", "no_sound_track"}


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lures]:
    with lures(tmp_path_factory.mktemp("lures")) as watched:
        yield watched


@pytest.fixture(scope="module")
def files(watched: Lures, tmp_path_factory: pytest.TempPathFactory) -> list[HostileFile]:
    return corpus(tmp_path_factory.mktemp("speech"), url=watched.url, canary=watched.canary)


def decoders() -> set[int]:
    """Processes that decode, or wait for a recording, by id."""
    children = psutil.Process().children(recursive=True)
    return {child.pid for child in children if CHILD_MODULE in child.cmdline()}


@pytest.fixture(scope="module")
def others() -> set[int]:
    """Those that engines of other tests have waiting."""
    return decoders()


@pytest.fixture(scope="module")
async def outcomes(
    files: list[HostileFile], others: set[int], tmp_path_factory: pytest.TempPathFactory
) -> list[Outcome]:
    assert others is not None  # before the first of ours
    return await sweep(files, tmp_path_factory.mktemp("sweep"))


def test_a_seed_gives_the_same_files_each_time(tmp_path: Path) -> None:
    canary = Path("/canary.wav")
    first, second = (corpus(tmp_path, url="http://127.0.0.1:9", canary=canary) for _ in range(2))
    assert first == second
    assert len({file.name for file in first}) == len(first) > 200
    assert len({hashlib.sha256(file.data).digest() for file in first}) > 0.95 * len(first)


@pytest.mark.timeout(600)
def test_every_file_ends_in_a_stable_code(outcomes: list[Outcome]) -> None:
    assert {outcome.probed for outcome in outcomes} <= CODES
    assert {outcome.decoded for outcome in outcomes} <= CODES
    # and there are some of every kind: the corpus reaches the decoders
    counts = Counter(outcome.decoded for outcome in outcomes)
    assert set(counts) == CODES
    assert counts[COMPLETED] > 100


def test_what_the_probe_refuses_no_worker_hears(outcomes: list[Outcome]) -> None:
    heard = [outcome.name for outcome in outcomes if outcome.probed != COMPLETED and outcome.decoded == COMPLETED]
    assert heard == []


def test_nobody_was_called_and_nothing_was_opened(outcomes: list[Outcome], watched: Lures) -> None:
    assert any(outcome.name.startswith("references-") for outcome in outcomes)
    assert (watched.calls, watched.openings) == (0, 0)
    watched.canary.read_bytes()
    assert watched.openings > 0  # it would have been noticed


def test_playlists_and_references_are_no_recordings(outcomes: list[Outcome]) -> None:
    kinds = ("hls", "concat", "dash", "sdp", "m3u", "pls", "asx", "smooth", "rtsp", "subtitles", "reference-movie")
    verdicts = {
        outcome.name: outcome.decoded
        for outcome in outcomes
        if outcome.name.startswith(tuple(f"references-{kind}" for kind in kinds))
    }
    assert len(verdicts) > 50
    assert set(verdicts.values()) <= REFUSED, verdicts


def test_no_decoder_and_no_file_is_left(
    outcomes: list[Outcome], others: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert outcomes
    assert decoders() <= others
    assert [path for path in tmp_path_factory.getbasetemp().glob("sweep*/*") if path.is_file()] == []
