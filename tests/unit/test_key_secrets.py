import re

import pytest

from audio_text.domain.key_secrets import digest_of, is_secret, is_ticket, new_secret, new_ticket, prefix_of


def test_a_secret_is_one_word_that_scanners_recognise() -> None:
    secrets = {new_secret() for _ in range(1_000)}
    assert len(secrets) == 1_000
    assert len({prefix_of(secret) for secret in secrets}) == 1_000
    for secret in secrets:
        assert re.fullmatch(r"atk_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}", secret)
        assert re.fullmatch(r"atk_[0-9A-Za-z]{8}", prefix_of(secret))
        assert is_secret(secret)


def test_a_mistyped_secret_is_found_out_without_asking_anybody() -> None:
    secret = new_secret()
    for place in range(len("atk_"), len(secret)):
        wrong = "1" if secret[place] == "0" else "0"
        assert not is_secret(secret[:place] + wrong + secret[place + 1 :])


@pytest.mark.parametrize("text", ["", "atk_", "a" * 62, "ä" * 62, "atk_aaaaaaaa_" + "0" * 49])
def test_nothing_else_is_a_secret_or_a_ticket(text: str) -> None:
    assert not is_secret(text)
    assert not is_ticket(text)


def test_a_secret_with_something_around_it_is_none() -> None:
    secret, ticket = new_secret(), new_ticket()
    for wrapped in ("{}\n", " {}", "{}="):
        assert not is_secret(wrapped.format(secret))
        assert not is_ticket(wrapped.format(ticket))


def test_a_ticket_is_no_secret_and_a_secret_no_ticket() -> None:
    assert is_ticket(new_ticket())
    assert not is_secret(new_ticket())
    assert not is_ticket(new_secret())


def test_what_is_kept_of_a_secret_is_its_sha_256() -> None:
    assert digest_of("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
