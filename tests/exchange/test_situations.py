"""The worked-out rule: docs/settlement.md shows it as it is, and nothing that can happen is missing."""

from pathlib import Path

import pytest

from ainf.exchange.rule import OURS
from ainf.exchange.situations import Abort, Situation, cases, document
from ainf.inference.outcome import Ending, Evidence

PAGE = Path(__file__).parents[2] / "docs" / "settlement.md"


def test_the_page_is_the_rule():
    """The table in the docs is what the code does."""
    assert document() in PAGE.read_text(), "docs/settlement.md is not `ainf.exchange.situations.document()`"


def test_every_ending_is_there():
    """All but ``abandoned``, which recovery settles by what is durable."""
    assert {case.ending for case in cases()} == set(Ending) - {Ending.ABANDONED}
    assert {case.situation for case in cases()} == set(Situation)
    assert {case.abort for case in cases()} == set(Abort)


@pytest.mark.parametrize("case", list(cases()), ids=str)
def test_bounds(case):
    """What it costs is nothing where the provider has no reason to bill; cut for money, metered stays inside the hold.

    Only ours are broken off.
    """
    known, reckoning = case.known(), case.reckoning()
    assert (case.abort is Abort.NONE) or (case.ending in OURS)
    goes_on = known.aborted_billing in {"drain", "held"}
    is_free = case.situation is Situation.NO_HEAD or (case.situation is Situation.SENT and not goes_on)
    assert (reckoning.cost_nusd == 0) is is_free
    if reckoning.evidence is Evidence.METERED and case.is_capped and known.aborted_billing != "drain":
        assert reckoning.cost_nusd <= known.held_nusd
    assert reckoning.usage_rejected is (case.situation is Situation.REJECTED)
