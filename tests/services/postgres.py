"""A PostgreSQL server for the tests: the one named in AUDIO_TEXT_TEST_POSTGRES, else an embedded one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

from audio_text.local.postgres import SUPERUSER, EmbeddedPostgres
from audio_text.settings import DatabaseSettings
from factories import make_settings
from services.folders import open_folder
from services.server import Server

ADDRESS = "AUDIO_TEXT_TEST_POSTGRES"
"""postgresql://USER:PASSWORD@HOST:PORT/NAME, the user a superuser."""

NOT_DURABLE = {"fsync": "off", "max_connections": "200"}
"""A test's data need not outlive the machine."""


class PostgresServer:
    """Where the server is, as a superuser sees it; `server` is None when it is not ours to stop."""

    def __init__(self, settings: DatabaseSettings, password: str, server: Server | None = None) -> None:
        self.settings = settings
        self.password = password
        self.server = server


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    if address := os.environ.get(ADDRESS):  # noqa: TID251 -- where CI runs the server is the environment's to say
        yield _given(address)
        return
    with open_folder() as folder:
        embedded = EmbeddedPostgres(folder / "postgres", password="a password with 'quotes'", configuration=NOT_DURABLE)
        embedded.prepare()
        server = Server(embedded, folder / "log")
        server.start()
        try:
            settings = _settings(host=embedded.host, port=embedded.port, user=SUPERUSER, name=embedded.database)
            yield PostgresServer(settings, embedded.password, server)
        finally:
            server.stop()


def _given(address: str) -> PostgresServer:
    url = urlsplit(address)
    settings = _settings(
        host=url.hostname or "127.0.0.1",
        port=url.port or 5432,
        user=unquote(url.username or SUPERUSER),
        name=unquote(url.path.lstrip("/")) or SUPERUSER,
    )
    return PostgresServer(settings, unquote(url.password or ""))


def _settings(**keys: object) -> DatabaseSettings:
    return make_settings({f"database.{key}": value for key, value in keys.items()}).database
