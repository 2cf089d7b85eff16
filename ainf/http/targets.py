"""Routing targets as requests meet them: which of a target's models a key may get, and how these stand just now."""

from collections.abc import Mapping
from typing import Any

import attrs

from ainf.admission import permits
from ainf.exchange.health import Health
from ainf.http.models import Model
from ainf.inference.request import InferenceRequest
from ainf.routing.decision import Need, Seen
from ainf.routing.hint import FIELD, NO_HINT, Hint, parse_hint
from ainf.routing.ruleset import Ruleset
from ainf.store.base import StoredResponse


@attrs.frozen
class RoutingTarget:
    """What a client may name instead of a model, under its own name or an alias."""

    ruleset: Ruleset

    @property
    def name(self) -> str:
        """The canonical name."""
        return self.ruleset.target

    @property
    def models(self) -> tuple[str, ...]:
        """The names of the models that it chooses from."""
        return tuple(model.name for model in self.ruleset.models)

    def allowed(self, rights: tuple[str, ...] | None, requested: str) -> tuple[str, ...]:
        """Return those of its models that a key may get through it, where the client named it ``requested``.

        All of them where the key's models, or patterns of them, name the target; else those that the key may pin.
        """
        models = self.models
        if permits(rights, requested) or permits(rights, self.name):
            return models
        return tuple(name for name in models if permits(rights, name))


def take_hint(request: InferenceRequest, *, is_routed: bool) -> tuple[Hint, InferenceRequest]:
    """Return what a request's ``routing_hint`` asks, and the request without it: the field is the gateway's own.

    Where the client names the model itself there is nothing to hint at: the field is among those that are dropped.

    Raises:
        DownstreamError: it is wrong; ``param`` names the part.
    """
    if FIELD not in request.fields:
        return NO_HINT, request
    hint = parse_hint(request.fields[FIELD])
    fields: Mapping[str, Any] = {name: value for name, value in request.fields.items() if name != FIELD}
    dropped = request.dropped if is_routed else (*request.dropped, FIELD)
    return hint, attrs.evolve(request, fields=fields, dropped=dropped)


def need_of(request: InferenceRequest, stored: StoredResponse | None) -> Need:
    """Return what a request needs of a model."""
    return Need(
        input_bytes=request.input_bytes,
        attachment_count=request.attachment_count,
        attachments=request.attachments,
        has_tools=request.has_tools,
        stream=request.stream,
        max_output_tokens=request.max_output_tokens,
        stored_at=None if stored is None else stored.provider,
        stored_tokens=0 if stored is None else stored.input_tokens + stored.output_tokens,
    )


def look_at(ruleset: Ruleset, models: Mapping[str, Model], health: Health, task_type: str | None) -> dict[str, Seen]:
    """Return models at this moment, by name.

    Args:
        ruleset: what is decided by.
        models: those that may be chosen, at the prices in force.
        health: what is known of them.
        task_type: what they are to be good at.
    """
    rules, seen = ruleset.rules, {}
    for rated in ruleset.models:
        model = models.get(rated.name)
        if model is None:
            continue
        terms, rests_s = model.terms, health.rests_s(rated.provider, rated.name)
        if not rules.learning:
            seen[rated.name] = Seen(price=terms.price, ratios=terms.ratios, rests_s=rests_s)
            continue
        observed = health.observed(rated.provider, rated.name)
        prior = rated.quality.of(task_type)
        seen[rated.name] = Seen(
            price=terms.price,
            ratios=terms.ratios,
            rests_s=rests_s,
            quality=observed.blended(prior, rules.prior_weight) if observed.observations else None,
            observations=observed.observations,
            latency_ms=observed.p50_ms(),
        )
    return seen
