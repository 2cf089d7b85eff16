"""The ledger's entries: how they are posted, and what they say is held."""

import functools
from collections.abc import Sequence
from typing import Final, TypeAlias

from ainf.ledger import EntryKind
from ainf.store.transaction import Transaction

Posting: TypeAlias = tuple[EntryKind, int, str, int]
"""An entry of an exchange: its kind, the number of the attempt that it is for, that one's provider, nano-dollars."""

HELD: Final = """CASE WHEN e.kind IN ('hold', 'extend') THEN e.amount_nusd
    WHEN e.kind IN ('settle', 'release') THEN -e.amount_nusd ELSE 0 END"""
"""What an entry ``e`` adds to what is held, in SQL."""


def post(tx: Transaction, inference_id: str, account_id: str, at: int, postings: Sequence[Posting]) -> None:
    """Post entries of an exchange on its account, in their order; there is at least one."""
    values = [
        value
        for kind, attempt, provider, amount_nusd in postings
        for value in (inference_id, kind, account_id, provider, amount_nusd, at, attempt)
    ]
    tx.execute(_statement(len(postings)), values)


@functools.cache
def _statement(count: int) -> str:
    marks = ", ".join(["(?, ?, ?, ?, ?, ?, ?)"] * count)
    return (
        "INSERT INTO entries (inference_id, kind, account_id, provider, amount_nusd, at, attempt)"  # noqa: S608 - only marks are put in
        f" VALUES {marks}"
    )
