"""The model cache: each model once, for all threads, never more than agreed; and what is said when one is missing."""

import json
import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from audio_text.adapters import models
from audio_text.adapters.models import Models, available_cores
from audio_text.adapters.whisper import Whisper
from audio_text.errors import EngineMemoryError, ModelUnavailableError, UnknownModelError
from audio_text.settings import ModelSettings
from factories import make_settings
from services.hub import hub

DEMO = Path(__file__).parents[2] / "src" / "audio_text" / "data" / "demo_model"


def cache(concurrency: int = 2, sources: dict[str, str] | None = None, **engine: Any) -> Models:
    """A cache of models a, b, c and d, which all are the demo model, or of those named."""
    settings = make_settings({f"engine.{key}": value for key, value in engine.items()})
    sources = sources or dict.fromkeys("abcd", "builtin:demo")
    listed = {name: ModelSettings(source=source) for name, source in sources.items()}
    return Models(settings.engine, listed, concurrency=concurrency)


def patient() -> None:
    """Somebody who waits for as long as it takes."""


def load(loaded: Models, name: str) -> Whisper:
    with loaded.lease(name, patient) as model:
        return model


def test_threads_that_ask_at_once_share_one_model() -> None:
    loaded = cache()
    together = threading.Barrier(8)

    def ask() -> Whisper:
        together.wait(10)
        return load(loaded, "a")

    with ThreadPoolExecutor(8) as threads:
        asked = [threads.submit(ask) for _ in range(8)]
    assert len({id(future.result()) for future in asked}) == 1


def test_a_model_stays_in_memory_between_jobs() -> None:
    loaded = cache()
    assert load(loaded, "a") is load(loaded, "a")


def test_the_least_recently_used_model_makes_room() -> None:
    loaded = cache(max_models=2)
    a, b = (weakref.ref(load(loaded, name)) for name in "ab")
    load(loaded, "a")
    load(loaded, "c")
    assert a() is not None
    assert b() is None


def test_a_model_in_use_is_not_unloaded() -> None:
    loaded = cache(max_models=2)
    with loaded.lease("a", patient) as a:
        load(loaded, "b")
        load(loaded, "c")
        with loaded.lease("a", patient) as again:
            assert again is a


def test_when_every_place_is_in_use_the_next_model_waits_for_one() -> None:
    loaded = cache(max_models=1)
    looked = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        with loaded.lease("a", patient):
            waiting = threads.submit(lease_and_tell, loaded, "b", looked.set)
            assert looked.wait(10)
            assert not waiting.done()
        assert waiting.result(10) == "b"


def lease_and_tell(loaded: Models, name: str, check: Callable[[], None]) -> str:
    with loaded.lease(name, check):
        return name


def test_somebody_who_is_not_wanted_any_more_stops_waiting() -> None:
    loaded = cache(max_models=1)

    def unwanted() -> None:
        raise CancelledError

    with loaded.lease("a", patient), pytest.raises(CancelledError):
        lease_and_tell(loaded, "b", unwanted)
    assert load(loaded, "b")


def test_a_model_that_failed_to_load_takes_no_place_and_may_be_tried_again(tmp_path: Path) -> None:
    loaded = cache(sources={"late": str(tmp_path / "late"), "a": "builtin:demo"}, max_models=1)
    for _ in range(2):
        with pytest.raises(ModelUnavailableError):
            load(loaded, "late")
    assert load(loaded, "a")
    shutil.copytree(DEMO, tmp_path / "late")
    assert load(loaded, "late")


@pytest.mark.parametrize("concurrency", [1, 2, 64])
def test_processors_are_divided_among_the_jobs(concurrency: int) -> None:
    cores = available_cores()
    with capture_logs() as logs:
        load(cache(concurrency), "a")
    assert logs[-1]["cpu_threads"] == max(1, cores // concurrency)
    assert logs[-1]["num_workers"] == min(cores, concurrency)


def test_the_number_of_threads_may_be_said() -> None:
    with capture_logs() as logs:
        load(cache(2, cpu_threads=3), "a")
    assert logs[-1]["cpu_threads"] == 3


def test_a_containers_quota_counts_as_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quota = tmp_path / "cpu.max"
    monkeypatch.setattr(models, "CPU_QUOTA_FILE", quota)
    everything = available_cores()
    quota.write_text("max 100000\n")
    assert available_cores() == everything
    quota.write_text("100000 100000\n")
    assert available_cores() == 1
    quota.write_text("20000 100000\n")
    assert available_cores() == 1


def test_a_model_that_is_not_listed_is_never_looked_for(tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path / "model")
    for name in ("tiny", str(tmp_path / "model"), "builtin:demo", "Systran/faster-whisper-tiny", ""):
        with pytest.raises(UnknownModelError, match=r"a, b, c, d"):
            load(cache(), name)


def unavailable(source: str, **engine: Any) -> str:
    """What is said of a model with this source."""
    with pytest.raises(ModelUnavailableError) as caught:
        load(cache(sources={"mine": source}, **engine), "mine")
    assert '"mine"' in caught.value.detail
    return caught.value.detail


def test_a_missing_folder_is_named() -> None:
    assert "/nowhere/model" in unavailable("/nowhere/model")


def test_an_unknown_builtin_is_told_which_there_are() -> None:
    assert "builtin:demo" in unavailable("builtin:large")


@pytest.mark.parametrize("missing", ["model.bin", "tokenizer.json"])
def test_an_incomplete_folder_is_told_what_it_lacks(tmp_path: Path, missing: str) -> None:
    folder = shutil.copytree(DEMO, tmp_path / "model")
    (folder / missing).unlink()
    assert f"lacks {missing}" in unavailable(str(folder))


@pytest.mark.parametrize("spoilt", ["model.bin", "tokenizer.json", "vocabulary.json", "config.json"])
def test_a_damaged_model_is_no_foreign_error(tmp_path: Path, spoilt: str) -> None:
    folder = shutil.copytree(DEMO, tmp_path / "model")
    (folder / spoilt).write_bytes(b"\x06\x00\x00\x00nothing of the kind")
    assert "could not be loaded" in unavailable(str(folder))


def test_a_device_or_compute_type_that_does_not_work_is_named() -> None:
    assert "device cuda and compute type float16" in unavailable("builtin:demo", device="cuda", compute_type="float16")


@pytest.mark.parametrize("source", ["nonesuch", "./model", "~/models/mine", "a/b/c", "-/x", "acme/ti ny", ""])
@pytest.mark.parametrize("offline", [True, False])
def test_a_source_that_is_nothing_is_said_to_be_nothing(tmp_path: Path, source: str, *, offline: bool) -> None:
    said = unavailable(source, offline=offline, cache_folder=str(tmp_path))
    assert "nor an absolute folder" in said


def test_a_cache_that_is_no_folder_is_no_foreign_error(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("not a folder")
    unavailable("acme/tiny", offline=True, cache_folder=str(tmp_path / "cache"))


def test_offline_a_model_that_is_not_here_is_told_how_to_be_brought(tmp_path: Path) -> None:
    said = unavailable("acme/tiny", offline=True, cache_folder=str(tmp_path))
    assert f"hf download acme/tiny --cache-dir {tmp_path}" in said


def test_lack_of_memory_while_loading_may_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*arguments: object, **options: object) -> None:
        raise RuntimeError("CUDA failed with error out of memory")

    monkeypatch.setattr(models, "load_whisper", too_large)
    with pytest.raises(EngineMemoryError):
        load(cache(), "a")


PROGRAM = """
import json, sys
from audio_text.adapters.models import Models
from audio_text.errors import ModelUnavailableError
from audio_text.settings import ModelSettings
from factories import make_settings

source, settings = sys.argv[1], make_settings(json.loads(sys.argv[2]))
models = Models(settings.engine, {"mine": ModelSettings(source=source)}, concurrency=1)
try:
    with models.lease("mine", lambda: None) as model:
        print(json.dumps({"languages": len(model.supported_languages)}))
except ModelUnavailableError as error:
    print(json.dumps({"error": error.detail}))
"""


def in_own_process(source: str, endpoint: str, home: Path, **engine: Any) -> dict[str, Any]:
    """Ask for a model where the hub is at this address: its library reads that once, when it is imported."""
    engine = {"engine.cache_folder": str(home / "cache")} | {f"engine.{key}": value for key, value in engine.items()}
    environment = {
        "HF_ENDPOINT": endpoint,
        "HOME": str(home),
        "PATH": "/bin",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    command = [sys.executable, "-c", PROGRAM, source, json.dumps(engine)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_model_comes_from_the_hub_once_and_then_from_the_cache(tmp_path: Path) -> None:
    with hub("acme/tiny", DEMO) as server:
        assert in_own_process("acme/tiny", server.endpoint, tmp_path)["languages"] > 1
        assert any(path.endswith("/model.bin") for path in server.requests)
        server.requests.clear()
        assert in_own_process("acme/tiny", server.endpoint, tmp_path)["languages"] > 1
        assert not any("acme" in path for path in server.requests)
    assert in_own_process("acme/tiny", server.endpoint, tmp_path, offline=True)["languages"] > 1


def test_a_model_that_the_hub_does_not_have_is_named(tmp_path: Path) -> None:
    with hub("acme/tiny", DEMO) as server:
        said = in_own_process("acme/other", server.endpoint, tmp_path)["error"]
    assert "The hub has no model acme/other" in said


def test_a_hub_that_cannot_be_reached_is_told_with_the_way_around_it(tmp_path: Path) -> None:
    with hub("acme/tiny", DEMO) as server:
        pass
    said = in_own_process("acme/tiny", server.endpoint, tmp_path)["error"]
    assert "could not be downloaded" in said
    assert f"hf download acme/tiny --cache-dir {tmp_path / 'cache'}" in said


def test_offline_the_hub_is_not_asked(tmp_path: Path) -> None:
    with hub("acme/tiny", DEMO) as server:
        said = in_own_process("acme/tiny", server.endpoint, tmp_path, offline=True)["error"]
        assert not any("acme" in path for path in server.requests)
    assert "the engine is offline" in said
