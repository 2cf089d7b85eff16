"""docs/invariants.md, made of what the checker checks: ``python -m tests.store.invariants_page`` writes it."""

from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Final

from ainf.store.verify import INVARIANTS

PAGE: Final = Path(__file__).parents[2] / "docs" / "invariants.md"
_HEAD: Final = """\
# What `ainf ledger verify` checks

Made by `python -m tests.store.invariants_page`, checked by `tests/store/test_verify.py`. Each invariant is tried in
`tests/store/test_corruption.py`: a sound ledger is corrupted by hand in every way that is named there, and exactly the
invariants that are then broken must be found.

`ainf ledger verify` reads the whole database as it was at one moment, beside a running gateway or without one, and
changes nothing. It exits with status 0 where everything holds, and with status 1 and the rows that break an invariant
where one does not. `--only I4` checks one (it can be given several times), `--json` prints for programs. I17 looks for
the providers' keys that the environment has; no finding ever shows one. It takes about 0.1 ms an exchange (300,000 of
them, under five caps each: 36 s of CPU, 65 MB); so long the gateway's write-ahead log beside the database grows.

Nothing is ever repaired by itself: a row that is wrong says that somebody or something wrote past the gateway, or that
the gateway has a defect, and which of two rows that differ is right is for people to decide. Stop the gateway, keep a
copy of the database as it is, and compare the rows with the audit trail (`ainf audit verify`, and the receipt of the
exchange) and with what the provider billed.

I15, that our books agree with a provider's own, is no question to the database alone, and is not in this list.

| name | what holds |
|---|---|
"""


def text() -> str:
    """Return the page."""
    rows = []
    for name, parts in groupby(INVARIANTS, key=attrgetter("name")):
        meanings = "; ".join(invariant.meaning for invariant in parts)
        rows.append(f"| {name} | {meanings} |\n")
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(text())
