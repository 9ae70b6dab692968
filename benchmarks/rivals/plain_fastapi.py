"""Run as a script: submit and status in the plainest FastAPI and SQLAlchemy, on the service's own table.

It answers the same JSON. A submit is checked by pydantic, the file has to be there, the row is inserted and its id is
pushed onto a list in Redis. With `probe` PyAV opens the file in a thread, too. There are no options, leases or limits.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import uuid4

import av
import msgspec
import uvicorn
from fastapi import Depends, FastAPI, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field
from redis.asyncio import Redis
from sqlalchemy import BigInteger, DateTime, Double, SmallInteger, Text
from sqlalchemy.dialects.postgresql import ENUM, JSONB
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from audio_text.settings import Settings

Time = Annotated[datetime, mapped_column(DateTime(timezone=True))]
Number = Annotated[float, mapped_column(Double)]
STATES = ("pending", "processing", "completed", "failed", "cancelled")


class Base(DeclarativeBase):
    type_annotation_map = {str: Text, dict[str, Any]: JSONB}  # noqa: RUF012 -- SQLAlchemy's way


class Job(Base):
    __tablename__ = "transcription_job"
    id: Mapped[str] = mapped_column(primary_key=True)
    filename: Mapped[str]
    url: Mapped[str]
    object_key: Mapped[str]
    file_size_bytes: Mapped[int] = mapped_column(BigInteger)
    content_type: Mapped[str | None]
    status: Mapped[str] = mapped_column(ENUM(*STATES, name="job_status", create_type=False))
    whisper_model: Mapped[str]
    tier: Mapped[str]
    options: Mapped[dict[str, Any]]
    creation_date: Mapped[Time]
    update_date: Mapped[Time]
    description: Mapped[str | None]
    request_id: Mapped[str | None]
    metadata_: Mapped[dict[str, Any]] = mapped_column("metadata", default=dict)
    rank: Mapped[int] = mapped_column("priority", SmallInteger, default=0)
    deadline: Mapped[Time | None]
    attempt: Mapped[int] = mapped_column(default=0)
    claims: Mapped[int] = mapped_column(default=0)
    position: Mapped[Number] = mapped_column(default=0.0)
    recomputed_seconds: Mapped[Number] = mapped_column(default=0.0)
    device: Mapped[str | None]
    compute_type: Mapped[str | None]
    is_dead_letter: Mapped[bool] = mapped_column(default=False)
    is_unannounced: Mapped[bool] = mapped_column(default=False)
    expires_in: Mapped[int | None] = mapped_column("expires_in_seconds")
    expires_at: Mapped[Time | None]
    started_at: Mapped[Time | None]
    finished_at: Mapped[Time | None]
    progress: Mapped[Number] = mapped_column(default=0.0)
    duration: Mapped[Number | None]
    duration_after_vad: Mapped[Number | None]
    processing_time_seconds: Mapped[Number | None]
    real_time_factor: Mapped[Number | None]
    language: Mapped[str | None]
    language_probability: Mapped[Number | None]
    result_text: Mapped[str | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]

    @property
    def priority(self) -> str:
        return {-1: "low", 0: "normal", 1: "high"}[self.rank]


class Submission(BaseModel):
    model_config = ConfigDict(extra="forbid")
    filename: str = Field(min_length=1, max_length=255)
    url: str = Field(min_length=1, max_length=8_192)
    model: str | None = None
    description: str | None = Field(default=None, max_length=4_000)
    metadata: dict[str, str] = {}


class View(BaseModel):
    model_config = ConfigDict(from_attributes=True)
    id: str
    filename: str
    status: str
    creation_date: datetime
    update_date: datetime
    result_text: str | None
    processing_time_seconds: float | None
    error_message: str | None
    language: str | None
    language_probability: float | None
    whisper_model: str
    tier: str
    priority: str
    options: dict[str, Any]
    description: str | None
    metadata: dict[str, str] = Field(validation_alias="metadata_")
    deadline: datetime | None
    progress: float
    duration: float | None
    duration_after_vad: float | None
    real_time_factor: float | None
    attempt: int
    started_at: datetime | None
    finished_at: datetime | None
    expires_in: int | None
    expires_at: datetime | None
    error_code: str | None
    is_dead_letter: bool
    recomputed_seconds: float
    device: str | None
    compute_type: str | None
    request_id: str | None
    queue_position: int | None = None
    eta_seconds: float | None = None


def seconds_of(path: Path) -> float:
    with av.open(str(path)) as container:
        return (container.duration or 0) / 1_000_000


def make_app(settings: Settings, *, probes: bool) -> FastAPI:
    options = msgspec.to_builtins(settings.options)
    folder = Path(settings.disk.folder)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        d, password = settings.database, settings.secrets.database_password
        engine = create_async_engine(f"postgresql+asyncpg://{d.user}:{password}@{d.host}:{d.port}/{d.name}")
        app.state.sessions = async_sessionmaker(engine, expire_on_commit=False)
        app.state.queue = Redis(
            host=settings.redis.host, port=settings.redis.port, password=settings.secrets.redis_password or None
        )
        yield
        await app.state.queue.aclose()
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)

    async def session(request: Request) -> AsyncIterator[AsyncSession]:
        async with request.app.state.sessions() as session:
            yield session

    Session = Annotated[AsyncSession, Depends(session)]  # noqa: N806 -- a type

    @app.post("/api/v1/job/transcribe", status_code=201, response_model=View)
    async def transcribe(body: Submission, request: Request, session: Session) -> Job:
        key = body.url.partition("?")[0].rpartition("/upload/")[2]
        path = folder / key
        if not path.is_file():
            raise HTTPException(400, "There is no such upload.")
        duration = await asyncio.to_thread(seconds_of, path) if probes else None
        now = datetime.now(UTC)
        job = Job(
            id=str(uuid4()),
            filename=body.filename,
            url=body.url,
            object_key=key,
            file_size_bytes=path.stat().st_size,
            content_type=None,
            status="pending",
            whisper_model=body.model or settings.job.default_model,
            tier="plain",
            options=options,
            description=body.description,
            metadata_=body.metadata,
            duration=duration,
            creation_date=now,
            update_date=now,
        )
        session.add(job)
        await session.commit()
        await request.app.state.queue.rpush("plain", job.id)
        return job

    @app.get("/api/v1/job/status/{job_id}", response_model=View)
    async def status(job_id: str, session: Session) -> Job:
        job = await session.get(Job, job_id)
        if job is None:
            raise HTTPException(404, "There is no job with this id.")
        return job

    @app.get("/health/live")
    async def alive() -> dict[str, str]:
        return {"message": "alive"}

    return app


if __name__ == "__main__":
    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Settings)
    app = make_app(settings, probes="probe" in sys.argv[2:])
    uvicorn.run(app, host=settings.api.host, port=settings.api.port)
