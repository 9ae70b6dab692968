"""The page about large uploads: its blocks one after the other, against a whole API."""

import struct
from pathlib import Path

from audio_text.settings import Settings
from services.api import api_process
from services.documents import blocks, run
from services.programs import require

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "large-uploads.md"
SAMPLES = 12 * 1024 * 1024
SHOWN = ('"part_count": 3', "", "[]", '"status": "pending"')


def test_the_walk_through_works_as_it_stands(shared_api_settings: Settings, tmp_path: Path) -> None:
    require("curl", "jq")
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, 16_000, 32_000, 2, 16)
    head = struct.pack("<4sI4s", b"RIFF", SAMPLES + 36, b"WAVE") + form + struct.pack("<4sI", b"data", SAMPLES)
    (tmp_path / "talk.wav").write_bytes(head + bytes(SAMPLES))
    with api_process(shared_api_settings, tmp_path) as api:
        environment = {"AUDIO_TEXT_SERVER": f"http://{api.address}"}
        for block, shown in zip(blocks(PAGE), SHOWN, strict=True):
            assert shown in run(block, folder=tmp_path, environment=environment)
