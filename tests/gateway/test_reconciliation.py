"""Our ledger beside the provider's books: to the nano-dollar where usage was reported, listed where we counted."""

import random

import pytest

from benchmarks import reconcile as books
from benchmarks import reconcile_routed as routed
from benchmarks.billed import POLICIES, UnmatchedError
from benchmarks.reconcile import KINDS, reconcile_all, table
from tests.extent import FULL, SEED

REFUSED = [kind for kind in routed.KINDS if kind.title.startswith(("refused", "reset before"))]
"""Their first model takes nothing on; the first two end with the second's own usage."""


@pytest.mark.law
async def test_the_books_agree(tmp_path, autojump_clock, tell, count_cases):
    """What was posted, and the listed differences of what we counted, are what the provider bills."""
    pairs = await reconcile_all(tmp_path, repeats=10 if FULL else 1, seed=SEED)
    count_cases(f"reconciliation, {len(POLICIES)} policies x {len(KINDS)} endings, AINF_SEED={SEED}", len(pairs))
    assert [pair for pair in pairs if not pair.is_exact] == []
    listed = {pair.inference_id: pair.difference_nusd for pair in pairs if pair.evidence != "reported"}
    assert sum(pair.posted_nusd for pair in pairs) + sum(listed.values()) == sum(pair.billed_nusd for pair in pairs)
    by_usage = {(pair.policy, pair.kind.title) for pair in pairs if pair.evidence == "reported"}
    assert {(policy, "completed") for policy in POLICIES} <= by_usage
    drained = {("drain", ending) for ending in ("client_disconnected", "deadline_exceeded", "terminated")}
    assert drained | {("drain", "spend_cap_exceeded")} <= by_usage, "read on to the end, they agree"
    for line in table(pairs).splitlines():
        tell(line)


@pytest.mark.law
async def test_the_books_of_two_providers_agree(tmp_path, autojump_clock, tell, count_cases):
    """Of each attempt too: what was posted for it, and what is listed, are what its own provider bills."""
    pairs = await routed.reconcile_all(tmp_path, repeats=10 if FULL else 1, seed=SEED)
    suite = f"reconciliation, routed, {len(POLICIES)} policies x {len(routed.KINDS)} kinds, AINF_SEED={SEED}"
    count_cases(suite, len(pairs))
    assert [pair for pair in pairs if not pair.is_exact] == []
    parts = [part for pair in pairs for part in pair.parts]
    listed = sum(part.difference_nusd for part in parts if part.evidence != "reported")
    assert sum(part.posted_nusd for part in parts) + listed == sum(part.billed_nusd for part in parts)
    for pair in pairs:
        first, *others = pair.parts
        if pair.kind in REFUSED:
            assert (first.posted_nusd, first.billed_nusd) == (0, 0)
        if pair.kind.loser is not None:
            assert bool(others) == (pair.policy == "delivered"), "whoever bills on is not hedged"
            lost = pair.parts[pair.kind.loser - 1].posted_nusd if others else None
            assert lost is None or (lost > 0) == pair.kind.loser_has_head
    agreed = {(pair.policy, pair.kind.title) for pair in pairs if not pair.difference_nusd}
    assert {(policy, kind.title) for policy in POLICIES for kind in REFUSED[:2]} <= agreed
    one_answered = [kind for kind in routed.KINDS if kind in REFUSED or kind.loser is not None]
    assert {("drain", kind.title) for kind in one_answered} <= agreed, "it was read to its end"
    for line in routed.table(pairs).splitlines():
        tell(line)


@pytest.mark.parametrize("room", [books, routed])
async def test_a_bill_for_what_we_do_not_know_is_seen(tmp_path, autojump_clock, monkeypatch, room):
    """A call that only the provider has is an error, not a difference."""
    monkeypatch.setattr(room, "entries_of", lambda here, inference_id: [])
    with pytest.RaisesGroup(UnmatchedError, flatten_subgroups=True):
        await room.reconcile(tmp_path, "delivered", room.KINDS[:1], random.Random(SEED))
