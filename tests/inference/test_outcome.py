"""The arbiter: one ending wins."""

import itertools

import pytest

from ainf.inference.outcome import Ending, Evidence, Outcome, OutcomeArbiter, Verdict
from ainf.inference.usage import Usage


@pytest.mark.parametrize("order", list(itertools.permutations(list(Ending)[:4])))
def test_the_first_offer_wins(order):
    """In whatever order they come, the first is taken, and every later one is told no."""
    seen = []
    arbiter = OutcomeArbiter(seen.append)
    assert [arbiter.offer(Verdict(ending)) for ending in order] == [True, False, False, False]
    assert arbiter.verdict == Verdict(order[0])
    assert seen == [Verdict(order[0])]


def test_what_follows_from_the_first_offer_is_done_before_it_returns():
    """The callback runs inside the winning offer, and already sees the verdict; offers made in it are told no."""
    answers = []

    def on_first(verdict):
        answers.append((arbiter.verdict is verdict, arbiter.offer(Verdict(Ending.SHUTDOWN))))

    arbiter = OutcomeArbiter(on_first)
    assert arbiter.offer(Verdict(Ending.COMPLETED))
    assert answers == [(True, False)]


def test_before_any_offer_there_is_no_verdict():
    """Nothing has ended yet."""
    assert OutcomeArbiter(print).verdict is None


def test_an_outcome_names_its_ending():
    """The ending is the verdict's."""
    outcome = Outcome(Verdict(Ending.TERMINATED, "killed"), "error", Usage(), Evidence.METERED, 5)
    assert outcome.ending is Ending.TERMINATED
