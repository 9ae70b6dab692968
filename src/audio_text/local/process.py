"""Programs that we start: how they are run, as whom, and where they listen."""

import errno
import os
import pwd
import secrets
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from audio_text.errors import ConfigurationError
from audio_text.local import tether

if TYPE_CHECKING:
    from _typeshed import StrPath

LOOPBACK = "127.0.0.1"

FIRST_PORT, LAST_PORT = 20_000, 32_000
"""Below the kernel's ephemeral range: there, a client that tries a port nobody listens on can connect to itself."""

PORT_ATTEMPTS = 100


class User(msgspec.Struct, frozen=True):
    """Whom a program runs as."""

    uid: int
    gid: int


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """A program (its path) with its arguments, environment (None: ours) and user (None: us).

    The stop signal asks it to end in good order; the death signal is what it gets when this process dies.
    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str] | None = None
    user: User | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    death_signal: signal.Signals = signal.SIGKILL

    def tethered(self) -> list[str]:
        """Give the argument vector that runs it as its user and ends it when this process ends, however it ends."""
        identity = f"{self.user.uid}:{self.user.gid}" if self.user else "-"
        script = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), str(int(self.death_signal)), identity]
        return script + list(self.arguments)

    def run(self, *, timeout_seconds: float, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run it to its end with `text` as its input; blocks. Raises subprocess.TimeoutExpired."""
        return subprocess.run(  # noqa: S603 -- our own programs
            self.tethered(),
            input=text,
            env=self.environment,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_seconds,
        )


def unprivileged_user() -> User | None:
    """Give the user for programs that refuse to run as root; None when we are not root."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        message = "PostgreSQL does not run as root, and this system has no user 'nobody' to run it as."
        raise ConfigurationError(message) from None
    return User(entry.pw_uid, entry.pw_gid)


def closed_folder(path: Path, user: User) -> Path | None:
    """Give the first folder on the way to `path` (itself included) that `user` may not enter; None: all are open."""
    for folder in [*reversed(path.resolve().parents), path.resolve()]:
        if folder.is_dir() and not _may_enter(folder, user):
            return folder
    return None


def _may_enter(folder: Path, user: User) -> bool:
    facts = folder.stat()
    if facts.st_uid == user.uid:
        return bool(facts.st_mode & stat.S_IXUSR)
    if facts.st_gid == user.gid:
        return bool(facts.st_mode & stat.S_IXGRP)
    return bool(facts.st_mode & stat.S_IXOTH)


def write_private(path: "StrPath", text: str, *, owner: User | None = None) -> None:
    """Write a file that only its owner (None: we) may read, whole or not at all."""
    path = Path(path)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        if owner is not None:
            os.fchown(descriptor, owner.uid, owner.gid)
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)


def is_port_free(port: int, host: str = LOOPBACK) -> bool:
    """Whether a server could listen there now. Raises OSError for an address that is not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
    return True


def free_port() -> int:
    """Choose a loopback port that nobody listens on."""
    for _ in range(PORT_ATTEMPTS):
        port = FIRST_PORT + secrets.randbelow(LAST_PORT - FIRST_PORT)
        if is_port_free(port):
            return port
    raise ConfigurationError(f"No free port between {FIRST_PORT} and {LAST_PORT} on {LOOPBACK}.")
