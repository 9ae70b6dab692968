"""Two origins are the same when a browser says so, and at no other time."""

import pytest

from audio_text.domain.origins import origin_of, origin_of_page

APP = "https://app.example"


@pytest.mark.parametrize(
    ("written", "origin"),
    [
        ("https://app.example", APP),
        ("HTTPS://App.Example", APP),
        ("https://app.example:443", APP),
        ("https://app.example:8443", "https://app.example:8443"),
        ("http://app.example:443", "http://app.example:443"),
        ("http://app.example:80", "http://app.example"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://[2001:DB8:0::7]:8080", "http://[2001:db8::7]:8080"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("capacitor://localhost", "capacitor://localhost"),
    ],
)
def test_an_origin_is_written_in_one_way(written: str, origin: str) -> None:
    assert origin_of(written) == origin
    assert origin_of_page(f"{written}/path?query=1#part") == origin
    assert origin_of_page(written) == origin


@pytest.mark.parametrize(
    "other",
    [
        "http://app.example",
        "https://app.example.",
        "https://app.example.evil.example",
        "https://evil-app.example",
        "https://evil.app.example",
        "https://app.example:444",
        "https://app.exampl",
        "https://app.example0",
    ],
)
def test_what_only_resembles_an_origin_is_another(other: str) -> None:
    assert origin_of(other) not in {APP, None}
    assert origin_of_page(f"{other}/{APP}") not in {APP, None}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "*",
        "app.example",
        "//app.example",
        "https:app.example",
        "https:/app.example",
        "https:///app.example",
        "https://app.example@evil.example",
        "https://user:word@app.example",
        "https://evil.example\\@app.example",
        "https://app.example\\.evil.example",
        "https://app.example\x00.evil.example",
        "https://app.example%00.evil.example",
        "https://app.example evil.example",
        "https://app.example\n",
        " https://app.example",
        "https://app.example, https://evil.example",
        "https://bücher.example",
        "https://\N{CYRILLIC SMALL LETTER A}pp.example",
        "https://app\N{IDEOGRAPHIC FULL STOP}example",
        "https://app..example",
        "https://.app.example",
        "https://app.example:",
        "https://app.example:0",
        "https://app.example:65536",
        "https://app.example:443:443",
        "https://app.example:\N{FULLWIDTH DIGIT FOUR}43",
        "https://[2001:db8::7",
        "https://[app.example]",
        "https://[::1%25eth0]",
        "javascript:alert(1)",
        "data:text/html,x",
        "file:///etc/passwd",
    ],
)
def test_what_is_no_origin_has_none(text: str) -> None:
    assert origin_of(text) is None
    assert origin_of_page(text) is None


@pytest.mark.parametrize("rest", ["/", "/page", "?query", "#part", "/a/b?c=d#e", "/https://evil.example"])
def test_an_origin_has_nothing_behind_it_and_a_page_may(rest: str) -> None:
    assert origin_of(APP + rest) is None
    assert origin_of_page(APP + rest) == APP


@pytest.mark.parametrize("rest", ["/a b", "/a\r\nb", "/ü", "\\a", "@evil.example", ":evil.example/"])
def test_what_no_browser_would_send_is_not_the_address_of_a_page(rest: str) -> None:
    assert origin_of_page(APP + rest) is None
