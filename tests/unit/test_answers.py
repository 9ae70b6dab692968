"""What answers of other servers mean for whoever asks."""

import pytest

from audio_text.domain.answers import is_passing, retry_after_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120.0), ("0", 0.0), ("999999999", 86_400.0), ("", None), ("soon", None), ("-5", None), ("1e9", None)],
)
def test_how_long_a_server_asks_to_wait_is_read_within_bounds(text: str, seconds: float | None) -> None:
    assert retry_after_seconds({"retry-after": text}) == seconds


def test_how_long_a_server_asks_to_wait_may_be_a_date() -> None:
    assert retry_after_seconds({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0
    assert retry_after_seconds({"retry-after": "Wed, 21 Oct 2999 07:28:00 GMT"}) == 86_400.0


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_worth_another_try(status: int) -> None:
    assert is_passing(status)


@pytest.mark.parametrize("status", [200, 204, 301, 304, 400, 401, 403, 404, 410, 451])
def test_what_will_not_change_is_not(status: int) -> None:
    assert not is_passing(status)
