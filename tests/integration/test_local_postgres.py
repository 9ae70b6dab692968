import asyncio
import os
import resource
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from io import BytesIO
from pathlib import Path

import asyncpg
import pytest

from audio_text.errors import ConfigurationError
from audio_text.local.child import Child, Output
from audio_text.local.postgres import EmbeddedPostgres, find_binaries
from audio_text.local.supervisor import Supervisor, open_supervisor
from services.folders import open_folder
from services.waiting import until

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as somebody else")


@pytest.fixture
def folder() -> Iterator[Path]:
    with open_folder() as folder:
        yield folder


@asynccontextmanager
async def running(postgres: EmbeddedPostgres) -> AsyncIterator[Supervisor]:
    await asyncio.to_thread(postgres.prepare)
    child = Child(name="postgres", command=postgres.command(), is_ready=partial(asyncio.to_thread, postgres.is_ready))
    async with open_supervisor(Output(BytesIO())) as supervisor:
        await supervisor.start(child)
        yield supervisor


async def connect(postgres: EmbeddedPostgres) -> asyncpg.Connection:
    return await asyncpg.connect(
        host=postgres.host,
        port=postgres.port,
        user=postgres.role,
        database=postgres.database,
        password=postgres.password,
        ssl=False,
    )


async def query(postgres: EmbeddedPostgres, sql: str) -> object:
    connection = await connect(postgres)
    try:
        return await connection.fetchval(sql)
    finally:
        await connection.close()


def postmaster(postgres: EmbeddedPostgres) -> int | None:
    lines = lock_lines(postgres)
    return int(lines[0]) if lines else None


def lock_lines(postgres: EmbeddedPostgres) -> list[str]:
    file = postgres.data / "postmaster.pid"
    return file.read_text().splitlines() if file.exists() else []


async def test_a_killed_database_comes_back_with_every_row(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder / "postgres", password="secret")
    async with running(postgres):
        await query(postgres, "CREATE TABLE kept (n int)")
        await query(postgres, "INSERT INTO kept SELECT generate_series(1, 1000)")
        killed = postmaster(postgres)
        assert killed
        os.kill(killed, signal.SIGKILL)
        await until(lambda: postmaster(postgres) not in {killed, None})
        await until(postgres.is_ready)
        assert await query(postgres, "SELECT count(*) FROM kept") == 1000


async def test_data_are_kept_between_runs_on_another_port_too(folder: Path) -> None:
    first = EmbeddedPostgres(folder / "postgres", password="secret")
    async with running(first):
        await query(first, "CREATE TABLE kept AS SELECT 7 AS n")
    second = EmbeddedPostgres(folder / "postgres", password="secret")
    async with running(second):
        assert await query(second, "SELECT n FROM kept") == 7


async def test_the_folder_may_have_spaces_and_a_path_longer_than_a_sockets(folder: Path) -> None:
    long = folder / "a folder with 'quotes' and spaces" / ("long" * 40)
    long.mkdir(parents=True)
    postgres = EmbeddedPostgres(long / "postgres", password="a 'quoted' secret")
    async with running(postgres):
        assert await query(postgres, "SELECT 1") == 1


async def test_nobody_gets_in_without_the_password(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder / "postgres", password="secret")
    async with running(postgres):
        postgres.password = "guess"
        with pytest.raises(asyncpg.InvalidPasswordError):
            await connect(postgres)


async def test_the_service_is_no_superuser_and_no_socket_is_left_anywhere(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder / "postgres", password="secret")
    async with running(postgres):
        assert await query(postgres, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False
        socket_folder = lock_lines(postgres)[4]
    assert socket_folder == ""
    assert lock_lines(postgres) == []


def test_data_of_another_major_version_are_refused(folder: Path) -> None:
    (folder / "postgres" / "data").mkdir(parents=True)
    (folder / "postgres" / "version").write_text("16\n")
    with pytest.raises(ConfigurationError, match=r"PostgreSQL 16's, and this is PostgreSQL 18: .* --data"):
        EmbeddedPostgres(folder / "postgres", password="secret").prepare()


def test_what_an_interrupted_first_start_left_is_made_anew(folder: Path) -> None:
    draft = folder / "postgres" / "data.partial"
    draft.mkdir(parents=True)
    (draft / "half").write_text("a database")
    postgres = EmbeddedPostgres(folder / "postgres", password="secret")
    postgres.prepare()
    assert (postgres.data / "PG_VERSION").exists()
    assert not draft.exists()


def test_a_disk_that_is_full_is_told_in_postgresqls_own_words_and_the_next_start_begins_anew(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder / "postgres", password="secret")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(ConfigurationError, match=r"initdb failed: .*File too large"):
            postgres.prepare()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    postgres.prepare()
    assert postgres.data.is_dir()


def test_no_password_stays_in_a_file(folder: Path) -> None:
    EmbeddedPostgres(folder / "postgres", password="very-secret").prepare()
    for file in (folder / "postgres").rglob("*"):
        assert not file.is_file() or b"very-secret" not in file.read_bytes()


def test_without_binaries_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [])
    with pytest.raises(ConfigurationError, match=r"install audio-text\[embedded\]"):
        find_binaries()


@as_root
def test_a_folder_that_the_servers_user_cannot_enter_is_refused_by_name(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(ConfigurationError, match=r"cannot enter .*: choose another folder with --data"):
        EmbeddedPostgres(closed / "postgres", password="secret").prepare()


@as_root
def test_a_strict_umask_does_not_lock_the_servers_user_out(folder: Path) -> None:
    before = os.umask(0o077)
    try:
        postgres = EmbeddedPostgres(folder / "postgres", password="secret")
        postgres.prepare()
    finally:
        os.umask(before)
    assert (postgres.data / "PG_VERSION").exists()


@as_root
async def test_programs_in_a_closed_home_are_copied_to_where_their_user_can_run_them(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = find_binaries()
    package, site = installation.parent, installation.parent.parent
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    shutil.copytree(installation, home / package.name / installation.name)
    (home / package.name / "__init__.py").touch()
    shutil.copytree(site / f"{package.name}.libs", home / f"{package.name}.libs")
    monkeypatch.syspath_prepend(home)
    postgres = EmbeddedPostgres(folder / "postgres", password="secret")
    async with running(postgres):
        assert await query(postgres, "SELECT 1") == 1
    assert postgres.command().arguments[0].startswith(str(folder))
