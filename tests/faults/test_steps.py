"""Each fault alone at each step of a job's way: the job ends once, with the transcript that it has without faults."""

from collections.abc import AsyncIterator, Iterator

import pytest

from faults.matrix import Cell, disk_cells, s3_cells
from faults.stage import Plays, Stage
from services.faulty import nursery
from services.postgres import PostgresServer
from services.redis import RedisServer
from services.s3 import S3Server


@pytest.fixture(scope="module")
def stage(
    postgres_server: PostgresServer,
    redis_server: RedisServer,
    migrated_database: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("faults")
    with nursery(tmp_path_factory.mktemp("processes")) as opened:
        yield Stage(opened, postgres_server, redis_server, migrated_database, folder)


@pytest.fixture(scope="module")
async def plays(request: pytest.FixtureRequest, stage: Stage) -> AsyncIterator[Plays]:
    plays = Plays(stage, wanted(request, "disk_cell"))
    yield plays
    await plays.close()


@pytest.fixture(scope="module")
async def s3_plays(request: pytest.FixtureRequest, stage: Stage, s3_server: S3Server) -> AsyncIterator[Plays]:
    plays = Plays(stage._replace(s3=s3_server), wanted(request, "s3_cell"))
    yield plays
    await plays.close()


def wanted(request: pytest.FixtureRequest, parameter: str) -> list[Cell]:
    """The cells that this run will ask for."""
    items = [
        item for item in request.session.items if isinstance(item, pytest.Function) and item.module is request.module
    ]
    found = [item.callspec.params.get(parameter) for item in items if hasattr(item, "callspec")]
    return [cell for cell in found if cell]


@pytest.mark.parametrize("disk_cell", disk_cells(), ids=str)
async def test_a_job_ends_once_whatever_happens_on_its_way(plays: Plays, disk_cell: Cell) -> None:
    await plays.result(disk_cell)


@pytest.mark.s3
@pytest.mark.parametrize("s3_cell", s3_cells(), ids=str)
async def test_a_recording_in_a_bucket_is_fetched_and_removed_whatever_happens(s3_plays: Plays, s3_cell: Cell) -> None:
    await s3_plays.result(s3_cell)
