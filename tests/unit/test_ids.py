"""What an id may look like."""

import pytest

from audio_text.api.ids import checked_id
from audio_text.errors import AudioTextError, BatchNotFoundError, JobNotFoundError


@pytest.mark.parametrize("unknown", [JobNotFoundError, BatchNotFoundError])
@pytest.mark.parametrize("text", ["", " ", "a b", "\x00", "ä", "a" * 101, "a\n"])
def test_nothing_has_an_odd_id(text: str, unknown: type[AudioTextError]) -> None:
    with pytest.raises(unknown):
        checked_id(text, unknown)


@pytest.mark.parametrize("text", ["6d8b1f6e-5a0e-4c43-9c0b-2f1d7f1f8a11", "1", "~" * 100])
def test_ids_may_be_those_of_the_older_service(text: str) -> None:
    assert checked_id(text, JobNotFoundError) == text
