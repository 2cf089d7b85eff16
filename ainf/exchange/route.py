"""The candidates of one routed request, in the order of the decision: the next is planned when it is needed."""

from collections import deque
from collections.abc import Callable

import attrs

from ainf.exchange.health import Health
from ainf.exchange.plan import Plan, Services
from ainf.inference.errors import AinfError, DownstreamError, RoutingError
from ainf.inference.request import InferenceRequest
from ainf.routing.decision import Decision
from ainf.routing.outcome import RoutingStatus
from ainf.store.base import KeyRecord, RoutingRecord, Unrouted

PlanFor = Callable[[str, int], Plan]
"""Return the plan for a model by name, of which so many nano-dollars are spent already.

Raises:
    DownstreamError: its provider cannot be told what is asked.
    RoutingError: what may be spent is too little for it.
"""


class Route:
    """The way of one request through its candidates.

    Args:
        decision: which, in which order.
        health: knows which of them rest by now.
        plan_for: plans for one of them; holds the request, until ``forget``.
        attempts: the most that may be tried.
        hedges: whether a second one may run beside one that is late.

    Attributes:
        decision: as given.
        hedges: as given.
        skipped: models that were passed over when their turn came, each with the code that says why.
    """

    def __init__(self, decision: Decision, health: Health, plan_for: PlanFor, *, attempts: int, hedges: bool) -> None:
        self.decision = decision
        self.hedges = hedges
        self.skipped: list[tuple[str, str]] = []
        self._health = health
        self._plan_for: PlanFor | None = plan_for
        self._attempts_left = attempts
        self._names = deque(decision.ranked)
        self._providers = {candidate.model: candidate.provider for candidate in decision.candidates}
        self._refusal: AinfError | None = None

    @property
    def is_exhausted(self) -> bool:
        """Whether there is certainly no other candidate."""
        return self._plan_for is None or not self._names or self._attempts_left <= 0

    def next(self, spent_nusd: int = 0, *, beside: bool = False) -> Plan | None:
        """Return the plan for the next candidate, or None where there is none any more.

        Args:
            spent_nusd: what the attempts before it cost.
            beside: it is to run beside another: then None also where its provider bills what is broken off to its end.
        """
        while self._plan_for is not None and self._names and self._attempts_left > 0:
            name = self._names.popleft()
            if self._health.rests_s(self._providers[name], name) is not None:
                self.skipped.append((name, "rests"))
                continue
            try:
                plan = self._plan_for(name, spent_nusd)
            except (DownstreamError, RoutingError) as refusal:
                self.skipped.append((name, refusal.code))
                self._refusal = refusal.with_traceback(None)
                continue
            if beside and plan.admission.terms.aborted_billing != "delivered":
                self._names.appendleft(name)
                return None
            self._attempts_left -= 1
            return attrs.evolve(plan, route=self)
        return None

    def put_back(self, plan: Plan) -> None:
        """Take a candidate back that was not tried: it is the next again."""
        self._names.appendleft(plan.admission.terms.name)
        self._attempts_left += 1

    def stand_in(self) -> Plan | None:
        """Return a plan for any candidate, ranked or not, that may not be opened; None where none can be told this.

        It is for a request that needs nobody, where its answer is there under its idempotency key.
        """
        assert self._plan_for is not None, "an answer has begun"
        for candidate in self.decision.candidates:
            try:
                plan = self._plan_for(candidate.model, 0)
            except (DownstreamError, RoutingError):
                continue
            return attrs.evolve(plan, route=self, may_open=False)
        return None

    def refusal(self) -> tuple[RoutingStatus | None, AinfError]:
        """Return why there was no first candidate: the outcome's status, and the error that the client is told.

        The status is None where nothing was decided: the key may not use any of the models.
        """
        if not self.decision.ranked:
            return self.decision.refusal()
        refusal, self._refusal = self._refusal, None  # raised, it holds whoever holds this route
        assert refusal is not None, "what the decision ranked had not come to rest"
        if refusal.code == "no_candidate":
            return RoutingStatus.REJECTED_COST, refusal
        return RoutingStatus.REJECTED_ABILITY, RoutingError(
            "no_candidate",
            f"No model of {self.decision.target!r} can be asked this; the last that might have been: {refusal.message}",
            param=refusal.param,
            details={"routing": {"skipped": dict(self.skipped)}},
        )

    def record(self) -> RoutingRecord:
        """Return what the store keeps of the decision."""
        decision = self.decision
        return RoutingRecord(
            decision.target, decision.ruleset.hash, decision.ruleset.body, decision.record(), decision.prices
        )

    def forget(self) -> None:
        """Let go of the request: there is no way back to another candidate."""
        self._plan_for = None


async def refused(services: Services, key: KeyRecord, request: InferenceRequest, route: Route) -> AinfError:
    """Return why no candidate can be asked, once that is on record, and counted, where something was decided.

    Raises:
        GatewayError: ``store_unavailable``: it cannot be recorded.
    """
    status, refusal = route.refusal()
    if status is not None:
        await note_refused(services, key, request, route, status, refusal)
    return refusal


async def note_refused(
    services: Services, key: KeyRecord, request: InferenceRequest, route: Route, status: RoutingStatus, error: AinfError
) -> None:
    """Record, and count, that a routed request is not admitted: the outcome's status, and what the client is told.

    Raises:
        GatewayError: ``store_unavailable``: it is not on record.
    """
    unrouted = Unrouted(
        at=services.wall_clock(),
        key_id=key.key_id,
        account_id=key.account_id,
        path=request.path,
        stream=request.stream,
        requested_model=route.decision.requested,
        routing=route.record(),
        status=status,
        code=error.code,
    )
    await services.store.note_unrouted(unrouted)
    services.telemetry.routed(route.decision.target, status)
