import re

import pytest

from audio_text.domain.keys import UPLOAD_PREFIX, is_key, key_behind, new_key


def test_a_key_is_random_and_keeps_the_extension_only() -> None:
    keys = {new_key("mp3") for _ in range(1_000)}
    assert len(keys) == 1_000
    assert all(re.fullmatch(r"uploads/(..)/\1[0-9a-f]{30}\.mp3", key) for key in keys)


@pytest.mark.parametrize("extension", ["", "m4a", "opus", "7z"])
def test_every_new_key_is_recognised(extension: str) -> None:
    key = new_key(extension)
    assert key.startswith(UPLOAD_PREFIX)
    assert is_key(key)


@pytest.mark.parametrize("extension", [".mp3", "MP3", "../etc", "mp3\n", "a" * 17, "é"])
def test_an_extension_that_is_none_is_refused(extension: str) -> None:
    with pytest.raises(ValueError, match="not an extension"):
        new_key(extension)


def test_nothing_else_is_a_key() -> None:
    key = new_key("mp3")
    for text in ("", "uploads/", key + "\n", "/" + key, key.upper(), key.replace(".mp3", ".mp3.exe"), f"../{key}"):
        assert not is_key(text)


def test_a_key_is_read_from_its_address_only() -> None:
    key = new_key("mp3")
    addresses = ["http://one/", "http://two/bucket/"]
    assert key_behind(f"http://two/bucket/{key}?X-Amz-Signature=1", addresses) == key
    assert key_behind(f"http://one/{key}", addresses) == key
    assert key_behind(f"http://three/{key}", addresses) is None
    assert key_behind(f"http://one/{key}/more", addresses) is None
