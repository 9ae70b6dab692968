"""Where recordings may lie that are not in our store."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_text.domain.sources import BucketObject, name_of, source_of
from audio_text.domain.urls import WebUrl
from audio_text.errors import RemoteUrlError


def test_a_bucket_and_its_key_are_taken_as_they_stand() -> None:
    assert source_of("s3://calls.2030/a%20b/c d.wav") == BucketObject(bucket="calls.2030", key="a%20b/c d.wav")


@pytest.mark.parametrize(
    "text",
    [
        "s3://",
        "s3://bucket",
        "s3://bucket/",
        "s3:///key",
        "s3://-b/key",
        "s3://b/key\n",
        "s3://u@bucket/key",
        "s3://a:1/k",
    ],
)
def test_what_names_no_object_is_refused(text: str) -> None:
    with pytest.raises(RemoteUrlError):
        source_of(text)


@pytest.mark.parametrize("text", ["", "talk.mp3", "ftp://a/b", "file:///etc/passwd", "data:,x", "c:\\talk.mp3"])
def test_other_addresses_are_none_of_ours(text: str) -> None:
    assert source_of(text) is None


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://a.example/x/talk%20one.mp3?name=y.wav", "talk one.mp3"),
        ("https://a.example/", ""),
        ("https://a.example/x%2F..%2Fy.mp3", "y.mp3"),
        ("https://a.example/%FF.mp3", "\N{REPLACEMENT CHARACTER}.mp3"),
    ],
)
def test_a_file_is_called_by_the_end_of_its_path(url: str, name: str) -> None:
    assert name_of(WebUrl.parse(url)) == name


@given(st.text())
def test_any_text_is_an_address_or_not(text: str) -> None:
    for url in (text, f"s3://{text}", f"https://{text}"):
        try:
            source_of(url)
        except RemoteUrlError:
            continue
