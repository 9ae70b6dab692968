"""Run as a script: the service's API as it is, only that nobody looks into what was uploaded."""

import sys
from pathlib import Path

import msgspec

from audio_text import bootstrap, logs
from audio_text.api import serve
from audio_text.domain.transcript import AudioFacts
from audio_text.settings import Settings

FACTS = AudioFacts(container="flac", codec="flac", sample_rate=16_000, channels=1, duration=3.5)


class Blind:
    """Takes everything for audio."""

    async def probe(self, *_: object) -> AudioFacts:
        return FACTS


if __name__ == "__main__":
    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Settings)
    logs.configure(settings.log.level, settings.log.format)
    bootstrap.PyAvProbe = Blind  # type: ignore[assignment] -- inherited by the worker that is forked
    serve.main(settings)
