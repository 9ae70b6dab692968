import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_text.domain.media import extension_of
from audio_text.domain.object_keys import UPLOAD_PREFIX, belongs_to, is_key, key_behind, new_key


def test_a_key_is_random_and_keeps_the_extension_only() -> None:
    keys = {new_key("mp3") for _ in range(1_000)}
    assert len(keys) == 1_000
    assert all(re.fullmatch(r"uploads/(..)/\1[0-9a-f]{30}\.mp3", key) for key in keys)


@pytest.mark.parametrize("extension", ["", "m4a", "opus", "7z"])
def test_every_new_key_is_recognised(extension: str) -> None:
    key = new_key(extension)
    assert key.startswith(UPLOAD_PREFIX)
    assert is_key(key)
    assert extension_of(key) == extension


@pytest.mark.parametrize("extension", [".mp3", "MP3", "../etc", "a/b", "..", "mp3\n", "a" * 17, "é"])
def test_an_extension_that_is_none_is_refused(extension: str) -> None:
    with pytest.raises(ValueError, match="not an extension"):
        new_key(extension)


def test_nothing_else_is_a_key() -> None:
    key = new_key("mp3")
    for text in ("", "uploads/", key + "\n", "/" + key, key.upper(), key.replace(".mp3", ".mp3.exe"), f"../{key}"):
        assert not is_key(text)


@given(st.text())
def test_no_other_text_is_a_key(text: str) -> None:
    assert not is_key(text)
    assert not is_key(text + new_key("mp3")) or text == ""


def test_a_key_is_read_from_its_address_only() -> None:
    key = new_key("mp3")
    addresses = ["http://one/", "http://two/bucket/"]
    assert key_behind(f"http://two/bucket/{key}?X-Amz-Signature=1", addresses) == key
    assert key_behind(f"http://one/{key}", addresses) == key
    assert key_behind(f"http://three/{key}", addresses) is None
    assert key_behind(f"http://one/{key}/more", addresses) is None


def test_a_key_belongs_to_the_owner_it_was_made_for_and_to_no_other() -> None:
    owners = ["ada", "bob", "", None]
    for owner in owners:
        for extension in ("", "mp3"):
            key = new_key(extension, owner=owner)
            assert [other for other in owners if belongs_to(key, other)] == [owner]


def test_no_two_keys_of_one_owner_have_a_part_in_common_that_tells_whose_they_are() -> None:
    assert len({new_key("", owner="ada")[-12:] for _ in range(1_000)}) == 1_000


def test_whose_a_key_is_cannot_be_changed_in_it() -> None:
    key, other = new_key("", owner="ada"), new_key("", owner="bob")
    assert not belongs_to(key[:-12] + other[-12:], "bob")


def test_what_is_no_key_is_nobodys() -> None:
    with pytest.raises(ValueError, match="not a key"):
        belongs_to("uploads/2b/2b9c.wav", "ada")
