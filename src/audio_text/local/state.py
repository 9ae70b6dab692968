"""The folder that holds everything of one local stack: held by one instance at a time, with the secrets it made up."""

import fcntl
import os
import secrets
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from audio_text.errors import ConfigurationError
from audio_text.local.process import write_private

ROOT_FOLDER = Path("/var/lib/audio-text")
"""Root's home is closed to others, and PostgreSQL does not run as root."""


class StackSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """Made up when the folder is new, and kept: the database remembers its password, upload links their signature."""

    database_password: str
    redis_password: str
    disk_signing_key: str


class State(msgspec.Struct, frozen=True, kw_only=True):
    """The folder, ours alone while it is open, and its secrets."""

    folder: Path
    secrets: StackSecrets


def default_folder(environ: Mapping[str, str]) -> Path:
    """Where the data go when nobody says: one place per user, whatever the working folder is."""
    if os.geteuid() == 0:
        return ROOT_FOLDER
    data_home = environ.get("XDG_DATA_HOME", "")
    base = Path(data_home) if data_home.startswith("/") else Path.home() / ".local" / "share"
    return base / "audio-text"


@contextmanager
def open_state(folder: Path) -> Generator[State, None, None]:
    """Take the folder, made when missing. Raises ConfigurationError when another instance has it or it is not ours."""
    folder = folder.absolute()
    try:
        _make_folder(folder)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigurationError(
            f"The data folder {folder} cannot be used ({error.strerror}): choose another with --data."
        ) from error
    with os.fdopen(lock, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigurationError(
                f"Another audio-text runs on {folder} (process {file.read().strip() or 'unknown'}): "
                "stop it, or choose another folder with --data."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield State(folder=folder, secrets=_secrets(folder))


def _make_folder(folder: Path) -> None:
    """Make the folder and its parents, for us alone and the servers."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    open_to_servers(folder)


def open_to_servers(folder: Path) -> None:
    """Close a folder of ours to others; as root, let PostgreSQL's user pass through it."""
    folder.chmod(0o711 if os.geteuid() == 0 else 0o700)


def _secrets(folder: Path) -> StackSecrets:
    file = folder / "secrets.json"
    if file.exists():
        try:
            return msgspec.json.decode(file.read_bytes(), type=StackSecrets)
        except (OSError, msgspec.MsgspecError) as error:
            raise ConfigurationError(f"{file} cannot be read ({error}): bring it back from a copy.") from error
    if (folder / "postgres" / "data").exists():
        raise ConfigurationError(
            f"{file} is missing, and with it the password of the database beside it: bring the file back, "
            "or choose another folder with --data."
        )
    made_up = StackSecrets(
        database_password=secrets.token_hex(24),
        redis_password=secrets.token_hex(24),
        disk_signing_key=secrets.token_hex(32),
    )
    write_private(file, msgspec.json.format(msgspec.json.encode(made_up)).decode() + "\n")
    return made_up
