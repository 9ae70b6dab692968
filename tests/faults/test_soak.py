"""A short soak: what `just bench faults` does at length."""

import pytest

from services.folders import open_folder
from soak.run import SHIPPED, soak
from soak.system import running_system
from soak.verdict import table

SEED = 7


@pytest.mark.s3
@pytest.mark.timeout(300)  # half a minute where nothing else runs
async def test_every_job_ends_once_and_truly_while_everything_dies() -> None:
    with open_folder() as folder:
        async with running_system(folder, lease_seconds=3.0) as system:
            verdict, injected, seconds = await soak(
                system, SHIPPED, jobs=12, seed=SEED, pause=(0.1, 1.0), most_faults=8
            )
    assert injected
    assert not verdict.broken, table(verdict, injected, seed=SEED, seconds=seconds)
