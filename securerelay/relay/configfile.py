"""Read a TOML file into the configuration's dataclasses, and say exactly where it is wrong.

TOML parsers forget where a value stood, so on a fault the file is searched again for its line.
"""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from securerelay.errors import ConfigError
from securerelay.relay.checks import Check, PeerName, Wrong
from securerelay.text import printable

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

C = TypeVar("C")

_PART = re.compile(r"[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*'")
_PATH = rf"(?P<path>(?:{_PART.pattern})(?:\s*\.\s*(?:{_PART.pattern}))*)"
_HEADER = re.compile(rf"\s*\[+\s*{_PATH}\s*\]+\s*(?:#.*)?")
_KEY = re.compile(rf"\s*{_PATH}\s*=")


Rule = tuple[tuple[str, ...], Callable[[C], bool], str]
"""A key, what must hold, and what to say of the key if it does not."""


def read(path: Path, kind: type[C], rules: Sequence[Rule[C]] = ()) -> C:
    """Read a configuration file.

    Args:
        path: the file.
        kind: the dataclass that says what may be in it.
        rules: what must hold between keys.

    Returns:
        An instance, with defaults for what the file leaves out. Relative paths are taken from the
        file's folder.

    Raises:
        ConfigError: with one line that begins with ``file:line:``, or with ``file:`` if it cannot
            be read.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 text") from error
    try:
        table = tomllib.loads(text)
    except RecursionError as error:
        raise ConfigError(f"{path}:1: nested too deeply") from error
    except ValueError as error:
        # Not only TOMLDecodeError: a number of thousands of digits is refused by Python itself.
        raise ConfigError(_syntax(path, text, error)) from error
    reader = _Reader(path, text)
    config = reader.section(kind, table, ())
    for where, holds, otherwise in rules:
        if not holds(config):
            raise reader.wrong(where, otherwise)
    return config


def _syntax(path: Path, text: str, error: ValueError) -> str:
    message = printable(str(error), 200)
    where = re.search(r" \(at line (\d+), column \d+\)$", message)
    if where is not None:
        return f"{path}:{where[1]}: not TOML: {message[: where.start()]}"
    line = text.rstrip().count("\n") + 1
    return f"{path}:{line}: not TOML: {message.removesuffix(' (at end of document)')}"


class _Reader:
    """One file being read; it keeps the text to find lines in."""

    def __init__(self, path: Path, text: str):
        self._path = path
        self._text = text

    def section(self, kind: type[C], table: Any, where: tuple[str, ...], base: Any = None) -> C:
        """Read one table into its dataclass, on top of ``base`` if there is one."""
        self._must_be_table(table, where)
        known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
        for key in table:
            if key not in known:
                raise self.wrong((*where, key), f"unknown {_allowed(key, list(known))}")
        hints = get_type_hints(kind)
        values: dict[str, Any] = {}
        # A table of tables begins with what its sibling says, wherever in the file that stands.
        for key in sorted(table, key=lambda key: "like" in known[key].metadata):
            here, value, facts = (*where, key), table[key], known[key].metadata
            if "like" in facts:
                like = values.get(facts["like"], facts["each"]())
                values[key] = self._named(facts["each"], value, here, like)
            elif is_dataclass(hints[key]):
                values[key] = self.section(hints[key], value, here)
            else:
                values[key] = self._value(facts["check"], value, here)
        return kind(**values) if base is None else replace(base, **values)

    def _named(self, kind: type[C], table: Any, where: tuple[str, ...], base: C) -> dict[str, C]:
        """Read a table from peers' names to tables."""
        self._must_be_table(table, where)
        return {
            self._value(PeerName(), name, (*where, name)): self.section(
                kind, value, (*where, name), base
            )
            for name, value in table.items()
        }

    def _value(self, check: Check, value: Any, where: tuple[str, ...]) -> Any:
        try:
            read = check(value)
        except Wrong as wrong:
            culprit = value if wrong.value is None else wrong.value
            raise self.wrong(where, f"must be {wrong.allowed}, not {_shown(culprit)}") from wrong
        return self._path.parent.absolute() / read if isinstance(read, Path) else read

    def _must_be_table(self, table: Any, where: tuple[str, ...]) -> None:
        if not isinstance(table, dict):
            raise self.wrong(where, f"must be a table, not {_shown(table)}")

    def wrong(self, where: tuple[str, ...], what: str) -> ConfigError:
        """Make the error for one key."""
        name = printable(".".join(where), 80)
        return ConfigError(f"{self._path}:{find_line(self._text, where)}: {name}: {what}")


def _allowed(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, 1)
    return f"key (did you mean {near[0]}?)" if near else f"key; known are {', '.join(known)}"


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{printable(value, 40)}"'
    return printable(str(value), 40)


def find_line(text: str, where: Sequence[str]) -> int:
    """Find the line on which a key is set.

    It looks for table headers and keys at the beginnings of lines, which is how people write them.
    For a key inside an inline table it settles for the line of the table.

    Args:
        text: the whole file.
        where: the path of the key.

    Returns:
        The line's number, from 1; the one that leads to the most of the path.
    """
    best, best_depth = 1, 0
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        header, key = _HEADER.fullmatch(line), _KEY.match(line)
        if header is not None:
            table = here = _split(header["path"])
        elif key is not None:
            here = (*table, *_split(key["path"]))
        else:
            continue
        if len(here) > best_depth and tuple(where[: len(here)]) == here:
            best, best_depth = number, len(here)
    return best


def _split(path: str) -> tuple[str, ...]:
    return tuple(_strip(part) for part in _PART.findall(path))


def _strip(part: str) -> str:
    return part[1:-1] if part[0] in "\"'" else part
