"""The models in this process: each loaded once, shared by all threads, the least recently used one unloaded.

Who runs out of memory asks for relief, one step at a time: models that nobody uses are unloaded, then this model goes
on as INT8 until the process ends. (Windows are decoded one by one for each job: there is no batch to make smaller.)
"""

import os
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import structlog

from audio_text.adapters.model_sources import model_folder
from audio_text.adapters.whisper import Whisper, first_line, is_out_of_memory, load_whisper
from audio_text.errors import EngineMemoryError, ModelUnavailableError, UnknownModelError
from audio_text.settings import EngineSettings, ModelSettings

log = structlog.get_logger(__name__)

WAIT_SECONDS = 1.0
"""How often somebody who waits for a model looks whether he still wants it."""

SMALLEST_COMPUTE_TYPE = "int8"
"""A quarter of float32, half of float16."""

CPU_QUOTA_FILE = Path("/sys/fs/cgroup/cpu.max")
"""A container's share of the processors (control groups, version 2): microseconds per period."""


class Models:
    """The cache of models. It blocks: for worker threads only."""

    def __init__(self, settings: EngineSettings, models: Mapping[str, ModelSettings], *, concurrency: int) -> None:
        self._settings = settings
        self._models = models
        self._relieved: set[str] = set()
        cores = available_cores()
        self._cpu_threads = settings.cpu_threads or max(1, cores // concurrency)
        # more windows at once than processors would cost memory and win nothing
        self._num_workers = min(concurrency, cores)
        # in the order of use, the least recently used first
        self._places: dict[str, _Place] = {}
        self._changed = threading.Condition()

    def require(self, name: str) -> None:
        """Raise UnknownModelError unless settings list the model."""
        if name not in self._models:
            listed = ", ".join(self._models)
            raise UnknownModelError(f'The model "{name}" is not listed in the settings; these are: {listed}.')

    @contextmanager
    def lease(self, name: str, check: Callable[[], None]) -> Generator[Whisper]:
        """The model, in memory for as long as the context is open.

        Waits while another thread loads it, and while all places are taken by models in use; `check` is called
        every second of that and may raise. Raises UnknownModelError, ModelUnavailableError, EngineMemoryError.
        """
        self.require(name)
        place = self._take_place(name, check)
        try:
            yield self._loaded(name, place, check)
        finally:
            self._leave_place(name, place)

    def relieve(self, name: str, *, failed: Whisper | None) -> bool:
        """Make memory free for the next lease of this model, whose use (or, if None, loading) lacked it.

        False when there is nothing left to do: more memory or a smaller model would have to come.
        """
        with self._changed:
            place = self._places.get(name)
            if failed is not None and (place is None or place.model is not failed):
                return True  # another thread has replaced it already
            if self._unload_idle(len(self._places), besides=name):
                return True
            if name in self._relieved or self._settings.compute_type.startswith(SMALLEST_COMPUTE_TYPE):
                return False
            self._relieved.add(name)
            if failed is not None:
                del self._places[name]
        log.warning("model_relieved", model=name, compute_type=SMALLEST_COMPUTE_TYPE)
        return True

    def _take_place(self, name: str, check: Callable[[], None]) -> "_Place":
        with self._changed:
            while name not in self._places and not self._make_room():
                check()
                self._changed.wait(WAIT_SECONDS)
            place = self._places.pop(name, None) or _Place()
            self._places[name] = place
            place.users += 1
            return place

    def _make_room(self) -> bool:
        """Unload idle models until one more fits; False when too many are in use."""
        self._unload_idle(len(self._places) + 1 - self._settings.max_models)
        return len(self._places) < self._settings.max_models

    def _unload_idle(self, most: int, *, besides: str | None = None) -> int:
        idle = [name for name, place in self._places.items() if place.users == 0 and name != besides]
        unloaded = idle[: max(0, most)]
        for name in unloaded:
            del self._places[name]
            log.info("model_unloaded", model=name)
        return len(unloaded)

    def _leave_place(self, name: str, place: "_Place") -> None:
        with self._changed:
            place.users -= 1
            is_current = self._places.get(name) is place
            if is_current and place.users == 0 and place.model is None:
                del self._places[name]
            self._changed.notify_all()

    def _loaded(self, name: str, place: "_Place", check: Callable[[], None]) -> Whisper:
        while not place.loading.acquire(timeout=WAIT_SECONDS):
            check()
        try:
            if place.model is None:
                place.model = self._load(name)
            return place.model
        finally:
            place.loading.release()

    def _load(self, name: str) -> Whisper:
        settings = self._settings
        compute_type = SMALLEST_COMPUTE_TYPE if name in self._relieved else settings.compute_type
        folder = model_folder(name, self._models[name].source, settings)
        try:
            model = load_whisper(
                folder,
                device=settings.device,
                compute_type=compute_type,
                cpu_threads=self._cpu_threads,
                num_workers=self._num_workers,
            )
        except Exception as error:  # CTranslate2 and tokenizers raise their own, among them bare Exception
            if is_out_of_memory(error):
                raise EngineMemoryError from error
            raise ModelUnavailableError(
                f'The model "{name}" could not be loaded with device {settings.device} and compute type '
                f"{compute_type}: {first_line(error)}."
            ) from error
        log.info(
            "model_loaded",
            model=name,
            device=model.model.device,
            compute_type=model.model.compute_type,
            cpu_threads=self._cpu_threads,
            num_workers=self._num_workers,
        )
        return model


class _Place:
    """Where one model is, or is to be."""

    def __init__(self) -> None:
        self.model: Whisper | None = None
        self.loading = threading.Lock()
        self.users = 0


def available_cores() -> int:
    """Processors that this process may use, a container's quota considered."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CPU_QUOTA_FILE.read_text().split()
        return max(1, min(cores, round(int(quota) / int(period))))
    except (OSError, ValueError):
        # no such control group, or "max": no quota
        return cores
