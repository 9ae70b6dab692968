"""The tree of errors is complete, and each member can be shown to a client."""

import inspect
import re

import pytest

import audio_text.errors
from audio_text.client.session import PASSING
from audio_text.errors import AudioTextError, DisabledError, InvalidRequestError, TransientError, UnknownModelError


def tree(root: type[AudioTextError] = AudioTextError) -> list[type[AudioTextError]]:
    return [root, *(found for child in root.__subclasses__() for found in tree(child))]


ERRORS = tree()


@pytest.mark.parametrize("error", ERRORS, ids=[error.__name__ for error in ERRORS])
def test_an_error_has_a_code_a_status_and_a_sentence_for_a_person(error: type[AudioTextError]) -> None:
    assert error.__name__.endswith("Error")
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", error.code)
    assert 400 <= error.http_status <= 599
    detail = error().detail
    assert detail == str(error())
    assert detail[0].isupper()
    assert detail.rstrip().endswith(".")


def test_every_code_means_one_error() -> None:
    codes = [error.code for error in ERRORS]
    assert sorted(codes) == sorted(set(codes))


def test_every_error_is_drawn_in_the_tree() -> None:
    drawn = (audio_text.errors.__doc__ or "").split("\n\n")[1]
    assert re.findall(r"\w+Error", drawn) == [error.__name__ for error in ERRORS]


def test_all_errors_live_in_one_module() -> None:
    own = [
        name for name, member in inspect.getmembers(audio_text.errors, inspect.isclass) if issubclass(member, Exception)
    ]
    assert sorted(own) == sorted(error.__name__ for error in ERRORS)
    assert {error.__module__ for error in ERRORS} == {"audio_text.errors"}


def test_a_detail_replaces_the_default_sentence() -> None:
    assert UnknownModelError("No model x.").detail == "No model x."


@pytest.mark.parametrize("error", tree(InvalidRequestError), ids=lambda error: error.__name__)
def test_a_bad_request_is_the_clients_to_mend(error: type[AudioTextError]) -> None:
    assert 400 <= error.http_status < 500


@pytest.mark.parametrize("error", tree(DisabledError), ids=lambda error: error.__name__)
def test_what_is_not_set_up_is_refused_and_invites_no_other_try(error: type[AudioTextError]) -> None:
    assert error.http_status == 403
    assert error.http_status not in PASSING
    assert not issubclass(error, TransientError)


@pytest.mark.parametrize("error", tree(TransientError), ids=lambda error: error.__name__)
def test_a_transient_error_invites_another_try(error: type[AudioTextError]) -> None:
    assert error.http_status in {503, 507}
