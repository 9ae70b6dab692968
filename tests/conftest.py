"""Fixtures that every kind of test may ask for."""

from collections.abc import Iterator

import pytest

import services.postgres
import services.redis
import services.s3
from services.postgres import PostgresServer
from services.redis import RedisServer
from services.s3 import S3Server

pytest_plugins = ["services.database", "services.api", "services.live"]  # in this order: each imports the one before


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    with services.postgres.postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    with services.redis.redis_server() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[S3Server]:
    with services.s3.s3_server() as server:
        yield server
