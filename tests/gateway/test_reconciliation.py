"""Our ledger beside the provider's books: to the nano-dollar where usage was reported, listed where we counted."""

import os
import random

import pytest

from benchmarks import reconcile as books
from benchmarks.reconcile import KINDS, POLICIES, reconcile_all, table

FULL = os.environ.get("AINF_LAW") == "full"
SEED = int(os.environ.get("AINF_SEED", random.SystemRandom().randrange(1_000_000)))


async def test_the_books_agree(tmp_path, autojump_clock, tell, count_cases):
    """What was posted, and the listed differences of what we counted, are what the provider bills."""
    pairs = await reconcile_all(tmp_path, repeats=10 if FULL else 1, seed=SEED)
    count_cases(f"reconciliation, {len(POLICIES)} policies x {len(KINDS)} endings, AINF_SEED={SEED}", len(pairs))
    assert [pair for pair in pairs if pair.evidence == "reported" and pair.difference_nusd] == []
    listed = {pair.inference_id: pair.difference_nusd for pair in pairs if pair.evidence != "reported"}
    assert sum(pair.posted_nusd for pair in pairs) + sum(listed.values()) == sum(pair.billed_nusd for pair in pairs)
    by_usage = {(pair.policy, pair.kind.title) for pair in pairs if pair.evidence == "reported"}
    assert {(policy, "completed") for policy in POLICIES} <= by_usage
    drained = {("drain", ending) for ending in ("client_disconnected", "deadline_exceeded", "terminated")}
    assert drained | {("drain", "spend_cap_exceeded")} <= by_usage, "read on to the end, they agree"
    for line in table(pairs).splitlines():
        tell(line)


async def test_a_bill_for_what_we_do_not_know_is_seen(tmp_path, autojump_clock, monkeypatch):
    """An exchange that only the provider has is an error, not a difference."""
    monkeypatch.setattr(books, "_entries", lambda here, inference_id: [])
    with pytest.RaisesGroup(books.UnmatchedError, flatten_subgroups=True):
        await books.reconcile(tmp_path, "delivered", KINDS[:1], random.Random(SEED))
