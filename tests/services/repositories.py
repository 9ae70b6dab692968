"""The two that a contract of `JobRepository` is held to: PostgreSQL, and the fake that stands in for it elsewhere."""

from collections.abc import AsyncGenerator

import pytest

from audio_text.adapters.database import open_database
from audio_text.adapters.repository import PiccoloJobRepository
from audio_text.ports import JobRepository
from fakes.repository import FakeJobRepository
from services.database import Database


class OnFake:
    @pytest.fixture
    def jobs(self) -> JobRepository:
        return FakeJobRepository()


class OnPostgres:
    @pytest.fixture
    async def jobs(self, database: Database) -> AsyncGenerator[JobRepository]:
        async with open_database(database.settings, database.password, application_name="test") as engine:
            yield PiccoloJobRepository(engine)
