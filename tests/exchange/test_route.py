"""The way of one request through its candidates: whose turn it is, who is passed over, and why there is nobody."""

from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from ainf.exchange.route import Route, note_refused
from ainf.inference.errors import AinfError, DownstreamError, GatewayError, RoutingError
from ainf.routing.decision import Decision, decide
from ainf.routing.hint import parse_hint
from ainf.routing.outcome import RoutingStatus
from ainf.routing.ruleset import Rules, Ruleset
from ainf.store.base import Unrouted
from tests.routing.fleet import NEED, fleet, moment

RANKED = ("mini", "mid", "large")


@attrs.frozen
class FakePlan:
    """A plan, as far as a route looks at it."""

    admission: Any
    spent_nusd: int
    route: Route | None = None
    may_open: bool = True


@attrs.define
class Candidates:
    """What stands behind a route: who rests, who refuses what is asked, and how aborted answers are billed."""

    resting: dict[str, float] = attrs.field(factory=dict)
    refusing: dict[str, AinfError] = attrs.field(factory=dict)
    billing: dict[str, str] = attrs.field(factory=dict)
    planned: list[tuple[str, int]] = attrs.field(factory=list)

    def rests_s(self, provider: str, model: str) -> float | None:
        assert provider == {"mini": "alpha", "mid": "beta", "large": "gamma"}[model]
        return self.resting.get(model)

    def plan_for(self, name: str, spent_nusd: int) -> Any:
        self.planned.append((name, spent_nusd))
        if name in self.refusing:
            raise self.refusing[name]
        terms = SimpleNamespace(name=name, aborted_billing=self.billing.get(name, "delivered"))
        return FakePlan(SimpleNamespace(terms=terms), spent_nusd)

    def route(self, attempts: int = 9, *, hint: dict[str, Any] | None = None) -> Route:
        return Route(decided(hint), self, self.plan_for, attempts=attempts, hedges=False)  # type: ignore[arg-type]


def decided(hint: dict[str, Any] | None = None) -> Decision:
    models = fleet("mini mid large")
    ruleset = Ruleset("t", 500, models, Rules(expected_output_tokens=500))
    return decide(ruleset, NEED, parse_hint(hint or {}), moment(models), requested="alias")


def names(route: Route, **how: Any) -> list[str]:
    """Whose turn it is, until it is nobody's."""
    found = []
    while (plan := route.next(**how)) is not None:
        found.append(plan.admission.terms.name)
    return found


def test_in_the_order_of_the_decision():
    """Each once, planned only when its turn has come, and each plan knows the way to the others."""
    candidates = Candidates()
    route = candidates.route()
    plan = route.next(17)
    assert plan is not None
    assert (plan.route, candidates.planned) == (route, [("mini", 17)])
    assert not route.is_exhausted
    assert names(route) == list(RANKED[1:])
    assert route.is_exhausted
    assert route.next() is None
    assert (route.skipped, [name for name, _ in candidates.planned]) == ([], list(RANKED))


def test_a_stand_in():
    """Whoever rests or fell, the first that can be told the request; it may not be opened, and takes nobody's turn."""
    resting, poor = dict.fromkeys(RANKED, 9.0), {"min_quality": 1}
    refusing = {"large": DownstreamError("unsupported_parameter", "No.")}
    for candidates, hint in ((Candidates(resting, refusing), None), (Candidates({}, refusing), poor)):
        route = candidates.route(hint=hint)
        assert route.next() is None
        plan = route.stand_in()
        assert plan is not None
        assert (plan.admission.terms.name, plan.may_open, plan.route) == ("mid", False, route)
    route = Candidates().route()
    assert route.stand_in() is not None
    assert names(route) == list(RANKED)


def test_no_stand_in():
    """There is none where no candidate can be told the request."""
    refusal = DownstreamError("unsupported_parameter", "No.")
    assert Candidates(refusing=dict.fromkeys(RANKED, refusal)).route().stand_in() is None


@pytest.mark.parametrize(("attempts", "tried"), [(1, 1), (2, 2), (3, 3), (4, 3)])
def test_no_more_than_may_be_tried(attempts, tried):
    """Beyond the limit nobody's turn comes."""
    route = Candidates().route(attempts)
    assert names(route) == list(RANKED[:tried])
    assert route.is_exhausted


def test_who_cannot_be_asked_is_passed_over():
    """Who rests, and who cannot be told what is asked, take no turn; the receipt has them with why."""
    refusal = DownstreamError("unsupported_parameter", "No.")
    candidates = Candidates(resting={"mini": 3.0}, refusing={"mid": refusal})
    route = candidates.route(1)
    assert names(route) == ["large"]
    assert route.skipped == [("mini", "rests"), ("mid", "unsupported_parameter")]
    assert [name for name, _ in candidates.planned] == ["mid", "large"], "who rests is not even planned for"
    assert refusal.__traceback__ is None, "it would keep all that it passed"


@pytest.mark.parametrize("error", [GatewayError("overloaded", "No."), ValueError("a bug")])
def test_what_is_no_refusal_of_the_request_is_not_passed_over(error):
    """A failure of ours, or a bug, is nobody's turn."""
    with pytest.raises(type(error)):
        Candidates(refusing={"mini": error}).route().next()


@pytest.mark.parametrize("billing", ["drain", "held"])
def test_beside_another_nobody_runs_who_would_be_paid_in_full(billing):
    """Whose provider bills what is broken off to its end keeps its turn for when it is asked alone."""
    route = Candidates(billing={"mini": billing}).route(1)
    assert route.next(beside=True) is None
    assert not route.is_exhausted
    assert names(route) == ["mini"]


def test_who_was_not_tried_is_put_back():
    """It is the next again, and has cost no turn."""
    route = Candidates().route(2)
    plan = route.next(beside=True)
    assert plan is not None
    route.put_back(plan)
    assert names(route) == list(RANKED[:2])


def test_what_is_forgotten_is_asked_of_nobody():
    """Behind the commit point there is no way back."""
    candidates = Candidates()
    route = candidates.route()
    route.forget()
    assert (route.next(), route.is_exhausted, candidates.planned) == (None, True, [])


# --- why there is nobody ---


def test_nobody_was_ranked():
    """The decision says why."""
    route = Candidates().route(hint={"min_quality": 0.99})
    assert route.next() is None
    status, error = route.refusal()
    assert (status, error.code) == (RoutingStatus.REJECTED_FLOOR, "no_candidate")


def test_none_can_be_told_what_is_asked():
    """It is an ability that all of them lack; the last word on it is passed on."""
    first = DownstreamError("tools_not_supported", "No tools.", param="tools")
    last = DownstreamError("unsupported_parameter", "No bias.", param="logit_bias")
    route = Candidates(refusing={"mini": first, "mid": first, "large": last}).route()
    assert route.next() is None
    status, error = route.refusal()
    assert (status, error.code, error.status, error.param) == (
        RoutingStatus.REJECTED_ABILITY, "no_candidate", 422, "logit_bias",
    )  # fmt: skip
    assert error.message.endswith("No bias.")
    skipped = {"mini": "tools_not_supported", "mid": "tools_not_supported", "large": "unsupported_parameter"}
    assert error.details == {"routing": {"skipped": skipped}}


def test_what_it_may_cost_pays_for_none():
    """That is told as it is."""
    refusal = RoutingError("no_candidate", "Raise it.", param="routing_hint.max_cost")
    route = Candidates(refusing=dict.fromkeys(RANKED, refusal)).route()
    assert route.next() is None
    assert route.refusal() == (RoutingStatus.REJECTED_COST, refusal)


# --- records ---


def test_what_is_kept_of_a_decision():
    """The target's canonical name, what was decided by, and the prices of those that were weighed."""
    route = Candidates().route()
    record, ruleset = route.record(), route.decision.ruleset
    assert (record.target, record.ruleset, record.ruleset_body) == ("t", ruleset.hash, ruleset.body)
    assert (record.decision, record.prices) == (route.decision.record(), route.decision.prices)
    assert len(record.prices) == 3


@attrs.define
class Books:
    """A store and counters that write down what they are told."""

    away: bool = False
    kept: list[Unrouted] = attrs.field(factory=list)
    counted: list[tuple[str, str]] = attrs.field(factory=list)

    async def note_unrouted(self, unrouted: Unrouted) -> None:
        if self.away:
            raise GatewayError("store_unavailable", "Away.")
        self.kept.append(unrouted)

    def routed(self, target: str, status: str) -> None:
        self.counted.append((target, status))


async def refuse(books: Books) -> Route:
    route = Candidates().route()
    services: Any = SimpleNamespace(store=books, telemetry=books, wall_clock=lambda: 17)
    key: Any = SimpleNamespace(key_id="k", account_id="a")
    request: Any = SimpleNamespace(path="/v1/messages", stream=True)
    error = RoutingError("no_candidate", "No.")
    await note_refused(services, key, request, route, RoutingStatus.REJECTED_COST, error)
    return route


async def test_who_is_not_admitted_is_on_record():
    """Under the name that was asked for, with the decision and what the client is told; and counted."""
    books = Books()
    route = await refuse(books)
    assert books.kept == [
        Unrouted(17, "k", "a", "/v1/messages", True, "alias", route.record(), "rejected_cost", "no_candidate")
    ]
    assert books.counted == [("t", "rejected_cost")]


async def test_what_is_not_on_record_is_not_counted():
    """Where the store is away the client is told that."""
    books = Books(away=True)
    with pytest.raises(GatewayError):
        await refuse(books)
    assert books.counted == []
