"""The matrix: every step of a job's way, before and after, and what may happen there."""

from collections.abc import Iterator
from functools import partial
from itertools import product

from faults import scenes
from faults.scenes import Cell
from services.faulty import Fault, Kind, Moment

KILL, ERROR, FREEZE = Kind
BEFORE, AFTER = Moment

NEVER = ""
COMPLETED = "completed"
LOST = "lost completed"
RETRIED = "retried completed"
HANDED_BACK = "handed_back completed"

LONG = "memo_35s"
"""Two blocks: what is stored of the first one is not decoded again."""

Kinds = tuple[Kind, ...]


def faults(*steps: str, kinds: Kinds = (KILL, ERROR), number: int = 1, held: str = "") -> Iterator[Fault]:
    """Each kind at both moments of each step."""
    for step, moment, kind in product(steps, Moment, kinds):
        yield Fault(kind=kind, moment=moment, step=step, number=number, held=held)


def transcribing() -> Iterator[Cell]:
    cell = partial(Cell, scenes.a_job_is_transcribed)
    told = "events.publish:processing"
    # Until its end is on record, a job is lost with its worker.
    for fault in faults("jobs.claim", kinds=(KILL, ERROR, FREEZE)):
        yield cell(fault, (COMPLETED, LOST))
    for fault in faults("store.fetch", "model.load_whisper", "jobs.record", told, kinds=(KILL, FREEZE)):
        yield cell(fault, LOST)
    for fault in faults("jobs.record", told, kinds=(KILL, FREEZE), number=2):
        yield cell(fault, LOST, LONG)
    for fault in faults("store.fetch", "model.load_whisper", "jobs.record", kinds=(ERROR,)):
        yield cell(fault, RETRIED)
    for fault in faults("jobs.record", kinds=(ERROR,), number=2):
        yield cell(fault, RETRIED, LONG)
    for fault in faults(told, kinds=(ERROR,)):
        yield cell(fault)
    for fault in faults("jobs.extend_lease", kinds=(KILL, FREEZE), held="jobs.record"):
        yield cell(fault, LOST)
    for fault in faults("jobs.extend_lease", kinds=(ERROR,), held="jobs.record"):
        yield cell(fault)


def bringing() -> Iterator[Cell]:
    # Half of a file of a dead worker is left to the look for abandoned files.
    cell = partial(Cell, scenes.a_recording_elsewhere_is_brought, leaves_files=True)
    for fault in faults("store.write", "jobs.note_recording", kinds=(KILL, FREEZE)):
        yield cell(fault, LOST)
    for fault in faults("store.write", "jobs.note_recording", kinds=(ERROR,)):
        yield cell(fault, RETRIED)
    for fault in faults("draft.flush", "draft.publish", kinds=(KILL,)):
        yield cell(fault, LOST)


def completing() -> Iterator[Cell]:
    # Whoever finds the job over does not know whether its recording was removed: that is left to the sweep.
    cell = partial(Cell, scenes.a_job_is_transcribed, leaves_files=True)
    for fault in faults("jobs.complete", kinds=(KILL, ERROR, FREEZE)):
        yield cell(fault, (COMPLETED, LOST, RETRIED))
    steps = ("events.publish:completed", "jobs.mark_announced", "jobs.needed_objects", "store.delete")
    for fault in faults(*steps, kinds=(KILL, ERROR, FREEZE)):
        yield cell(fault)


def stopping() -> Iterator[Cell]:
    cell = partial(Cell, scenes.a_worker_is_stopped)
    for fault in faults("jobs.release", held="jobs.record"):
        yield cell(fault, (LOST, HANDED_BACK))
    for fault in faults("events.publish:pending", "queue.enqueue:job", held="jobs.record"):
        yield cell(fault, HANDED_BACK)


def failing() -> Iterator[Cell]:
    for fault in faults("jobs.fail", "events.publish:failed", "jobs.mark_announced"):
        yield Cell(scenes.a_job_fails, fault, ("failed", "lost failed"))
    lost = " ".join(["lost"] * 4)
    for fault in faults("jobs.end_exhausted", "events.publish:failed", "jobs.mark_announced", held="jobs.claim"):
        yield Cell(scenes.the_last_worker_is_lost, fault, (lost, f"{lost} failed"))


def waking() -> Iterator[Cell]:
    for fault in faults("jobs.overdue", "queue.depth", "queue.enqueue"):
        yield Cell(scenes.a_message_is_lost, fault)


def submitting() -> Iterator[Cell]:
    cell = partial(Cell, scenes.a_recording_is_submitted)
    for fault in faults("store.presign_upload", "store.receive", "store.stat", "store.read_range"):
        yield cell(fault)
    for fault in faults("draft.publish"):
        yield cell(fault, leaves_files=True)
    # What was not answered is asked again: there may be two jobs then, and both are whole.
    for fault in faults("jobs.add", "queue.enqueue", kinds=(KILL, ERROR, FREEZE)):
        yield cell(fault, most_jobs=2)


def asking() -> Iterator[Cell]:
    for fault in faults("jobs.cancel", "events.publish:cancelled", "jobs.mark_announced"):
        yield Cell(scenes.a_job_is_cancelled, fault, NEVER)
    for fault in faults("store.stat", "jobs.retry", "events.publish:pending", "queue.enqueue"):
        yield Cell(scenes.a_job_is_retried, fault)
    steps = ("jobs.delete", "events.publish:cancelled", "events.forget", "jobs.needed_objects", "store.delete")
    for fault in faults(*steps):
        yield Cell(scenes.a_job_is_deleted, fault, leaves_files=True)


def downloading() -> Iterator[Cell]:
    cell = partial(Cell, scenes.a_job_is_transcribed, leaves_files=True)
    for fault in faults("store.fetch", "draft.flush", kinds=(KILL, FREEZE)):
        yield cell(fault, LOST)
    for fault in faults("store.fetch", "draft.flush", kinds=(ERROR,)):
        yield cell(fault, RETRIED)
    for fault in faults("store.delete"):
        yield cell(fault)


def disk_cells() -> list[Cell]:
    return [*transcribing(), *bringing(), *completing(), *stopping(), *failing(), *waking(), *submitting(), *asking()]


def s3_cells() -> list[Cell]:
    return list(downloading())
