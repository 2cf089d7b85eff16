"""``verify``: every invariant of the ledger over the whole database, as seen by one reading transaction.

Memory stays bounded: large tables are walked in pages, and of each invariant only so many breaking rows are kept.
Nothing is ever repaired: what the rows should have been is for people to decide.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import attrs

from ainf.store.attempt_queries import ATTEMPTS
from ainf.store.capture import CAPTURE
from ainf.store.chain import chain_faults
from ainf.store.closings import ADJUSTMENTS, CLOSINGS, PRICES
from ainf.store.invariants import MOST_ROWS, Breach, Check, Invariant, Reading, unheard
from ainf.store.leaks import LEAKS, without_secrets
from ainf.store.money_queries import MONEY
from ainf.store.record_queries import RECORDS
from ainf.store.replay import REPLAY
from ainf.store.scopes import SCOPES
from ainf.store.transaction import Transaction

CHAINS_HOLD: Final = Invariant("I11", "the audit chains are gapless, linked and whole")


@attrs.frozen
class Finding:
    """One row that breaks an invariant."""

    invariant: str
    meaning: str
    """What holds where nothing is wrong."""
    row: Mapping[str, Any]


Progress: TypeAlias = Callable[[Check, int], None]
"""Told the check that is at work and how many more rows it has read: 0 when it begins."""


def _in_order(name: str) -> tuple[bool, str, int]:
    """Return what sorts names as people do, the common list before what is of this schema only: I2 before I10."""
    return not name.startswith("I"), name[0], int(name[1:])


def _broken_chains(reading: Reading) -> Iterator[Breach]:
    return ((CHAINS_HOLD, {"fault": fault}) for fault in chain_faults(reading.tx, reading.on_rows))


CHECKS: Final = (
    *(query.check() for query in (*MONEY, *ATTEMPTS, *RECORDS)),
    REPLAY,
    SCOPES,
    CLOSINGS,
    ADJUSTMENTS,
    PRICES,
    *CAPTURE,
    Check((CHAINS_HOLD,), _broken_chains),
    LEAKS,
)
CAPTURE_INVARIANTS: Final = frozenset({"R1", "R2", "R3"})
"""The names of those that say that each routed exchange is captured once, as what it was, and no other."""
INVARIANTS: Final = tuple(
    sorted((one for check in CHECKS for one in check.invariants), key=lambda invariant: _in_order(invariant.name))
)
"""Every invariant, by its name; those of one name are its parts."""


def verify(
    tx: Transaction,
    most: int = MOST_ROWS,
    *,
    secrets: Sequence[str] = (),
    only: Collection[str] = (),
    progress: Progress | None = None,
) -> list[Finding]:
    """Return what breaks the ledger's invariants; nothing where all hold.

    It is an operation for a reading transaction, since it takes as long as the ledger is large.

    Args:
        tx: the transaction.
        most: of each invariant, no more rows than this are returned.
        secrets: the providers' keys, which must stand nowhere in the database (I17); no finding shows one.
        only: the names of the invariants to check; empty is all.
        progress: hears how far it has come.
    """
    findings: list[Finding] = []
    for check in checks_of(only):
        on_rows = partial(progress, check) if progress is not None else unheard
        on_rows(0)
        findings += _findings(check, Reading(tx, most, tuple(secrets), on_rows))
    return [finding for finding in findings if not only or finding.invariant in only]


def assert_capture_invariant(tx: Transaction) -> None:
    """Check that each routed exchange is captured once, as what it was, and that no pinned one is.

    Raises:
        AssertionError: it is not so; the rows are told.
    """
    findings = verify(tx, only=CAPTURE_INVARIANTS)
    assert not findings, f"The routing is not captured as it was: {findings}"


def checks_of(only: Collection[str] = ()) -> tuple[Check, ...]:
    """Return the checks that look after the invariants of these names; all of them where none is named."""
    return tuple(check for check in CHECKS if not only or any(invariant.name in only for invariant in check.invariants))


def _findings(check: Check, reading: Reading) -> Iterator[Finding]:
    found: Counter[Invariant] = Counter()
    for invariant, row in check.breaches(reading):
        found[invariant] += 1
        if found[invariant] <= reading.most:
            yield Finding(invariant.name, invariant.meaning, without_secrets(row, reading.secrets))
