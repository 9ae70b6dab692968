import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_text.domain.media import extension_of, media_type
from audio_text.domain.object_keys import is_key, new_key
from audio_text.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("filename", "extension"),
    [
        ("talk.mp3", "mp3"),
        ("TALK.MP3", "mp3"),
        ("a.b.c.Opus", "opus"),
        ("talk.mp3 ", "mp3"),
        (" talk.webm ", "webm"),
        ("/etc/passwd.d/talk.wav", "wav"),
        ("C:\\Users\\me\\talk.m4a", "m4a"),
        ("../../etc/passwd", ""),
        ("uploads/x.mp3/../../secret", ""),
        ("talk.mp3/", ""),
        (".mp3", ""),
        ("", ""),
        ("talk", ""),
        ("talk.", ""),
        ("talk.m p 3", ""),
        ("talk.m\N{LATIN SMALL LETTER U WITH DIAERESIS}3", ""),
        ("talk.mp3\0.exe", "exe"),
        ("talk.\udcff\udcfe", ""),
        ("caf\udce9.wav", "wav"),
        ("talk." + "x" * 17, ""),
        ("talk.\uff4d\uff50\uff13", ""),
    ],
)
def test_only_a_plain_extension_of_the_last_part_counts(filename: str, extension: str) -> None:
    assert extension_of(filename) == extension


@given(st.text(st.characters()))
def test_whatever_a_file_is_called_its_extension_makes_a_key(filename: str) -> None:
    assert is_key(new_key(extension_of(filename)))


@pytest.mark.parametrize("text", ["audio/mpeg", "audio/ogg; codecs=opus", "x"])
def test_what_a_browser_reports_passes_unchanged(text: str) -> None:
    assert media_type(text) == text


@pytest.mark.parametrize("text", [None, ""])
def test_a_browser_may_report_nothing(text: str | None) -> None:
    assert media_type(text) is None


@pytest.mark.parametrize("text", [" audio/mpeg", "audio/mpeg\n", "a\0b", "é", "\udcff", "x" * 256])
def test_what_no_header_can_hold_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequestError):
        media_type(text)
