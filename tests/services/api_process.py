"""Run as a script: what `audio-text api` does, with settings from a JSON file instead of the environment."""

import sys
from pathlib import Path

import msgspec

from audio_text import logs
from audio_text.api import serve
from audio_text.settings import Settings


def main() -> None:
    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Settings)
    logs.configure(settings.log.level, settings.log.format)
    serve.main(settings)


if __name__ == "__main__":
    main()
