"""Where models come from: the package itself, a folder, or the hub. What settings do not list never gets here."""

from collections.abc import Generator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

import structlog
from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError

from audio_text.adapters.whisper import download_whisper, first_line
from audio_text.errors import ModelUnavailableError
from audio_text.settings import EngineSettings

log = structlog.get_logger(__name__)

BUILTIN = "builtin:"
BUILTIN_MODELS = {"demo": "demo_model"}
"""Models that lie in the package's data, by the name after `builtin:`."""

MODEL_FILES = ("model.bin", "config.json", "tokenizer.json")
"""Without its tokenizer a model would fetch somebody else's from the hub."""


def model_folder(name: str, source: str, settings: EngineSettings) -> Path:
    """The local folder of the model `name`, downloaded when it must be and may be.

    Raises ModelUnavailableError, which says how to get the model.
    """
    if source.startswith(BUILTIN):
        folder = _builtin_folder(name, source.removeprefix(BUILTIN))
    elif Path(source).is_absolute():
        folder = _own_folder(name, source)
    else:
        folder = _hub_folder(name, source, settings)
    missing = [file for file in MODEL_FILES if not (folder / file).is_file()]
    if missing:
        raise ModelUnavailableError(
            f'The folder {folder} of the model "{name}" lacks {" and ".join(missing)}: convert the model again, with '
            "ct2-transformers-converter --copy_files tokenizer.json preprocessor_config.json, or download it again."
        )
    return folder


def _builtin_folder(name: str, builtin: str) -> Path:
    if builtin not in BUILTIN_MODELS:
        known = ", ".join(BUILTIN + known for known in BUILTIN_MODELS)
        raise ModelUnavailableError(f'The source of the model "{name}" is {BUILTIN}{builtin}; there is only {known}.')
    return Path(str(files("audio_text") / "data" / BUILTIN_MODELS[builtin]))


def _own_folder(name: str, source: str) -> Path:
    folder = Path(source)
    if not folder.is_dir():
        raise ModelUnavailableError(
            f'The model "{name}" should lie in the folder {source}, which does not exist on this worker: '
            "put the converted model there, or mount it."
        )
    return folder


def _hub_folder(name: str, source: str, settings: EngineSettings) -> Path:
    command = f"hf download {source}"
    if settings.cache_folder:
        command += f" --cache-dir {settings.cache_folder}"
    with _hub_errors(name, source, command):
        try:
            # first without the network: a model that is here needs nobody's permission and no round trip
            return download_whisper(source, cache_folder=settings.cache_folder, is_offline=True)
        except LocalEntryNotFoundError as error:
            if settings.offline:
                raise ModelUnavailableError(
                    f'The model "{name}" is not in this worker\'s cache and the engine is offline: run "{command}" on '
                    "a machine with a network and bring the cache folder here, or set engine.offline to false."
                ) from error
        log.info("model_downloading", model=name, source=source)
        return download_whisper(source, cache_folder=settings.cache_folder, is_offline=False)


@contextmanager
def _hub_errors(name: str, source: str, command: str) -> Generator[None]:
    """Say what the hub's library means, and what to do about it."""
    try:
        yield
    except ModelUnavailableError:
        raise
    except RepositoryNotFoundError as error:
        raise ModelUnavailableError(
            f'The hub has no model {source}, which settings name as the source of "{name}", '
            "or it wants a token in the variable HF_TOKEN."
        ) from error
    except ValueError as error:
        raise ModelUnavailableError(
            f'The source of the model "{name}", "{source}", is neither {BUILTIN}demo nor an absolute folder nor '
            "a model of the hub, which is spelt organisation/name."
        ) from error
    except Exception as error:  # the hub's library lets the errors of its transport and of the disk through
        raise ModelUnavailableError(
            f'The model "{name}" could not be downloaded from the hub ({first_line(error)}): check the network '
            f'and the disk, or run "{command}" on another machine and bring the cache folder here.'
        ) from error
