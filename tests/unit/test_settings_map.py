"""Every key has one variable, and what is written there arrives."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import inspect, toml

from audio_text.settings import SECRETS, load, resource
from audio_text.settings.keys import RESERVED, keys

DEFAULTS = toml.decode(resource("settings.toml").read_bytes())
KEYS = [key for key in keys(DEFAULTS) if not key.is_table]
LARGEST = 2**53


def values(shape: inspect.Type) -> st.SearchStrategy[Any]:  # noqa: C901, PLR0911 -- one line for each kind of value
    match shape:
        case inspect.Metadata(type=inner):
            return values(inner)
        case inspect.UnionType(types=types):
            inner = next(item for item in types if not isinstance(item, inspect.NoneType))
            return st.none() | values(inner).filter(lambda value: value != "")
        case inspect.BoolType():
            return st.booleans()
        case inspect.IntType(ge=ge, le=le):
            return st.integers(ge, LARGEST if le is None else le)
        case inspect.FloatType(ge=ge, gt=gt, le=le, lt=lt):
            low, high = (gt if ge is None else ge), (lt if le is None else le)
            return st.floats(
                low, high, exclude_min=gt is not None, exclude_max=lt is not None, allow_nan=False, allow_infinity=False
            )
        case inspect.EnumType(cls=cls):
            return st.sampled_from([member.value for member in cls])
        case inspect.LiteralType(values=choices):
            return st.sampled_from(list(choices))
        case inspect.VarTupleType(item_type=item, min_length=least, max_length=most):
            return st.lists(values(item), min_size=least or 0, max_size=most or 5)
        case inspect.StrType(pattern=str() as pattern):
            return st.from_regex(pattern.replace("$", r"\Z"))
        case inspect.StrType(min_length=least, max_length=most):
            return st.text(min_size=least or 0, max_size=most or 20)
    raise AssertionError(shape)


def text_of(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def plain(value: object) -> object:
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


@given(st.data())
@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.large_base_example, HealthCheck.data_too_large, HealthCheck.too_slow],
)
def test_every_key_set_by_its_variable_arrives_with_that_origin(data: st.DataObject) -> None:
    chosen = {key.variable: data.draw(values(inspect.type_info(key.kind)), label=key.name) for key in KEYS}
    loaded = load({variable: text_of(value) for variable, value in chosen.items()})
    assert {entry.variable: plain(entry.value) for entry in loaded.entries} == chosen
    assert all(entry.origin == entry.variable for entry in loaded.entries)


def test_no_two_keys_share_a_variable() -> None:
    variables = [key.variable for key in keys(DEFAULTS)] + list(SECRETS.values()) + list(RESERVED)
    assert len(variables) == len(set(variables))


def test_two_models_whose_names_would_share_a_variable_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('[models]\n"tiny-en" = { source = "somewhere" }\n')
    with pytest.raises(Exception, match=r"AUDIO_TEXT_MODELS_TINY_EN: rename one"):
        load({}, file=file)


@pytest.mark.parametrize(
    ("name", "variable"),
    [
        ("api.port", "AUDIO_TEXT_API_PORT"),
        ("tiers.audio_large.retry.retries", "AUDIO_TEXT_TIERS_AUDIO_LARGE_RETRY_RETRIES"),
        ("options.vad.threshold", "AUDIO_TEXT_OPTIONS_VAD_THRESHOLD"),
        ("options.vad_filter", "AUDIO_TEXT_OPTIONS_VAD_FILTER"),
        ("options.language", "AUDIO_TEXT_OPTIONS_LANGUAGE"),
        ('models."distil-large-v3.5".source', "AUDIO_TEXT_MODELS_DISTIL_LARGE_V3_5_SOURCE"),
    ],
)
def test_a_variable_is_the_key_in_capitals_with_underscores(name: str, variable: str) -> None:
    assert {key.name: key.variable for key in KEYS}[name] == variable


def test_the_defaults_name_every_required_key_and_only_finite_numbers() -> None:
    loaded = load({})
    assert {entry.origin for entry in loaded.entries} == {"default"}
    assert {entry.key for entry in loaded.entries} == {key.name for key in KEYS}
    assert all(math.isfinite(entry.value) for entry in loaded.entries if isinstance(entry.value, float))
