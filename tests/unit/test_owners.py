"""Whose things are meant: of one owner, of nobody in particular, of everybody."""

import pytest

from audio_text.domain.access import ANYBODY, Caller
from audio_text.domain.owners import EVERYBODY, Whose, is_of

OWNERS = ("ada", "bob", "everybody", "", None)


@pytest.mark.parametrize("whose", OWNERS)
def test_what_is_of_one_owner_or_of_nobody_is_of_no_other(whose: str | None) -> None:
    assert [owner for owner in OWNERS if is_of(owner, whose)] == [whose]


def test_everybodys_is_all_there_is() -> None:
    assert all(is_of(owner, EVERYBODY) for owner in OWNERS)


@pytest.mark.parametrize(
    ("caller", "whose"),
    [(Caller(owner="ada"), "ada"), (Caller(), None), (ANYBODY, EVERYBODY)],
    ids=["owner", "nobody", "anybody"],
)
def test_a_caller_sees_in_lists_what_it_may_read_one_by_one(caller: Caller, whose: Whose) -> None:
    assert caller.whose == whose
    assert [caller.sees(owner) for owner in OWNERS] == [is_of(owner, whose) for owner in OWNERS]
