"""A Redis server for the tests: the one named in REDIS_URL, else an embedded one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

import pytest

from audio_text.local.redis import EmbeddedRedis
from audio_text.settings import RedisSettings
from factories import make_settings
from services.folders import open_folder
from services.server import Server

ADDRESS = "REDIS_URL"


class RedisServer:
    """Where the server is; stop, kill and start are ours only when it is embedded."""

    def __init__(self, settings: RedisSettings, password: str, server: Server | None = None) -> None:
        self.settings = settings
        self.password = password
        self._server = server

    def stop(self) -> None:
        self._ours().stop()

    def kill(self) -> None:
        self._ours().kill()

    def start(self) -> None:
        self._ours().start()

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
            yield RedisServer(_settings(embedded.host, embedded.port), embedded.password, server)
        finally:
            server.stop()


def _settings(host: str, port: int) -> RedisSettings:
    return make_settings({"redis.host": host, "redis.port": port}).redis
