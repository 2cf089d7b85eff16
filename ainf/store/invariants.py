"""The words of the ledger's checker: what an invariant is, what breaks one, and what a check reads with.

A check is one walk over the database; it may look after several invariants at once. Nothing here changes a row.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

import attrs

from ainf.store.paging import walk
from ainf.store.transaction import Parameters, Row, Transaction

MOST_ROWS: Final = 100


@attrs.frozen
class Invariant:
    """Something that must hold."""

    name: str
    """Several invariants may share a name: parts of one."""
    meaning: str
    """What holds where nothing is wrong."""


Breach: TypeAlias = tuple[Invariant, Mapping[str, Any]]
"""An invariant, and a row that breaks it."""


def unheard(_rows: int) -> None:
    """Tell nobody how far a check has come."""


@attrs.frozen
class Reading:
    """What a check reads with: one state of the database, and who hears how far it has come."""

    tx: Transaction
    most: int = MOST_ROWS
    """How many breaches of an invariant are of interest."""
    secrets: tuple[str, ...] = attrs.field(default=(), repr=False)
    """Texts that must stand nowhere in the database."""
    on_rows: Callable[[int], None] = unheard
    """Hears of every page of rows that was read."""

    def walk(self, sql: str, start: Parameters) -> Iterator[Row]:
        """Yield the rows of a query, a page at a time: ``paging.walk``."""
        return walk(self.tx, sql, start, self.on_rows)


@attrs.frozen
class Check:
    """One walk over the database, and the invariants that it looks after."""

    invariants: tuple[Invariant, ...]
    breaches: Callable[[Reading], Iterator[Breach]]


@attrs.frozen
class Query:
    """An invariant as a query for the rows that break it."""

    name: str
    meaning: str
    columns: tuple[str, ...]
    sql: str

    def check(self) -> Check:
        """Return the check that asks it."""
        invariant = Invariant(self.name, self.meaning)

        def breaches(reading: Reading) -> Iterator[Breach]:
            limited = f"SELECT * FROM ({self.sql}) AS breaking LIMIT ?"  # noqa: S608 - queries are constants
            for row in reading.tx.execute(limited, (reading.most,)):
                yield invariant, dict(zip(self.columns, row, strict=True))

        return Check((invariant,), breaches)


def words(these: Iterable[str]) -> str:
    """Return words of ours as a list in SQL."""
    return "(" + ", ".join(f"'{word}'" for word in sorted(these)) + ")"
