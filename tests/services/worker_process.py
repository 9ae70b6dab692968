"""Run as a script: what `audio-text worker` does for one group, with settings from a JSON file."""

import sys
from pathlib import Path

import msgspec

from audio_text import logs
from audio_text.settings import Settings
from audio_text.worker import run
from audio_text.worker.groups import worker_groups


def main() -> None:
    settings = msgspec.json.decode(Path(sys.argv[1]).read_bytes(), type=Settings)
    logs.configure(settings.log.level, settings.log.format)
    (group,) = worker_groups(settings, sys.argv[2:])
    run.main(settings, group)


if __name__ == "__main__":
    main()
