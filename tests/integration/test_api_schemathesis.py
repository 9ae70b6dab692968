"""schemathesis asks of every address what the OpenAPI document allows, and what it forbids."""

from pathlib import Path

import pytest

from audio_text.settings import Settings
from services.fuzzing import fuzz, fuzzed_service

SEED = 1
EXAMPLES = 15
"""For each address; thousands of cases, because the limits of every field are tried besides. `just fuzz` tries more."""


@pytest.mark.timeout(300)
def test_every_answer_is_one_that_the_document_promises(shared_api_settings: Settings, tmp_path: Path) -> None:
    with fuzzed_service(shared_api_settings, tmp_path) as api:
        findings = fuzz(api, tmp_path, examples=EXAMPLES, seed=SEED, seconds=240)
        assert findings.is_clean, findings.account
        assert findings.cases > 1_000
        assert not api.logged("request_failed")
