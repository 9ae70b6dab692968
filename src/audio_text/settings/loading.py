"""Reads the settings: the packaged defaults, then the operator's file, then the environment."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import msgspec

from audio_text.errors import ConfigurationError
from audio_text.settings.keys import PREFIX, RESERVED, ROOT, SECRETS, Key, children, dotted, keys, suggestion
from audio_text.settings.resources import resource
from audio_text.settings.rules import Role, problems
from audio_text.settings.sections import Secrets, Settings
from audio_text.settings.values import allowed, check, parse

DEFAULT = "default"
FILE_VARIABLE = "AUDIO_TEXT_SETTINGS_FILE"


class Entry(msgspec.Struct, frozen=True):
    """One effective value, and where it came from: `default`, a file's path or a variable's name."""

    key: str
    variable: str
    value: object
    origin: str


class LoadedSettings(msgspec.Struct, frozen=True):
    """The settings, with every value's origin for whoever has to explain them. Entries hold no secrets."""

    settings: Settings
    entries: tuple[Entry, ...]


def from_environment(*, role: Role | None = None) -> LoadedSettings:
    """Load what this process was started with. Raises ConfigurationError."""
    return load(os.environ, role=role)  # noqa: TID251 -- the one place that reads it


def load(environ: Mapping[str, str], *, file: Path | None = None, role: Role | None = None) -> LoadedSettings:
    """Lay the file (default: the one that AUDIO_TEXT_SETTINGS_FILE names) and the variables over the defaults.

    With a role, also what that role needs is checked: its secrets and the rules between its keys.
    Raises ConfigurationError that tells all problems at once.
    """
    draft = _Draft()
    draft.add_file(resource("settings.toml"), DEFAULT)
    named = file or environ.get(FILE_VARIABLE)
    if named:
        draft.add_file(Path(named), str(named))
    draft.add_environment({name: text for name, text in environ.items() if name.startswith(PREFIX)})
    secrets = Secrets(**{"_".join(path): environ.get(name, "") for path, name in SECRETS.items()})
    return draft.finish(secrets, role)


class _Draft:
    """Values as they pile up, in plain types, with the origin of each and everything found wrong on the way."""

    def __init__(self) -> None:
        self._tree: dict[str, Any] = {}
        self._origins: dict[str, str] = {}
        self._problems: list[str] = []

    def add_file(self, path: Path, origin: str) -> None:
        try:
            tree = msgspec.toml.decode(path.read_bytes())
        except OSError as error:
            raise ConfigurationError(f"The settings file {path} cannot be read: {error.strerror}.") from error
        except ValueError as error:
            raise ConfigurationError(f"The settings file {path} is not valid TOML: {error}.") from error
        self._add(ROOT, tree, origin)

    def add_environment(self, variables: Mapping[str, str]) -> None:
        handled = {*RESERVED, *SECRETS.values()}
        known = self._known()
        for _ in range(2):  # twice: a table given whole may add the tiers and models that longer names speak of
            now = {name: key for name, key in known.items() if name in variables and name not in handled}
            for name, key in sorted(now.items(), key=lambda item: len(item[1].path)):
                self._add_variable(key, variables[name])
            handled |= now.keys()
            known = self._known()
        for name in sorted(variables.keys() - handled):
            self._problems.append(_unknown_variable(name, variables[name], known))

    def finish(self, secrets: Secrets, role: Role | None) -> LoadedSettings:
        self._problems += [
            f"{key.name} is missing: it must be {allowed(key.kind)}, in a settings file or as {key.variable}."
            for key in keys(self._tree)
            if key.is_required and not key.is_table and key.name not in self._origins
        ]
        self._complain()
        complete = msgspec.convert(self._tree, Settings)
        offered = {name: model for name, model in complete.models.items() if model.source}
        settings = msgspec.structs.replace(complete, models=offered, secrets=secrets)
        if role is not None:
            self._problems += problems(settings, role, lambda key: _place(self._origins.get(key, DEFAULT)))
            self._complain()
        return LoadedSettings(settings, tuple(self._entries(msgspec.to_builtins(complete))))

    def _entries(self, tree: Mapping[str, Any]) -> list[Entry]:
        found: list[Entry] = []
        for key in keys(tree):
            if not key.is_table:
                value: Any = tree
                for name in key.path:
                    value = value[name]
                found.append(Entry(key.name, key.variable, value, self._origins.get(key.name, DEFAULT)))
        return found

    def _complain(self) -> None:
        if len(self._problems) > 1:
            raise ConfigurationError("\n  - ".join(["The settings are not usable:", *self._problems]))
        if self._problems:
            raise ConfigurationError(self._problems[0])

    def _known(self) -> dict[str, Key]:
        known: dict[str, Key] = {}
        for key in keys(self._tree):
            other = known.setdefault(key.variable, key)
            if other is not key:
                raise ConfigurationError(f"{other.name} and {key.name} share the variable {key.variable}: rename one.")
        return known

    def _add_variable(self, key: Key, text: str) -> None:
        try:
            value = json.loads(text) if key.is_table else parse(text, key.kind)
        except ValueError:
            self._refuse(key, text, key.variable)
        else:
            self._add(key, value, key.variable)

    def _add(self, key: Key, value: object, origin: str) -> None:
        if not key.is_table:
            self._set(key, value, origin)
        elif not isinstance(value, dict):
            self._refuse(key, value, origin)
        else:
            self._node(key.path)
            table = cast("dict[str, object]", value)
            known = {child.path[-1]: child for child in children(key, table)}
            for name, item in table.items():
                if name in known:
                    self._add(known[name], item, origin)
                else:
                    self._problems.append(_unknown_key((*key.path, name), list(known), origin))

    def _set(self, key: Key, value: object, origin: str) -> None:
        try:
            plain = check(value, key.kind)
        except ValueError:
            self._refuse(key, value, origin)
            return
        self._node(key.path[:-1])[key.path[-1]] = plain
        self._origins[key.name] = origin

    def _node(self, path: tuple[str, ...]) -> dict[str, Any]:
        node = self._tree
        for name in path:
            node = node.setdefault(name, {})
        return node

    def _refuse(self, key: Key, value: object, origin: str) -> None:
        shown = json.dumps(value, default=str, ensure_ascii=False)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."
        hint = _SERVICE_LINK_HINT if shown.startswith('"tcp://') else ""
        self._problems.append(f"{key.name} is {shown} {_place(origin)}: it must be {allowed(key.kind)}.{hint}")
        # Named all the same, so that a value which is there and wrong is not reported as missing, too.
        self._origins.setdefault(key.name, origin)


_SHOWN = 80
"""Characters of a refused value that a message repeats."""

_SERVICE_LINK_HINT = (
    " Kubernetes makes such variables for a Service whose name begins with audio-text: "
    "set enableServiceLinks: false in the pod."
)


def _place(origin: str) -> str:
    return "by default" if origin == DEFAULT else f"in {origin}"


def _unknown_key(path: tuple[str, ...], known: list[str], origin: str) -> str:
    if path in SECRETS or path[0] == "secrets":
        secret = SECRETS.get(path, ", ".join(SECRETS.values()))
        return f"{dotted(path)} {_place(origin)}: secrets come only from the environment ({secret})."
    near = suggestion(path[-1], known) or f" Known there: {', '.join(known)}."
    return f"There is no setting {dotted(path)} ({_place(origin)}).{near}"


def _unknown_variable(name: str, text: str, known: Mapping[str, Key]) -> str:
    hint = suggestion(name, [*known, *RESERVED, *SECRETS.values()], prefix=PREFIX)
    if text.startswith("tcp://") or re.search(r"_SERVICE_(HOST|PORT)|_PORT_\d+_", name):
        hint = _SERVICE_LINK_HINT
    elif name.endswith("_ENV"):
        hint = " It is one of the older service's names: `audio-text settings --import-env FILE` translates them."
    return f"There is no setting for the variable {name}.{hint or ' `audio-text settings` lists all of them.'}"
