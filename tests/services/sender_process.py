"""Run as a script: a worker's deliverer that is killed right after its receiver has answered."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import msgspec

from audio_text.adapters.deliveries import PiccoloDeliveryRepository
from audio_text.bootstrap import open_deliverer, open_resources
from audio_text.settings import Settings


async def main() -> None:
    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Settings)
    PiccoloDeliveryRepository.record = _die  # type: ignore[method-assign] -- between the sending and the writing
    async with (
        open_resources(settings, name="killed", live=False) as resources,
        open_deliverer(resources, settings) as deliverer,
    ):
        await deliverer.deliver_due()


async def _die(*arguments: object, **more: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    asyncio.run(main())
