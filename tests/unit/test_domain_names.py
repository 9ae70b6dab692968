"""Names of stored objects, and what a client's file name is allowed to tell us."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_text.domain.media import extension_of
from audio_text.domain.object_keys import is_key, new_key


@pytest.mark.parametrize("extension", ["mp3", "wav", "m4a", ""])
def test_a_new_key_is_random_and_recognised(extension: str) -> None:
    keys = {new_key(extension) for _ in range(100)}
    assert len(keys) == 100
    assert all(is_key(key) for key in keys)
    assert all(extension_of(key) == extension for key in keys)


@pytest.mark.parametrize("extension", [".mp3", "MP3", "a/b", "..", "x" * 17, "\N{SNOWMAN}", "mp3\n"])
def test_no_key_is_made_with_something_that_is_not_an_extension(extension: str) -> None:
    with pytest.raises(ValueError, match="not an extension"):
        new_key(extension)


@given(st.text())
def test_no_other_text_is_a_key(text: str) -> None:
    assert not is_key(text)
    assert not is_key(text + new_key("mp3")) or text == ""


@pytest.mark.parametrize(
    ("filename", "extension"),
    [
        ("talk.mp3", "mp3"),
        ("Talk.MP3", "mp3"),
        ("two.dots.Opus", "opus"),
        ("/etc/passwd.d/talk.wav", "wav"),
        ("C:\\recordings\\talk.FLAC", "flac"),
        ("../../talk.ogg", "ogg"),
        ("talk.mp3/..", ""),
        ("talk", ""),
        (".mp3", ""),
        ("talk.", ""),
        ("talk.mp3\x00.txt", "txt"),
        ("talk.m\N{LATIN SMALL LETTER U WITH DIAERESIS}3", ""),
        (" talk.webm ", "webm"),
        ("", ""),
    ],
)
def test_the_extension_is_what_follows_the_last_dot_of_the_last_part(filename: str, extension: str) -> None:
    assert extension_of(filename) == extension


@given(st.text())
def test_whatever_a_file_is_called_its_extension_makes_a_key(filename: str) -> None:
    assert is_key(new_key(extension_of(filename)))
