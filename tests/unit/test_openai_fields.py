"""OpenAI's fields and the page that says what becomes of them agree."""

import re
from pathlib import Path

import pytest

from audio_text.api.openai.fields import SPEAKERS, TranscriptionForm, TranslationForm, understood
from audio_text.domain.languages import NAMES, language_code
from audio_text.errors import InvalidFieldError

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "openai.md").read_text()


def test_the_page_lists_every_field() -> None:
    table = PAGE.partition("## Fields")[2].partition("\n## ")[0]
    listed = {name for row in re.findall(r"^\| (`.+?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)", row)}
    assert listed == {"file", *TranscriptionForm.__struct_fields__, *SPEAKERS}


def test_the_page_lists_every_field_of_translations() -> None:
    sentence = re.search(r"^Translations know (.*)$", PAGE, re.MULTILINE)
    assert sentence is not None
    assert set(re.findall(r"`(\w+)`", sentence[1])) == {"file", *TranslationForm.__struct_fields__}


@pytest.mark.parametrize("text", ["server_vad", "[]", "{}", '{"type": "server_vad", "threshold": 2}', "[1"])
def test_a_chunking_strategy_is_auto_or_an_object(text: str) -> None:
    with pytest.raises(InvalidFieldError) as refused:
        understood([("model", "m"), ("chunking_strategy", text)], TranscriptionForm)
    assert refused.value.field == "chunking_strategy"


@pytest.mark.parametrize(
    "fields",
    [
        [("chunking_strategy", "auto"), ("chunking_strategy[type]", "server_vad")],
        [("chunking_strategy[type]", "server_vad"), ("chunking_strategy", "auto")],
    ],
)
def test_a_field_cannot_be_two_things(fields: list[tuple[str, str]]) -> None:
    with pytest.raises(InvalidFieldError, match="twice"):
        understood([("model", "m"), *fields], TranscriptionForm)


def test_a_list_that_is_no_list_of_texts_is_refused() -> None:
    with pytest.raises(InvalidFieldError) as refused:
        understood([("model", "m"), ("keywords", "[1, {}]")], TranscriptionForm)
    assert refused.value.field == "keywords"


def test_the_same_sent_twice_counts_once() -> None:
    form, _ = understood([("model", "m"), ("model", "m")], TranslationForm)
    assert form.model == "m"


def test_languages_are_known_by_code_and_by_name() -> None:
    assert {language_code(code) for code in NAMES} == {language_code(name) for name in NAMES.values()} == set(NAMES)
    assert (language_code("nb"), language_code("Mandarin"), language_code("")) == ("no", "zh", None)
