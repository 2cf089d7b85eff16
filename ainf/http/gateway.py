"""What the routes share: the gateway as one process composes it, and the way from a request to an exchange."""

from collections.abc import Callable, Mapping

import attrs

from ainf.admission import check_endpoint, check_model, permits
from ainf.exchange.inflight import Inflight
from ainf.exchange.plan import Backend, Plan, Services
from ainf.exchange.route import Route, refused
from ainf.exchange.run import Exchange
from ainf.formats.base import Listener
from ainf.http.asked import Asked, RequestHeaders, fingerprint
from ainf.http.credentials import Authenticator
from ainf.http.idempotency import SharedExchanges
from ainf.http.limits import KeyLimiter
from ainf.http.models import Model, not_for_this, planned
from ainf.http.targets import RoutingTarget, look_at, need_of, take_hint
from ainf.inference.errors import DownstreamError, GatewayError
from ainf.inference.moments import SECOND_US
from ainf.inference.request import InferenceRequest, Operation
from ainf.metering import MeterRatios
from ainf.protocols.base import ClientProtocol
from ainf.protocols.checks import unknown_model
from ainf.routing.decision import Decision, decide
from ainf.routing.hint import Hint
from ainf.store.base import KeyRecord, StoredResponse
from ainf.store.batch import unavailable


@attrs.frozen
class RoutingSettings:
    """How candidates are tried."""

    attempts: int = 3
    """The most models that one request is tried at."""
    hedging: bool = False
    """Whether a second one may run beside one that is late."""


@attrs.frozen
class Choices:
    """The models that may answer a request, before one is asked."""

    request: InferenceRequest
    """Without its hint."""
    models: tuple[Model, ...]
    """The best first."""
    decision: Decision | None
    """None: the client names the model itself."""


@attrs.define
class Gateway:
    """Everything that the routes need. ``draining`` is set once, when the process is told to stop."""

    services: Services
    backends: Mapping[str, Backend]
    """By the providers' names."""
    models: Mapping[str, Model]
    targets: Mapping[str, RoutingTarget]
    """By every name: canonical and alias."""
    routing: RoutingSettings
    authenticator: Authenticator
    inflight: Inflight
    limits: KeyLimiter
    new_inference_id: Callable[[], str]
    new_request_id: Callable[[], str]
    running_limit: int
    shared: SharedExchanges
    """Those that run under an idempotency key."""
    draining: bool = False
    body_bytes: int = 0
    """Request bodies that were read, in all."""

    def begin(self, exchange: Exchange) -> None:
        """Count an exchange in that is about to run; ``end`` must follow.

        Raises:
            DownstreamError: ``rate_limited``: its key has no room for it.
            GatewayError: ``shutting_down``, also where that came while it was planned; ``overloaded``,
                ``store_unavailable``.
        """
        self.check_open()
        self.limits.begin(exchange.plan.key, exchange.counted_tokens)
        self.inflight.add(exchange)

    def end(self, exchange: Exchange) -> None:
        """Count an exchange out that has ended."""
        self.inflight.remove(exchange)
        self.limits.end(exchange.plan.key, exchange.counted_tokens, exchange.used_tokens)

    def recalibrate(self, ratios: Mapping[str, MeterRatios]) -> None:
        """Admit what comes from now on by other ratios, by model; what runs keeps those of its admission."""
        changed = {
            name: attrs.evolve(model, terms=attrs.evolve(model.terms, ratios=ratios[name]))
            for name, model in self.models.items()
            if name in ratios
        }
        self.models = {**self.models, **changed}

    def check_open(self, *, may_join: bool = False) -> None:
        """Refuse new inferences when the gateway is stopping or full.

        Args:
            may_join: it may turn out to want no exchange of its own; then whether there is room is left to ``begin``.

        Raises:
            GatewayError: ``shutting_down``, ``overloaded``, ``store_unavailable``.
        """
        if self.draining:
            raise GatewayError("shutting_down", "The gateway is shutting down; ask again.", retry_after_s=1)
        if not may_join:
            self._check_room()

    def _check_room(self) -> None:
        if len(self.inflight) >= self.running_limit:
            raise GatewayError("overloaded", "The gateway is at its limit of running requests.", retry_after_s=1)
        if not self.services.store.admits:
            raise unavailable()

    async def plan(
        self,
        key: KeyRecord,
        request: InferenceRequest,
        protocol: ClientProtocol,
        headers: Mapping[bytes, bytes],
        arrived_at: float,
        *,
        inference_shape: bool = False,
    ) -> Plan:
        """Return the plan of a request that may be opened.

        Of a request for a routing target it is the plan for the first candidate, which knows the way to the others.

        Args:
            key: whose it is.
            request: as its protocol parsed it.
            protocol: that the client speaks.
            headers: the request's own.
            arrived_at: trio's time of its head.
            inference_shape: whether a whole answer is to have the fields of ours (POST /v1/inference).

        Raises:
            DownstreamError: its model, its fields or its headers cannot be honoured.
            RoutingError: ``no_candidate``, ``all_candidates_failed``: nothing can be tried; that is on record.
            GatewayError: ``store_unavailable``, where it goes on from a stored response, or nothing can be tried.
        """
        stored = await self._stored(key, request)
        # No await from here on: what the model's name stands for must not be reloaded in between.
        self._check_model(key, request)
        digest = fingerprint(key.account_id, request)
        target = self.targets.get(request.model)
        hint, request = take_hint(request, is_routed=target is not None)
        asked = Asked(
            key=key,
            request=request,
            protocol=protocol,
            listener=self._listener(request, protocol),
            fingerprint=digest,
            headers=RequestHeaders.read(headers),
            arrived_at=arrived_at,
            stored=stored,
            hint=hint,
            inference_shape=inference_shape,
        )
        if target is not None:
            return await self._routed(asked, target)
        return planned(asked, self.models[request.model].at(self.services.wall_clock()))

    async def _routed(self, asked: Asked, target: RoutingTarget) -> Plan:
        """Return the plan for the first candidate of a routed request.

        Where there is none, and it bears an idempotency key, it is a plan that may not be opened: what was asked under
        that key may be answered already, and whoever finds that it is not refuses the request.

        Raises:
            DownstreamError: ``not_permitted``.
            RoutingError: there is none.
            GatewayError: ``store_unavailable``: that there is none cannot be recorded.
        """
        services, now = self.services, self.services.wall_clock()
        services.telemetry.alias_hit(asked.request.model)
        decision = self._decide(asked.key, asked.request, target, asked.hint, asked.stored)
        models, settings = self.models, self.routing

        def plan_for(name: str, spent_nusd: int) -> Plan:
            most = asked.hint.max_cost_nusd
            left = None if most is None else max(0, most - spent_nusd)
            return planned(asked, models[name].at(now), left, is_chosen=True)

        route = Route(decision, services.health, plan_for, attempts=settings.attempts, hedges=settings.hedging)
        plan = route.next()
        if plan is None and asked.claim is not None:
            plan = route.stand_in()
        if plan is None:
            raise await refused(services, asked.key, asked.request, route)
        return plan

    def _decide(
        self,
        key: KeyRecord,
        request: InferenceRequest,
        target: RoutingTarget,
        hint: Hint,
        stored: StoredResponse | None,
    ) -> Decision:
        need = need_of(request, stored)
        allowed = target.allowed(key.models, request.model)
        now = self.services.wall_clock()
        models = {name: self.models[name].at(now) for name in allowed}
        seen = look_at(target.ruleset, models, self.services.health, hint.task_type)
        return decide(target.ruleset, need, hint, seen, requested=request.model)

    def _check_model(self, key: KeyRecord, request: InferenceRequest) -> None:
        """Refuse a model that is none, that the key may not use, or that is not for what is asked.

        Raises:
            DownstreamError: ``model_not_found``; ``not_permitted``: the key has no right to it, or to the endpoint;
                ``operation_not_supported``: it is not for that.
        """
        name = request.model
        if name in self.targets:
            check_endpoint(key.endpoints, request.path)
            if request.operation is Operation.EMBED:
                raise DownstreamError(
                    "operation_not_supported",
                    f"The routing target {name!r} is not for {request.path}; name a model of embeddings.",
                    param="model",
                )
            return
        model = self.models.get(name)
        if model is None:
            raise unknown_model(name)
        check_endpoint(key.endpoints, request.path)
        check_model(key.models, name)
        if (request.operation is Operation.EMBED) != (model.terms.kind == "embeddings"):
            raise not_for_this(model, request.path)

    def choices(self, key: KeyRecord, request: InferenceRequest) -> Choices:
        """Return the models that may answer a request, at the prices in force; nothing is recorded.

        Where there are none, ``plan`` says why, and has that on record.

        Raises:
            DownstreamError: its model or its hint cannot be honoured.
        """
        self._check_model(key, request)
        target = self.targets.get(request.model)
        hint, request = take_hint(request, is_routed=target is not None)
        decision = None if target is None else self._decide(key, request, target, hint, None)
        names = (request.model,) if decision is None else decision.ranked
        now = self.services.wall_clock()
        return Choices(request, tuple(self.models[name].at(now) for name in names), decision)

    def _listener(self, request: InferenceRequest, protocol: ClientProtocol) -> Listener:
        return Listener(
            stream=request.stream,
            include_usage=request.include_usage,
            model=request.model,
            inference_id=self.new_inference_id(),
            created=self.services.wall_clock() // SECOND_US,
            echo=protocol.echo(request),
        )

    async def _stored(self, key: KeyRecord, request: InferenceRequest) -> StoredResponse | None:
        """Return the response of this account that a request goes on from, if it does and there is one."""
        if request.previous_response_id is None:
            return None
        return await self.services.store.find_response(request.previous_response_id, key.account_id)

    def visible_models(self, key: KeyRecord) -> list[Model]:
        """Return the models that a key may use."""
        return [model for name, model in self.models.items() if permits(key.models, name)]

    def visible_targets(self, key: KeyRecord) -> list[tuple[str, RoutingTarget, list[Model]]]:
        """Return what a key may name to have a model chosen: the name, its target, and the models that it may get."""
        visible = []
        for name, target in self.targets.items():
            if models := [self.models[model] for model in target.allowed(key.models, name)]:
                visible.append((name, target, models))
        return visible
