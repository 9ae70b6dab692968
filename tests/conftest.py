"""Fixtures that every kind of test may ask for."""

from collections.abc import Iterator

import pytest

import services.postgres
import services.redis
from services.postgres import PostgresServer
from services.redis import RedisServer

pytest_plugins = ["services.database"]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with services.postgres.postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with services.redis.redis_server() as server:
        yield server
