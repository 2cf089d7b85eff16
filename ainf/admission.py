"""Who may ask what, and the most that it can cost. Pure: a refusal by name, or the terms of an opening."""

import attrs

from ainf.inference.errors import DownstreamError
from ainf.inference.request import InferenceRequest
from ainf.inference.usage import Usage
from ainf.ledger import HoldAsk
from ainf.metering import MeterRatios, input_bound, input_estimate
from ainf.pricing import Price, cost


@attrs.frozen
class ModelTerms:
    """One configured model, as admission and the exchange need it."""

    name: str
    provider: str
    upstream_model: str
    max_output_tokens: int
    min_output_tokens: int
    price: Price
    ratios: MeterRatios
    slice_tokens: int
    hidden_reasoning: bool = False
    """Output that the stream does not show is billed: such a model is held whole."""
    streams: bool = True
    tools: bool = True
    finish_reasons: str | None = None
    """Overrides the key's setting."""
    money_refusal: str | None = None
    """Overrides the key's setting."""
    first_byte_s: float = 300.0
    silence_s: float = 120.0
    exchange_s: float = 900.0


@attrs.frozen
class KeyRights:
    """What a key may do; None means all."""

    models: tuple[str, ...] | None
    endpoints: tuple[str, ...] | None


@attrs.frozen
class Admission:
    """The terms on which a request may be opened."""

    terms: ModelTerms
    ask: HoldAsk
    input_tokens_bound: int
    input_tokens_estimate: int
    attachment_count: int
    own_limit_tokens: int
    """The most output that the client (or else the model) allows."""


def check_rights(rights: KeyRights, path: str, model: str) -> None:
    """Refuse a path or model that the key has no right to.

    Raises:
        DownstreamError: ``not_permitted``.
    """
    if rights.endpoints is not None and path not in rights.endpoints:
        raise DownstreamError("not_permitted", "This key has no right to this endpoint.")
    if rights.models is not None and model not in rights.models:
        raise DownstreamError("not_permitted", "This key has no right to this model.", param="model")


def invalid_key() -> DownstreamError:
    """Return the one answer to every key that may not be used, at whatever moment that is found.

    Missing, unknown, revoked or expired, or of a closed account: the answer does not tell which.
    """
    return DownstreamError(
        "invalid_api_key", "The API key is missing or not valid. Send `Authorization: Bearer ainf_...`."
    )


def admit(request: InferenceRequest, terms: ModelTerms) -> Admission:
    """Return the terms for a request whose model is known and allowed.

    A stream whose output is all visible is held in slices; a whole answer, and a model with hidden reasoning, for
    everything that it may produce.

    Raises:
        DownstreamError: ``tools_not_supported``, ``streaming_not_supported``: the model cannot do what was asked.
    """
    if request.has_tools and not terms.tools:
        raise DownstreamError(
            "tools_not_supported",
            f"The model {terms.name!r} takes no tools; leave them out or use another model.",
            param="tools",
        )
    if request.stream and not terms.streams:
        raise DownstreamError(
            "streaming_not_supported",
            f"The model {terms.name!r} does not stream; send `stream: false`.",
            param="stream",
        )
    own_limit = min(request.max_output_tokens or terms.max_output_tokens, terms.max_output_tokens)
    bound = input_bound(request.bound_bytes, request.attachment_count, terms.ratios)
    is_sliced = request.stream and not terms.hidden_reasoning
    ask = HoldAsk(
        base_nusd=_dearest_input_cost(bound, terms.price),
        output_rate=terms.price.dearest_output,
        first_tokens=min(terms.slice_tokens, own_limit) if is_sliced else own_limit,
        worst_tokens=own_limit,
        min_tokens=terms.min_output_tokens,
    )
    estimate = input_estimate(request.input_bytes, request.attachment_count, terms.ratios)
    return Admission(terms, ask, bound, estimate, request.attachment_count, own_limit)


def _dearest_input_cost(tokens: int, price: Price) -> int:
    """Return the most that an input of ``tokens`` can cost, with the request's own fee."""
    is_cached_dearer = price.cached_input > price.input
    return cost(price, Usage(input_tokens=tokens, cached_input_tokens=tokens if is_cached_dearer else 0))
