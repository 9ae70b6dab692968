"""The corpus through a whole service: submitted as something harmless, exchanged in the store, claimed by a worker."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from attacks.corpus import HostileFile
from media import wav
from services.api import Api

JOB_SECONDS = 300.0
"""For all of them; each takes a fraction of a second."""


async def exchanged(api: Api, file: HostileFile) -> str:
    """Submit a tone, and put the file in its place, as one who can write to the bucket would; the job's id."""
    job = await api.submit("tone.wav", wav(0.2), mode="demo")
    row = await api.services.resources.jobs.get(job["id"])
    path = Path(api.settings.disk.folder) / row.object_key
    await asyncio.to_thread(path.write_bytes, file.data)
    return row.id


def sample(files: Sequence[HostileFile], count: int) -> list[HostileFile]:
    """So many of them, from beginning to end."""
    return [files[index * len(files) // count] for index in range(count)]
