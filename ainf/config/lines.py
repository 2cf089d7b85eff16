"""On which line each key of a TOML document stands; ``tomllib`` itself does not say.

A table of an array has its number as a key of its own: ``("models", "m", "price", "[1]", "from")``.

A statement of TOML ends at a line's end, so the shortest run of lines that parses by itself is one statement, and the
keys that it yields stand where it begins. No second grammar of TOML is needed for that.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

KeyPath: TypeAlias = tuple[str, ...]

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_PLACE = re.compile(r"\[[0-9]+\]")


def key_lines(text: str) -> dict[KeyPath, int]:
    """Return the line (from 1) of every key and table of a document that ``tomllib`` has taken as valid."""
    lines: dict[KeyPath, int] = {}
    arrays: dict[KeyPath, int] = {}
    table: KeyPath = ()
    for line, statement in _statements(text):
        found = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            table = _numbered(_deepest(found), arrays, is_new=statement.lstrip().startswith("[["))
            paths: Iterator[KeyPath] = (table[:depth] for depth in range(1, len(table) + 1))
        else:
            paths = _paths(found, table)
        for path in paths:
            lines.setdefault(path, line)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    run: list[str] = []
    begin = 1
    for number, line in enumerate(text.split("\n"), start=1):
        run.append(line)
        statement = "\n".join(run)
        try:
            tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue  # the value goes on in the next line
        yield begin, statement
        run.clear()
        begin = number + 1


def _deepest(found: Mapping[str, Any]) -> KeyPath:
    path: KeyPath = ()
    value: Any = found
    while value:
        if isinstance(value, list):  # [[an array of tables]]
            value = value[0]
            continue
        ((name, value),) = value.items()
        path += (name,)
    return path


def _numbered(header: KeyPath, arrays: dict[KeyPath, int], *, is_new: bool) -> KeyPath:
    """Return the path of a header with the numbers of the tables of arrays on it, the last of each.

    Args:
        header: the names in it.
        arrays: how many tables each array has so far; counted on.
        is_new: whether it begins another table of an array.
    """
    path: KeyPath = ()
    for depth, name in enumerate(header, start=1):
        path += (name,)
        if is_new and depth == len(header):
            arrays[path] = arrays.get(path, 0) + 1
        if path in arrays:
            path += (place_in(arrays[path] - 1),)
    return path


def place_in(number: int) -> str:
    """Return the key that stands for an array's value of this number, from 0."""
    return f"[{number}]"


def dotted(path: KeyPath) -> str:
    """Return a key as it would stand in a document, from the top."""
    keys = "".join(part if _PLACE.fullmatch(part) else f".{_quoted(part)}" for part in path)
    return keys.removeprefix(".")


def _quoted(part: str) -> str:
    return part if _BARE.fullmatch(part) else f'"{part}"'


def _paths(found: Mapping[str, Any], prefix: KeyPath) -> Iterator[KeyPath]:
    for name, value in found.items():
        yield (*prefix, name)
        yield from _paths_in(value, (*prefix, name))


def _paths_in(value: object, prefix: KeyPath) -> Iterator[KeyPath]:
    if isinstance(value, dict):
        yield from _paths(value, prefix)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            if isinstance(each, dict):
                yield from _paths(each, (*prefix, place_in(number)))
