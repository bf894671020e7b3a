"""An agent's own settings: from the environment (`WEATHER_API_KEY`), and from the file of --agent-settings.

Guarantees: what is missing or wrong is one line, which names the setting, where it is read from and what to do; no
value of a setting stands in it. What the environment says wins. Called by registry.py.
"""

import dataclasses
import difflib
import json
import re
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from agent_node.typed_json import DoesNotFit, read, to_plain

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_NUMBERS: tuple[Callable[[str], Any], ...] = (int, float)
_TEXT_OR_NOT = (list, dict, tuple, set, frozenset)
_FILE = "the file of --agent-settings"


class SettingsWrong(Exception):
    """A setting is missing or wrong. Its text is one line."""


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A file of agents' settings, with a table for each agent."""

    path: Path | None = None
    """None: there is none."""
    tables: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    fault: str = ""
    """Why it cannot be read; empty: it can."""

    def table(self, agent: str) -> Mapping[str, Any]:
        """The agent's. Raises SettingsWrong."""
        if self.fault:
            raise SettingsWrong(f"its settings cannot be read: --agent-settings {self.path}: {self.fault}")
        table = self.tables.get(agent, {})
        if not isinstance(table, dict):
            raise SettingsWrong(f"its settings are wrong: {agent} in {self.path} is no table: write [{agent}]")
        return table

    @property
    def name(self) -> str:
        """As people know it."""
        return str(self.path) if self.path is not None else _FILE


def read_file(path: Path | None) -> SettingsFile:
    """The file, or why it cannot be read."""
    if path is None:
        return SettingsFile()
    try:
        return SettingsFile(path, tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        return SettingsFile(path, fault=error.strerror or "it cannot be read")
    except UnicodeDecodeError:
        return SettingsFile(path, fault="it is not UTF-8")
    except tomllib.TOMLDecodeError as error:
        # Its words name a place and no value.
        return SettingsFile(path, fault=f"it is no TOML ({' '.join(str(error).split())})")


def read_settings(agent: str, kind: type[Any], environ: Mapping[str, str], file: SettingsFile) -> Any:
    """The settings, of the class that the agent declares. Raises SettingsWrong."""
    fields = _fields(kind)
    table = file.table(agent)
    for key in table:
        if key not in fields:
            near = difflib.get_close_matches(key, fields, 1)
            meant = f": is {near[0]} meant?" if near else ""
            raise SettingsWrong(f"it has no setting {key}, which stands under [{agent}] in {file.name}{meant}")
    values, sources = {}, {}
    for name, (key, hint) in fields.items():
        if (variable := variable_of(agent, name)) in environ:
            values[key], sources[name] = _from_text(hint, environ[variable]), variable
        elif name in table:
            values[key], sources[name] = to_plain(table[name]), f"{name} under [{agent}] in {file.name}"
    try:
        return read(kind, values)
    except DoesNotFit as error:
        raise SettingsWrong(_why(agent, error, fields, sources, file)) from error
    except Exception as error:
        raise SettingsWrong(f"its settings cannot be read ({type(error).__name__})") from error


def variable_of(agent: str, setting: str) -> str:
    """The variable that a setting is read from."""
    return re.sub("[^A-Z0-9]", "_", f"{agent}_{setting}".upper())


def _fields(kind: type[Any]) -> dict[str, tuple[str, Any]]:
    """By name: what the class knows the value as, and its type."""
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return {field.name: (field.name, hints[field.name]) for field in dataclasses.fields(kind) if field.init}
    found = {}
    for name, info in getattr(kind, "model_fields", {}).items():
        alias = info.validation_alias if isinstance(info.validation_alias, str) else info.alias
        found[name] = (alias or name, info.annotation)
    return found


def _why(
    agent: str,
    error: DoesNotFit,
    fields: Mapping[str, tuple[str, Any]],
    sources: Mapping[str, str],
    file: SettingsFile,
) -> str:
    """Which setting, and what to do."""
    place = error.path.removeprefix("$").removeprefix(".")
    name = next((name for name, (key, _) in fields.items() if re.match(rf"{re.escape(key)}($|[.\[])", place)), None)
    if name is None:
        where = f"{variable_of(agent, '')}* and [{agent}] in {file.name}"
        return f"its settings do not go together: {error.problem}; they are read from {where}"
    if name not in sources:
        here = f"set {variable_of(agent, name)}, or {name} under [{agent}] in {file.name}"
        return f"its setting {name} is missing: {here}"
    return f"its setting {place} is wrong, from {sources[name]}: {error.problem}"


def _from_text(kind: Any, text: str) -> Any:
    """What a variable says, as JSON of this type if it is such; else the text, which is refused where none may be."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _from_text(args[0], text)
    kinds = [each for each in args if each is not NoneType] if NoneType in args else [kind]
    kind = kinds[0] if len(kinds) == 1 else kind
    if kind is bool:
        return _WORDS.get(text.strip().lower(), text)
    if kind in _NUMBERS:
        with suppress(ValueError):
            return kind(text)
        return text
    if (get_origin(kind) or kind) in _TEXT_OR_NOT or _has_fields(kind):
        with suppress(ValueError):
            return json.loads(text)
        if (get_origin(kind) or kind) is not dict and not _has_fields(kind):
            return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _has_fields(kind: Any) -> bool:
    return dataclasses.is_dataclass(kind) or hasattr(kind, "model_validate")
