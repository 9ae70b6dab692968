"""One value: text from the environment read as its type, checked, and its type said in words."""

import json
import math
from collections.abc import Sequence
from typing import Any, cast

import msgspec
from msgspec import inspect

Kind = Any
"""An annotated type as it stands on a field of a Section: `Annotated[int, Meta(ge=1)]`, `str | None`, …"""


def parse(text: str, kind: Kind) -> object:
    """Read a variable's text as a value of this kind, in plain TOML-like types. Raises ValueError.

    A list is JSON or comma-separated; nothing at all means None where None is allowed.
    """
    shape = _bare(inspect.type_info(kind))
    if isinstance(shape, inspect.StrType | inspect.EnumType | inspect.LiteralType) or (not text and _allows_none(kind)):
        return check(text, kind)
    text = text.strip()
    if isinstance(shape, inspect.VarTupleType):
        if text.startswith("["):
            return check(json.loads(text), kind)
        return _convert([item.strip() for item in text.split(",") if item.strip()], kind, strict=False)
    return _convert(text, kind, strict=False)


def check(value: object, kind: Kind) -> object:
    """Return a value that came typed (from TOML or JSON) in plain types. Raises ValueError when it is not allowed."""
    if value == "" and _allows_none(kind):
        return None
    return _convert(value, kind, strict=True)


def allowed(kind: Kind) -> str:
    """Say in words what this kind of value may be."""
    return _words(inspect.type_info(kind))


def _convert(value: object, kind: Kind, *, strict: bool) -> object:
    result = msgspec.to_builtins(msgspec.convert(value, kind, strict=strict))
    if isinstance(result, float) and not math.isfinite(result):
        raise ValueError("not a finite number")  # TOML and float() both know inf and nan
    return result


def _allows_none(kind: Kind) -> bool:
    shape = inspect.type_info(kind)
    return isinstance(shape, inspect.UnionType) and shape.includes_none


def _bare(shape: inspect.Type) -> inspect.Type:
    """Look through descriptions and `| None`."""
    if isinstance(shape, inspect.Metadata):
        return _bare(shape.type)
    if isinstance(shape, inspect.UnionType):
        return next(_bare(item) for item in shape.types if not isinstance(item, inspect.NoneType))
    return shape


def _words(shape: inspect.Type) -> str:  # noqa: PLR0911 -- one line for each kind of value there is
    match shape:
        case inspect.Metadata():
            extra = cast("dict[str, str] | None", shape.extra_json_schema)  # pyright: ignore[reportUnknownMemberType] -- a bare dict in msgspec
            return (extra or {}).get("description") or _words(shape.type)
        case inspect.UnionType(types=types):
            inner = next(item for item in types if not isinstance(item, inspect.NoneType))
            return f"{_words(inner)}, or empty"
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return f"a whole number{_range(shape)}"
        case inspect.FloatType():
            return f"a number{_range(shape)}"
        case inspect.EnumType(cls=cls):
            return _choice([str(member.value) for member in cls])
        case inspect.LiteralType(values=values):
            return _choice([str(value) for value in values])
        case inspect.VarTupleType(item_type=item, min_length=least, max_length=most):
            size = f" of {least or 0} to {most} values" if most else ""
            return f"a list{size}, each {_words(item)}"
        case inspect.StrType():
            return f"text{_limits(shape)}"
        case _:
            return "a table"


def _choice(values: Sequence[str]) -> str:
    return " or ".join((", ".join(values[:-1]), values[-1]))


def _range(shape: inspect.IntType | inspect.FloatType) -> str:
    bounds = {"at least": shape.ge, "above": shape.gt, "at most": shape.le, "below": shape.lt}
    if shape.ge is not None and shape.le is not None:
        return f" from {shape.ge} to {shape.le}"
    said = " and ".join(f"{word} {bound}" for word, bound in bounds.items() if bound is not None)
    return f" {said}" if said else ""


def _limits(shape: inspect.StrType) -> str:
    if shape.pattern:
        return f" like {shape.pattern}"
    if shape.max_length:
        return f" of at most {shape.max_length} characters"
    return " that is not empty" if shape.min_length else ""
