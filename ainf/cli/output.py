"""How the commands print: aligned tables for people, JSON for programs."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, Final

import attrs
import click
import msgspec

from ainf.inference.moments import rfc3339
from ainf.inference.money import format_usd
from ainf.pricing import Rates

_GAP = "  "


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their head, columns aligned; columns of numbers to the right.

    What is not printable (a provider's or client's text may hold anything) is shown escaped.
    """
    cells = [list(map(printable, row)) for row in rows]
    columns = list(zip(head, *cells, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [_is_numeric(column[1:]) for column in columns]
    for row in [list(head), *cells]:
        parts = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        click.echo(_GAP.join(parts).rstrip())


def without_empty(head: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Return a table without the columns that hold nothing but dashes."""
    kept = [number for number in range(len(head)) if any(row[number] != "-" for row in rows)]
    return [head[number] for number in kept], [[row[number] for number in kept] for row in rows]


def printable(text: str) -> str:
    """Return a text with everything escaped that a terminal would not just print."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def print_json(value: object) -> None:
    """Print a value as JSON, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def record(value: attrs.AttrsInstance) -> dict[str, Any]:
    """Return a record as JSON tells it: its fields, times (``*_at``) as RFC 3339."""
    fields: Mapping[str, Any] = attrs.asdict(value)
    return {name: moment(field) if name.endswith("_at") else field for name, field in fields.items()}


def moment(at: int | None) -> str | None:
    """Return a time as RFC 3339, if there is one."""
    return None if at is None else rfc3339(at)


def brief(at: int | None) -> str:
    """Return a time for a table, to the second."""
    return "-" if at is None else rfc3339(at)[:19] + "Z"


RATE_COLUMNS: Final = {
    "input": attrgetter("input"),
    "cached": attrgetter("cached_input"),
    "write": attrgetter("cache_write"),
    "long write": attrgetter("long_cache_write"),
    "output": attrgetter("output"),
    "reasoning": attrgetter("reasoning"),
    "audio in": attrgetter("audio_input"),
    "audio out": attrgetter("audio_output"),
}
"""The rates of a price by the heads of their columns."""


def shown_rates(rates: Rates) -> list[str]:
    """Return USD per million tokens by column, a dash for what is not covered."""
    shown = (rate_of(rates) for rate_of in RATE_COLUMNS.values())
    return ["-" if rate is None else format_usd(rate) for rate in shown]


def _is_numeric(cells: Sequence[str]) -> bool:
    numbers = [cell for cell in cells if cell != "-"]
    return bool(numbers) and all(number.lstrip("-").replace(".", "", 1).isdecimal() for number in numbers)
