"""The map of settings: every key, the type of its value and the one variable that overrides it."""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache
from typing import cast, get_args, get_origin

import msgspec

from audio_text.settings.sections import Secrets, Settings
from audio_text.settings.values import Kind

PREFIX = "AUDIO_TEXT_"
RESERVED = {
    "AUDIO_TEXT_SETTINGS_FILE": "a file of settings, laid over the defaults",
    "AUDIO_TEXT_FOLDER": "where `audio-text up` keeps its data",
    "AUDIO_TEXT_SERVER": "the service that `audio-text transcribe` talks to",
    "AUDIO_TEXT_API_KEY": "the key that it sends",
    "AUDIO_TEXT_TEST_POSTGRES": "the database server that the tests use",
}
"""Variables that belong to a command, not to a key."""

SECRETS = {tuple(name.split("_", 1)): f"{PREFIX}{name.upper()}" for name in Secrets.__struct_fields__}
"""Where somebody would look for a secret in a file, and the variable it is read from."""


class Key(msgspec.Struct, frozen=True):
    """A place in the tree of settings: a value, or a table of them (which a variable may give as JSON)."""

    path: tuple[str, ...]
    kind: Kind
    is_required: bool

    @property
    def is_table(self) -> bool:
        """Whether there are keys below this one."""
        return get_origin(self.kind) is dict or (isinstance(self.kind, type) and issubclass(self.kind, msgspec.Struct))

    @property
    def name(self) -> str:
        """The key as TOML spells it: `models."tiny.en".source`."""
        return dotted(self.path)

    @property
    def variable(self) -> str:
        """The variable that overrides it: AUDIO_TEXT_MODELS_TINY_EN_SOURCE."""
        return PREFIX + re.sub(r"[^A-Z0-9]", "_", "_".join(self.path).upper())


ROOT = Key((), Settings, is_required=True)


def dotted(path: tuple[str, ...]) -> str:
    """Spell a path as TOML does."""
    return ".".join(part if re.fullmatch(r"[\w-]+", part, re.ASCII) else f'"{part}"' for part in path)


def suggestion(name: str, known: Iterable[str], *, prefix: str = "") -> str:
    """` Did you mean x?` when something known is near, else nothing; a prefix that all share counts for nothing."""
    near = get_close_matches(name.removeprefix(prefix), [other.removeprefix(prefix) for other in known], n=1)
    return f" Did you mean {prefix}{near[0]}?" if near else ""


def children(key: Key, names: Iterable[str]) -> Iterator[Key]:
    """Walk the keys of a table; where anybody may add names (tiers, models), those that stand there now."""
    if get_origin(key.kind) is dict:
        for name in names:
            yield Key((*key.path, name), get_args(key.kind)[1], is_required=True)
    else:
        for field in _fields(key.kind):
            yield Key((*key.path, field.encode_name), field.type, field.required)


@cache  # resolving annotations is slow, and every model and tier asks
def _fields(kind: type[msgspec.Struct]) -> list[msgspec.structs.FieldInfo]:
    return [field for field in msgspec.structs.fields(kind) if field.type is not Secrets]


def keys(tree: Mapping[str, object], top: Key = ROOT) -> Iterator[Key]:
    """Walk all keys there are below one, given the tiers and models that stand in this tree of values."""
    for key in children(top, tree):
        yield key
        if key.is_table:
            yield from keys(cast("Mapping[str, object]", tree.get(key.path[-1], {})), key)
