"""What happens in a cell of the matrix: a way of a job, one fault on it, and what must be true afterwards."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from faults.world import Crew, World, until
from recordings import path_of
from services.faulty import Fault, Kind, Moment
from services.outside import answer, serve_outside

Scene = Callable[["Cell", World, Crew], Awaitable[None]]


class Cell(NamedTuple):
    """`ends`: how the attempts at the job end, in order; several, where either may be the truth."""

    scene: Scene
    fault: Fault
    ends: str | tuple[str, ...] = "completed"
    recording: str = "two"
    leaves_files: bool = False
    """Whether the recording, or half of one, may be left to the sweep."""

    most_jobs: int = 1
    """More than one, where a client that asks again may have its recording transcribed twice."""

    twin: str = ""
    """The transcript that the recording has when nothing goes wrong."""

    def __str__(self) -> str:
        return f"{self.scene.__name__.replace('_', ' ')}: {self.fault}"


async def a_job_is_transcribed(cell: Cell, world: World, crew: Crew) -> None:
    job_id = await world.submit(cell.recording)
    await overcome(cell.fault, world, crew, job_id)
    await is_completed(cell, world, job_id)


async def a_recording_elsewhere_is_brought(cell: Cell, world: World, crew: Crew) -> None:
    path = path_of(cell.recording)
    (port,) = world.settings.remote.ports
    async with serve_outside(port=port) as outside:
        outside.pages[f"/{path.name}"] = answer(200, path.read_bytes())
        job_id = await world.submit_url(path.name, f"http://127.0.0.1:{port}/{path.name}")
        await overcome(cell.fault, world, crew, job_id)
        await is_completed(cell, world, job_id)
        stored = {("store.write", Moment.after), ("draft.publish", Moment.after)}
        was_stored = cell.fault.step == "jobs.note_recording" or (cell.fault.step, cell.fault.moment) in stored
        assert len(outside.requests) == (1 if was_stored else 2)


async def a_worker_is_stopped(cell: Cell, world: World, crew: Crew) -> None:
    job_id = await world.submit(cell.recording)
    first = crew.worker(cell.fault)
    await first.wait_for("job_claimed")
    await first.terminate()
    crew.worker()
    await until(lambda: world.has_ended(job_id))
    await is_completed(cell, world, job_id)


async def a_job_fails(cell: Cell, world: World, crew: Crew) -> None:
    job_id = await world.submit(cell.recording, clip_start_seconds=1_000.0)
    await overcome(cell.fault, world, crew, job_id)
    await is_over(cell, world, job_id, status="failed", told=["failed"])
    assert (await world.row(job_id))["error_code"] == "invalid_request"
    assert len(world.files()) == 1


async def a_message_is_lost(cell: Cell, world: World, crew: Crew) -> None:
    job_id = await world.submit(cell.recording)
    await world.lose_message()
    await overcome(cell.fault, world, crew, job_id)
    await is_completed(cell, world, job_id)


async def the_last_worker_is_lost(cell: Cell, world: World, crew: Crew) -> None:
    job_id = await world.submit(cell.recording)
    jobs = world.api.services.resources.jobs
    for _ in range(world.settings.tiers[world.tier].retry.retries + 1):
        assert await jobs.claim(world.tier, owner="a worker that died", lease_seconds=-1)
    await world.lose_message()
    await overcome(cell.fault, world, crew, job_id)
    await is_over(cell, world, job_id, status="failed", told=["failed"])
    row = await world.row(job_id)
    assert (row["error_code"], row["is_dead_letter"]) == ("worker_lost", True)
    assert len(world.files()) == 1


async def a_recording_is_submitted(cell: Cell, world: World, crew: Crew) -> None:
    visitor = await crew.visitor(cell.fault)
    path = path_of(cell.recording)
    data = path.read_bytes()
    declared = {"filename": path.name, "file_size": len(data)}
    target = (await visitor.ask("POST", "/api/v1/audio/presigned-url", json=declared)).raise_for_status().json()
    (await visitor.ask("PUT", target["url"], content=data, headers=target["headers"])).raise_for_status()
    body = {"filename": path.name, "url": target["url"], "mode": "demo"}
    answered = (await visitor.ask("POST", "/api/v1/job/transcribe", json=body)).raise_for_status().json()
    jobs = [job["id"] for job in await world.jobs()]
    assert answered["id"] in jobs
    assert len(jobs) <= cell.most_jobs
    crew.worker()
    for job_id in jobs:
        await until(lambda job_id=job_id: world.has_ended(job_id))
        await is_completed(cell, world, job_id)


async def a_job_is_cancelled(cell: Cell, world: World, crew: Crew) -> None:
    job_id = await world.submit(cell.recording)
    visitor = await crew.visitor(cell.fault)
    answered = (await visitor.ask("POST", f"/api/v1/job/{job_id}/cancel")).raise_for_status().json()
    assert answered["status"] == "cancelled"
    crew.worker()
    await until(lambda: world.has_ended(job_id))
    await is_over(cell, world, job_id, status="cancelled", told=["cancelled"])
    assert len(world.files()) == 1


async def a_job_is_retried(cell: Cell, world: World, crew: Crew) -> None:
    job_id = await world.submit(cell.recording)
    (await world.api.client.post(f"/api/v1/job/{job_id}/cancel")).raise_for_status()
    await world.lose_message()
    visitor = await crew.visitor(cell.fault)
    answered = (await visitor.ask("POST", f"/api/v1/job/{job_id}/retry")).raise_for_status().json()
    assert answered["status"] == "pending"
    crew.worker()
    await until(lambda: world.has_ended(job_id))
    await is_completed(cell, world, job_id, told=["cancelled", "completed"])


async def a_job_is_deleted(cell: Cell, world: World, crew: Crew) -> None:
    job_id = await world.submit(cell.recording)
    visitor = await crew.visitor(cell.fault)
    answered = await visitor.ask("DELETE", f"/api/v1/job/{job_id}")
    assert answered.is_success or (answered.status_code == 404 and visitor.unanswered)
    assert await world.jobs() == []
    crew.worker()
    await no_file_is_left(cell, world)


async def overcome(fault: Fault, world: World, crew: Crew, job_id: str) -> None:
    """Let a worker meet the fault, and another one do what it cannot do then; until the job has ended."""
    first = crew.worker(fault)
    await first.struck()
    if fault.kind is Kind.error:
        await until(lambda: world.has_ended(job_id))
        return
    second = crew.worker()
    await until(lambda: world.has_ended(job_id))
    if fault.kind is Kind.freeze:
        # A thawed worker changes nothing about the job that it had, and is of use again.
        await second.terminate()
        before = await world.picture(job_id)
        first.thaw()
        another = await world.submit("one_a")
        await until(lambda: world.has_ended(another))
        assert await world.picture(job_id) == before


async def is_completed(cell: Cell, world: World, job_id: str, told: list[str] | None = None) -> None:
    """Check that the job has the transcript of its twin."""
    await is_over(cell, world, job_id, status="completed", told=told or ["completed"])
    job = (await world.api.client.get(f"/api/v1/job/status/{job_id}")).raise_for_status().json()
    segments = await world.api.services.resources.jobs.segments(job_id)
    assert job["result_text"] == cell.twin
    assert [segment.id for segment in segments] == list(range(len(segments)))
    assert "".join(segment.text for segment in segments).strip() == job["result_text"]
    await no_file_is_left(cell, world)


async def is_over(cell: Cell, world: World, job_id: str, *, status: str, told: list[str]) -> None:
    """Check that the job ended once, that its attempts are truly recorded, and that nobody holds it."""
    row = await world.row(job_id)
    attempts = await world.attempts(job_id)
    assert (row["status"], row["lease_owner"], row["lease_expires_at"]) == (status, None, None)
    assert " ".join(str(attempt["end"]) for attempt in attempts) in (
        (cell.ends,) if isinstance(cell.ends, str) else cell.ends
    )
    assert all(attempt["ended_at"] for attempt in attempts)
    events = await world.events(job_id)
    assert [event.status.value for event in events if event.status.is_terminal] == told
    assert events[-1].status.value == status


async def no_file_is_left(cell: Cell, world: World) -> None:
    """Check that no recording, no half of one and no download lies about."""

    async def is_empty() -> bool:
        if cell.leaves_files:
            await world.sweep()
        return not world.files()

    await until(is_empty)
