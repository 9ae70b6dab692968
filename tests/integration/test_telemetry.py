"""Recordings are nobody else's business, and neither is that there are any."""

import subprocess
import sys
from pathlib import Path

LISTEN = """
import numpy as np
from audio_text.adapters import engine, whisper
print(len(whisper.speech_probabilities(np.zeros(16_000, dtype=np.float32))))
"""


def test_the_voice_detector_reports_nothing_to_its_maker(tmp_path: Path) -> None:
    # Its telemetry begins with a session file in the folder for temporary files.
    environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", LISTEN], env=environment, capture_output=True, text=True, check=True)

    assert int(done.stdout) == 31
    assert list(tmp_path.iterdir()) == []
