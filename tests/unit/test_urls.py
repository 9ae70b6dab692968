"""Addresses on the web, as clients name them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_text.domain.urls import WebUrl
from audio_text.errors import RemoteUrlError


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://Example.COM/a.mp3?x=1#t=5", "https://example.com/a.mp3?x=1"),
        ("https://example.com.:443/a", "https://example.com./a"),
        ("https://example.com:8443/a", "https://example.com:8443/a"),
        ("http://example.com:80/a", "http://example.com/a"),
        ("https://8.8.8.8/a", "https://8.8.8.8/a"),
        ("https://[2606:4700::0001]:444/a", "https://[2606:4700::1]:444/a"),
        ("https://xn--bcher-kva.example/a", "https://xn--bcher-kva.example/a"),
        ("https://example.com/talk%20one.mp3?sig=a%2Bb", "https://example.com/talk%20one.mp3?sig=a%2Bb"),
        ("https://example.com/Gespräch.mp3", "https://example.com/Gespr%C3%A4ch.mp3"),
        ("https://example.com?x=1", "https://example.com/?x=1"),
    ],
)
def test_a_url_is_told_in_one_spelling(text: str, told: str) -> None:
    assert str(WebUrl.parse(text)) == told
    assert str(WebUrl.parse(told)) == told


@pytest.mark.parametrize(
    "text",
    [
        "",
        "example.com/a.mp3",
        "//example.com/a.mp3",
        "https:/example.com",
        "https:///a.mp3",
        "ftp://example.com/a",
        "file:///etc/passwd",
        "gopher://example.com/",
        "s3://bucket/key",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://:@example.com/",
        "https://example.com@127.0.0.1/",
        "https://127.0.0.1\\@example.com/",
        "https://example.com\\.evil.test/",
        "https://exam ple.com/",
        "https://example.com/a b",
        "https://example.com/\r\nHost: evil",
        "https://example.com/\t",
        "https://example.com:0x50/",
        "https://example.com:99999/",
        "https://example.com:-1/",
        "https://0x7f.1/",
        "https://0x7f000001/",
        "https://2130706433/",
        "https://017700000001/",
        "https://0177.0.0.1/",
        "https://127.1/",
        "https://127.0.0.1./",
        "https://1.2.3.4.5/",
        "https://256.0.0.1/",
        "https://example.0x7f/",
        "https://[::1%25eth0]/",
        "https://[fe80::1%eth0]/",
        "https://[::1/",
        "https://::1/",
        "https://[v1.x]/",
        "https://bücher.example/",
        "https://\uff11\uff12\uff17.0.0.1/",
        "https://exam%70le.com/",
        "https://-example.com/",
        "https://example..com/",
        "https://" + "a" * 64 + ".com/",
        "https://" + "a." * 130 + "com/",
        "https://example.com/" + "a" * 5_000,
        "https://example.com/\ud800",
    ],
)
def test_what_two_readers_might_read_differently_is_refused(text: str) -> None:
    with pytest.raises(RemoteUrlError):
        WebUrl.parse(text)


def test_who_may_not_see_the_query_sees_the_rest() -> None:
    assert (
        WebUrl.parse("https://example.com:8443/a.mp3?X-Amz-Signature=secret").shown == "https://example.com:8443/a.mp3"
    )


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b.mp3", "https://example.com/b.mp3"),
        ("b.mp3", "https://example.com/dir/b.mp3"),
        ("//other.test/c", "https://other.test/c"),
        ("http://other.test/c", "http://other.test/c"),
        ("?y=2", "https://example.com/dir/a.mp3?y=2"),
    ],
)
def test_a_redirect_leads_where_a_browser_would_go(location: str, target: str) -> None:
    assert str(WebUrl.parse("https://example.com/dir/a.mp3?x=1").join(location)) == target


@pytest.mark.parametrize("location", ["file:///etc/passwd", "https://user@other.test/", "https://[::1", "\\\\other"])
def test_a_redirect_leads_only_to_what_could_have_been_asked_for(location: str) -> None:
    with pytest.raises(RemoteUrlError):
        WebUrl.parse("https://example.com/a").join(location)


@given(st.text(st.characters()))
def test_whatever_is_given_is_read_or_refused(text: str) -> None:
    try:
        found = WebUrl.parse(text)
    except RemoteUrlError:
        return
    assert str(found).isascii()


@given(st.text(), st.text())
def test_a_host_is_never_taken_from_what_follows_it(path: str, query: str) -> None:
    try:
        found = WebUrl.parse(f"https://example.com/{path}?{query}")
    except RemoteUrlError:
        return
    assert found.host == "example.com"
    assert found.port == 443
