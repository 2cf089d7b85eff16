"""Why a request went where it went, and what it would have cost elsewhere."""

import pytest

from ainf.inference.outcome import Ending, Evidence
from ainf.inference.usage import Usage
from ainf.pricing import cost
from ainf.routing.hint import Hint
from ainf.store.base import EndedAttempt
from ainf.store.explanation import Explanation, Pinned, explain
from tests.store.books import Books
from tests.store.routed import PRICES, RULESET, USAGE, Routed, decision, line

AT_USAGE = {name: cost(price, USAGE) for name, price in PRICES.items()}


@pytest.fixture
def routed(tmp_path):
    return Routed(Books(tmp_path))


def explained(routed, named) -> Explanation:
    found = explain(routed.books.tx, named)
    assert isinstance(found, Explanation)
    return found


def would_cost(found):
    return {one.candidate.model: one.would_cost_nusd for one in found.alternatives}


def test_an_answered_request(routed):
    """Its outcome, its rule, the candidates as they were ranked and what each would have cost at the usage it had."""
    inference_id = routed.answered()
    found = explained(routed, inference_id)
    assert (found.outcome.status, found.outcome.inference_id) == ("succeeded", inference_id)
    assert (found.decided.ruleset, found.ruleset_body) == (RULESET.hash, RULESET.body)
    assert [one.candidate.model for one in found.alternatives] == ["small", "large", "weak"]
    assert [one.attempts for one in found.alternatives] == [(1,), (), ()]
    assert (found.usage, found.charged_nusd) == (USAGE, AT_USAGE["small"])
    assert would_cost(found) == {name: AT_USAGE[name] for name in ("small", "large", "weak")}
    assert explained(routed, str(found.outcome.outcome_id)) == found


def test_a_request_that_fell_back(routed):
    """All attempts are charged; what others would have cost is reckoned at the usage of the one that answered."""
    inference_id = routed.open(decision())
    routed.open_later(inference_id, 2, "large", EndedAttempt(1, 0))
    at = routed.books.tick()
    lost = line("small", at, usage=Usage(input_tokens=1000), error_code="upstream_truncated")
    routed.close(inference_id, "small", "large", attempts=(lost, line("large", at)), usage=USAGE + lost.usage,
                 cost_nusd=lost.cost_nusd + AT_USAGE["large"], charges=(lost.cost_nusd, AT_USAGE["large"]))  # fmt: skip
    found = explained(routed, inference_id)
    assert found.outcome.status == "fell_back"
    assert found.charged_nusd == lost.cost_nusd + AT_USAGE["large"]
    assert found.usage == USAGE
    assert would_cost(found)["large"] == AT_USAGE["large"]
    assert {one.candidate.model: one.attempts for one in found.alternatives} == {
        "small": (1,), "large": (2,), "weak": (),
    }  # fmt: skip


def test_a_race(routed):
    """Of two attempts that ran beside each other the one that answered tells the usage, also where it was the first."""
    inference_id = routed.open(decision())
    routed.open_later(inference_id, 2, "large")
    at = routed.books.tick()
    lost = line("large", at, usage=Usage(input_tokens=900), evidence=Evidence.METERED)
    routed.close(inference_id, "small", attempts=(line("small", at), lost), usage=USAGE + lost.usage, served=1,
                 cost_nusd=AT_USAGE["small"] + lost.cost_nusd, charges=(AT_USAGE["small"], lost.cost_nusd))  # fmt: skip
    found = explained(routed, inference_id)
    assert (found.outcome.status, found.usage) == ("succeeded", USAGE)
    assert found.charged_nusd - would_cost(found)["small"] == lost.cost_nusd


def test_why_each_fell(routed):
    """What a candidate fell at, with the quality that was compared and from where it is."""
    hint = Hint(min_quality=650, max_cost_nusd=5_000_000)
    routed.refused(decision(hint, small={"quality": 640, "observations": 12}), status="rejected_cost")
    found = explained(routed, "1")
    assert {one.candidate.model: (one.candidate.fell, one.candidate.quality_from) for one in found.alternatives} == {
        "large": ("cost", "prior"), "small": ("floor", "blended"), "weak": ("floor", "prior"),
    }  # fmt: skip
    assert found.decided.barred == ("secret",)


def test_a_request_that_was_not_admitted(routed):
    """It has a decision and a rule, but no receipt, no cost and no usage to compare by."""
    routed.refused()
    found = explained(routed, "1")
    assert (found.outcome.status, found.outcome.inference_id) == ("rejected_floor", None)
    assert (found.receipt, found.charged_nusd, found.usage) == (None, None, None)
    assert would_cost(found) == dict.fromkeys(("small", "large", "weak"))
    assert (found.decided.floor, found.ruleset_body) == (980, RULESET.body)


def test_one_that_runs(routed):
    """What was decided is known, what it costs is not."""
    inference_id = routed.open(decision())
    found = explained(routed, inference_id)
    assert (found.outcome, found.charged_nusd, found.usage) == (None, None, None)
    assert found.receipt["state"] == "open"
    assert [one.attempts for one in found.alternatives] == [(1,), (), ()]
    assert set(would_cost(found).values()) == {None}


def test_unknown_usage(routed):
    """Where a whole hold was taken because nothing is known, nothing is said of other models."""
    inference_id = routed.open(decision())
    routed.close(
        inference_id, "small", ending=Ending.UPSTREAM_ERROR, error_code="upstream_error", evidence=Evidence.NONE,
        cost_nusd=None, charges=(),
    )  # fmt: skip
    found = explained(routed, inference_id)
    assert (found.charged_nusd, found.usage) == (50, None)
    assert set(would_cost(found).values()) == {None}


def test_nothing_was_used(routed):
    """A request that failed before any token says nothing of what an answer would have cost elsewhere."""
    inference_id = routed.open(decision())
    lost = line("small", routed.books.tick(), usage=Usage(), error_code="upstream_error")
    routed.close(inference_id, "small", ending=Ending.UPSTREAM_ERROR, error_code="all_candidates_failed",
                 attempts=(lost,), usage=Usage(), cost_nusd=0, charges=())  # fmt: skip
    found = explained(routed, inference_id)
    assert (found.outcome.status, found.charged_nusd, found.usage) == ("failed", 0, None)
    assert set(would_cost(found).values()) == {None}


def test_no_lines_of_attempts(routed):
    """Where nothing is told of attempts, the usage is the settlement's."""
    inference_id = routed.open(decision())
    routed.close(inference_id, "small", ending=Ending.CLIENT_DISCONNECTED, attempts=(), cost_nusd=7, charges=(),
                 evidence=Evidence.METERED)  # fmt: skip
    found = explained(routed, inference_id)
    assert (found.charged_nusd, found.usage) == (7, USAGE)
    assert would_cost(found)["large"] == AT_USAGE["large"]


def test_an_adjustment(routed):
    """What was posted after the settlement is part of what it cost."""
    inference_id = routed.open(decision())
    routed.books.new_epoch("gateway")
    routed.books.abandon(inference_id)
    routed.close(inference_id, "small")
    found = explained(routed, inference_id)
    assert found.outcome.status == "abandoned"
    assert found.charged_nusd == AT_USAGE["small"] != found.receipt["settled_nusd"]


def test_passed_over(routed):
    """A candidate that was passed over when its turn came says why."""
    inference_id = routed.open(decision())
    routed.close(inference_id, "small", notes={"routing_skipped": {"large": "rests"}})
    found = explained(routed, inference_id)
    assert {one.candidate.model: one.skipped for one in found.alternatives} == {
        "small": None, "large": "rests", "weak": None,
    }  # fmt: skip


def test_a_pinned_model(routed):
    """Nothing was decided for it, whether it runs or is settled."""
    inference_id = routed.books.open(routed.key)
    assert explain(routed.books.tx, inference_id) == Pinned(inference_id, "small")
    routed.books.close(inference_id)
    assert explain(routed.books.tx, inference_id) == Pinned(inference_id, "small")


@pytest.mark.parametrize("named", ["none", "7", ""])
def test_nothing(routed, named):
    """What never was has no explanation."""
    assert explain(routed.books.tx, named) is None
