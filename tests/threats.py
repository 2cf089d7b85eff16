"""docs/threats.md: every bad input and threat that we know, what it gets, and the tests that show it.

A test says by the marker ``threat`` which rows it shows; ``cases`` marks single cases of a table. ``python -m
tests.threats`` writes the page; ``test_threats.py`` holds it against the tests, and every row against having one.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias

import pytest

from tests.threat_rows import NOTES, SECTIONS, UNMET, Row

ROOT: Final = Path(__file__).parent.parent
PAGE: Final = ROOT / "docs" / "threats.md"
_MARKS: Final = ("mark.threat(", "tests.threats import cases")

Key: TypeAlias = int | str
"""A row's name: a number, or a letter and a number."""
Shown: TypeAlias = dict[str, dict[str, list[str]]]
"""File -> test -> the cases of it; none where it shows the row with all of them."""

ROWS: Final[Mapping[Key, Row]] = {row.key: row for section in SECTIONS for row in section.rows}

_HEAD: Final = """# Threats and bad input

Written by `python -m tests.threats`, checked by `tests/test_threats.py`: what each of these gets, and the tests that
show it, which carry the number of the row (`@pytest.mark.threat(22)`).

Every answer is JSON in the protocol of its path, with a request id and `x-should-retry`; it repeats at most 200
characters of what was sent, tells nothing of our inside or the provider's, and is never a 500.

A request is checked in this order: framing, sizes of the head, credential, limits of the key, body, JSON, fields,
model, price and hold; then the provider is dialled.

Ledger: `-` nothing is opened; `Z` settled at zero; `E` metered by our own count; `A` at the usage that the provider
reported; always once.
"""


def cases(table: Iterable[str], rows: Mapping[Key, Iterable[str]]) -> list[Any]:
    """The cases of a table as parameters, those that show a row with its mark.

    Args:
        table: the names of all cases.
        rows: row -> the names of the cases that show it.

    Raises:
        ValueError: a name is that of no case.
    """
    names = list(table)
    shows: dict[str, list[Key]] = {name: [] for name in names}
    for row, shown in rows.items():
        for name in shown:
            if name not in shows:
                raise ValueError(f"{name!r} is no case of the table")
            shows[name].append(row)
    return [
        pytest.param(name, marks=[pytest.mark.threat(*shows[name])] if shows[name] else [], id=name) for name in names
    ]


def shown_by() -> dict[Key, Shown]:
    """Row -> the tests that carry it, in the order of the files.

    Imports the files that have a mark; in a run of the whole suite they are imported already.

    Raises:
        ValueError: a mark names a row that is none, or is on what is no test.
    """
    shown: dict[Key, Shown] = {key: {} for key in ROWS}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        if any(mark in path.read_text() for mark in _MARKS):
            name = path.relative_to(ROOT).as_posix()
            for key, test, case in _marks_of(import_module(name.removesuffix(".py").replace("/", "."))):
                if key not in shown:
                    raise ValueError(f"{name}: {test}: there is no row {key!r}")
                kept = shown[key].setdefault(name, {}).setdefault(test, [])
                if case:
                    kept.append(case)
    return shown


def _marks_of(module: ModuleType) -> Iterator[tuple[Key, str, str]]:
    """The rows that a file's tests carry, with the test and the case; no case where it is all of them."""
    for name, test in vars(module).items():
        if name == "pytestmark" or getattr(test, "__module__", None) != module.__name__:
            continue
        for mark in getattr(test, "pytestmark", ()):
            if mark.name == "threat":
                if not name.startswith("test_"):
                    raise ValueError(f"{module.__name__}: {name} has the mark of a row, and is no test")
                yield from ((key, name, "") for key in mark.args)
            elif mark.name == "parametrize":
                for parameters in mark.args[1]:
                    inner = [each for each in getattr(parameters, "marks", ()) if each.name == "threat"]
                    yield from ((key, name, str(parameters.id)) for each in inner for key in each.args)


def document(shown: Mapping[Key, Shown]) -> str:
    """The page."""
    lines = [_HEAD]
    for section in SECTIONS:
        lines += [f"## {section.title}", ""]
        if section.text:
            lines += [section.text, ""]
        lines += [f"| # | {section.what} | {section.gets} | ledger | tests |", "|---|---|---|---|---|"]
        for row in section.rows:
            tests = _cell(shown[row.key]) or "none: see below"
            lines.append(f"| {row.key} | {row.what} | {row.gets} | {row.ledger} | {tests} |")
        lines.append("")
    for title, rows in (("What is met in a way of its own", NOTES), ("What cannot be met here", UNMET)):
        lines += [
            f"## {title}",
            "",
            "| # | why |",
            "|---|---|",
            *(f"| {key} | {why} |" for key, why in rows.items()),
            "",
        ]
    return "\n".join(lines)


def _cell(shown: Shown) -> str:
    cells = []
    for path, tests in shown.items():
        words = [f"`{test}`" + (f" ({', '.join(found)})" if found else "") for test, found in sorted(tests.items())]
        cells.append(f"[{path.removeprefix('tests/')}](../{path}): {', '.join(words)}")
    return "<br>".join(cells).replace("|", "\\|")


if __name__ == "__main__":
    sys.stdout.write(f"writing {PAGE}\n")
    PAGE.write_text(document(shown_by()))
