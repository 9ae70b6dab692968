"""A Redis server for the tests: the one named in REDIS_URL, else an embedded one."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from audio_text.local.redis import EmbeddedRedis
from audio_text.settings import RedisSettings
from factories import make_settings
from services.folders import open_folder
from services.server import Server

ADDRESS = "REDIS_URL"


class RedisServer:
    """Where the server is; stop, kill, start and what else is done to it are ours only when it is embedded."""

    def __init__(
        self, settings: RedisSettings, password: str, server: Server | None = None, folder: Path | None = None
    ) -> None:
        self.settings = settings
        self.password = password
        self._server = server
        self._folder = folder

    def stop(self) -> None:
        self._ours().stop()

    def kill(self) -> None:
        self._ours().kill()

    def start(self) -> None:
        self._ours().start()

    def lose_everything(self) -> None:
        """Kill it, take its log of writes away, and start it again."""
        self.kill()
        assert self._folder is not None
        shutil.rmtree(self._folder / "appendonlydir", ignore_errors=True)
        (self._folder / "appendonly.aof").unlink(missing_ok=True)  # where a server before version 7 keeps it
        self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """It takes connections and answers nothing."""
        process = self._ours().process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    def _ours(self) -> Server:
        if self._server is None:
            pytest.skip(f"the server of {ADDRESS} is not ours to stop")
        return self._server


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    if address := os.environ.get(ADDRESS):  # noqa: TID251 -- where CI runs the server is the environment's to say
        url = urlsplit(address)
        yield RedisServer(_settings(url.hostname or "127.0.0.1", url.port or 6379), unquote(url.password or ""))
        return
    with open_folder() as folder:
        embedded = EmbeddedRedis(folder / "redis", password='a password with "quotes"')
        embedded.prepare()
        server = Server(embedded, folder / "log")
        server.start()
        try:
            yield RedisServer(_settings(embedded.host, embedded.port), embedded.password, server, embedded.folder)
        finally:
            server.stop()


def _settings(host: str, port: int) -> RedisSettings:
    return make_settings({"redis.host": host, "redis.port": port}).redis
