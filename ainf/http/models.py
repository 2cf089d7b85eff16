"""The configured models as requests meet them, and a request in the words of the provider that serves one."""

from collections.abc import Mapping
from typing import Any

import attrs

from ainf.admission import ModelTerms, Reads, admit
from ainf.exchange.plan import Backend, Plan
from ainf.formats.foreign import without_foreign
from ainf.formats.registry import FORMATS
from ainf.formats.translate import drop_fields, translate_fields
from ainf.http.asked import Asked
from ainf.inference.conversation import CacheMark
from ainf.inference.errors import DownstreamError
from ainf.inference.request import InferenceRequest, Operation
from ainf.pricing import FREE, PriceSchedule
from ainf.protocols.base import ClientProtocol
from ainf.protocols.registry import PROTOCOLS
from ainf.providers.base import Target
from ainf.providers.fields import Coverage


@attrs.frozen
class Model:
    """A configured model with the backend that serves it."""

    terms: ModelTerms
    """At the price that is in force, or was when it was last looked at."""
    prices: PriceSchedule
    backend: Backend
    target: Target
    may_drop: frozenset[str] = frozenset()
    """Fields that may be left out where the provider's format cannot say them."""

    def at(self, now: int) -> "Model":
        """Return the model at the price in force; ``now`` is in microseconds since 1970 UTC."""
        price = self.prices.at(now)
        return self if price is self.terms.price else attrs.evolve(self, terms=attrs.evolve(self.terms, price=price))


def planned(asked: Asked, model: Model, most_nusd: int | None = None, *, is_chosen: bool = False) -> Plan:
    """Return the plan of a request for one model, which the key may use.

    Args:
        asked: the request.
        model: at the price in force.
        most_nusd: what it may cost at most, by the client's own word.
        is_chosen: whether the model was chosen for the client. See ``admit``.

    Raises:
        DownstreamError: the model's provider cannot be told what is asked.
        RoutingError: ``no_candidate``: ``most_nusd`` is too little for it.
    """
    provider_format = format_for(model, asked.request)
    stored_tokens = _stored_tokens(asked, model, provider_format)
    request, cache_write = prepared(asked.request, model, asked.protocol, provider_format)
    reasoning = None
    if request.operation is Operation.GENERATE:
        reasoning = FORMATS[provider_format].reasoning_of(request.fields)
    reads = Reads(reasoning, cache_write, stored_tokens)
    is_count = request.operation is Operation.COUNT
    terms = attrs.evolve(model.terms, price=FREE) if is_count else model.terms
    return Plan(
        inference_id=asked.listener.inference_id,
        key=asked.key,
        request=request,
        protocol=asked.protocol,
        admission=admit(request, terms, reads, most_nusd, is_chosen=is_chosen),
        backend=model.backend,
        target=model.target,
        provider_format=provider_format,
        listener=asked.listener,
        fingerprint=asked.fingerprint,
        claim=asked.claim,
        deadline_at=asked.deadline_at(terms.exchange_s),
        sdk_retry_count=asked.headers.sdk_retry_count,
        labels=asked.headers.labels,
        inference_shape=asked.inference_shape,
    )


def _stored_tokens(asked: Asked, model: Model, provider_format: str) -> int:
    """Return how many tokens the model reads of a stored response; it must be this account's and provider's."""
    if asked.request.previous_response_id is None:
        return 0
    if provider_format != "responses":
        raise DownstreamError(
            "unsupported_parameter",
            "`previous_response_id` is not supported: this model's provider stores no responses.",
            param="previous_response_id",
        )
    stored = asked.stored
    if stored is None or stored.provider != model.terms.provider:
        raise DownstreamError(
            "not_found",
            "There is no such stored response of this account at the model's provider.",
            param="previous_response_id",
        )
    return stored.input_tokens + stored.output_tokens


def prepared(
    request: InferenceRequest, model: Model, protocol: ClientProtocol, provider_format: str
) -> tuple[InferenceRequest, CacheMark | None]:
    """Return a request in its provider's words, and what it asks to be written to the provider's cache.

    It is checked for what would change price, model or host.

    Raises:
        DownstreamError: ``unsupported_parameter``, and what reading it for another format finds wrong.
    """
    provider, operation = model.backend.provider, request.operation
    fields: Mapping[str, Any]
    if operation is Operation.GENERATE and provider_format != protocol.format:
        fields, dropped = translate_fields(
            request.fields,
            FORMATS[protocol.format],
            FORMATS[provider_format],
            model.may_drop,
            beyond=lambda written: provider.unsaid(written, operation),
        )
    else:
        own = without_foreign(request.fields, provider_format)
        fields, dropped = drop_fields(own, provider.unsaid(own, operation), model.may_drop)
    if fields is not request.fields:
        request = attrs.evolve(request, fields=fields, dropped=(*request.dropped, *dropped))
    coverage = Coverage(model.terms.price, caches_unasked=provider.facts.caches_unasked)
    provider.check(request, coverage)
    if left_out := [beta for beta in request.betas if beta not in provider.facts.betas]:
        request = attrs.evolve(request, dropped=(*request.dropped, *left_out))
    return request, coverage.cache_write


def as_answer(request: InferenceRequest, model: Model) -> InferenceRequest:
    """Return a request to count tokens as the provider would be asked for the answer that it announces.

    Raises:
        DownstreamError: what it announces would be refused.
    """
    announced = attrs.evolve(request, operation=Operation.GENERATE)
    checked, _ = prepared(announced, model, PROTOCOLS["messages"], format_for(model, announced))
    return checked


def format_for(model: Model, request: InferenceRequest) -> str:
    """Return the wire format in which a model's provider does what is asked.

    Raises:
        DownstreamError: ``operation_not_supported``.
    """
    provider_format = model.backend.provider.formats.get(request.operation)
    if provider_format is None:
        raise not_for_this(model, request.path)
    return provider_format


def not_for_this(model: Model, path: str) -> DownstreamError:
    """Return the error of a request that a model is not for."""
    return DownstreamError(
        "operation_not_supported",
        f"The model {model.terms.name!r} of the backend {model.terms.provider!r} is not for {path}; use another model.",
        param="model",
    )
