"""Who may ask what, and the most that it can cost. Pure: a refusal by name, or the terms of an opening."""

import attrs

from ainf.inference.conversation import CacheMark, ReasoningAsk
from ainf.inference.errors import DownstreamError, RoutingError
from ainf.inference.money import NanoUSD
from ainf.inference.request import InferenceRequest, Operation
from ainf.ledger import HoldAsk, covers
from ainf.metering import MeterRatios, input_bound, input_estimate
from ainf.pricing import Price, tokens_cost, tokens_within


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
    kind: str = "text"
    """What it gives: "text" or "embeddings"."""
    hidden_reasoning: str = "never"
    """When output that the stream does not show is billed ("never", "asked", "always"): then it is held whole."""
    streaming: str = "native"
    """"native"; "wrap": a stream is made of a whole answer; "reject"."""
    metering: str = "calibrated"
    """Whether its ratios are what was learnt of it ("calibrated"), or stay as they are."""
    tools: bool = True
    aborted_billing: str = "delivered"
    """What a broken-off answer costs: "delivered" (what came), "drain" (it is read on), "held" (all output that was
    held)."""
    abort_read_s: float = 10.0
    """How long an answer is read on that is billed as "drain"."""
    abort_read_nusd: int = 100_000_000
    """How much it may cost beyond what was held when it was broken off."""
    finish_reasons: str | None = None
    """Overrides the key's setting."""
    money_refusal: str | None = None
    """Overrides the key's setting."""
    first_byte_s: float = 300.0
    silence_s: float = 120.0
    exchange_s: float = 900.0


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
    limit_tokens: int | None = None
    """The output limit to send upstream instead of the client's, where the most that it may cost, or a model that the
    client did not choose, allows less."""
    reasoning: ReasoningAsk | None = None
    """How much the model shall think."""


def check_endpoint(endpoints: tuple[str, ...] | None, path: str) -> None:
    """Refuse a path that a key which is allowed these (None: all) has no right to.

    Raises:
        DownstreamError: ``not_permitted``.
    """
    if endpoints is not None and path not in endpoints:
        raise DownstreamError("not_permitted", "This key has no right to this endpoint.")


def check_model(models: tuple[str, ...] | None, model: str) -> None:
    """Refuse a model that a key which is allowed these models, or patterns of them, has no right to.

    Raises:
        DownstreamError: ``not_permitted``.
    """
    if not permits(models, model):
        raise DownstreamError("not_permitted", "This key has no right to this model.", param="model")


def permits(models: tuple[str, ...] | None, model: str) -> bool:
    """Whether a key that is allowed these models, or patterns of them, may use this one; None allows all."""
    return models is None or any(covers(pattern, model) for pattern in models)


def invalid_key() -> DownstreamError:
    """Return the one answer to every key that may not be used, at whatever moment that is found.

    Missing, unknown, revoked or expired, or of a closed account: the answer does not tell which.
    """
    return DownstreamError(
        "invalid_api_key", "The API key is missing or not valid. Send `Authorization: Bearer ainf_...`."
    )


@attrs.frozen
class Reads:
    """What a request asks beside its words, as its provider's format says it."""

    reasoning: ReasoningAsk | None = None
    """How much the model shall think."""
    cache_write: CacheMark | None = None
    """For how long, at most, input may be written to the provider's cache."""
    stored_tokens: int = 0
    """Tokens of a stored response that it goes on from: the model reads them too."""


PLAIN = Reads()


def admit(
    request: InferenceRequest,
    terms: ModelTerms,
    reads: Reads = PLAIN,
    most_nusd: int | None = None,
    *,
    is_chosen: bool = False,
) -> Admission:
    """Return the terms for a request whose model is known and allowed.

    A stream whose output is all visible is held in slices; a whole answer (also one that is made a stream), and output
    with hidden reasoning, for everything that may be produced. A clamp never takes what thinking may use.

    Args:
        request: what is asked.
        terms: of its model.
        reads: what it asks beside its words.
        most_nusd: what it may cost at most, by the client's own word: its output is limited to what that pays for.
        is_chosen: whether the model was chosen for the client, who cannot have known its output limit: one that is
            higher is lowered to that. Who names the model hears its provider's own word.

    Raises:
        DownstreamError: ``tools_not_supported``, ``streaming_not_supported``: the model cannot do what was asked;
            ``invalid_value``: it cannot think as much as was asked, and answer.
        RoutingError: ``no_candidate``: ``most_nusd`` does not pay for the least that is worth a call.
    """
    _check_abilities(request, terms)
    own_limit = 0
    if request.operation is Operation.GENERATE:
        own_limit = min(request.max_output_tokens or terms.max_output_tokens, terms.max_output_tokens)
    bound = reads.stored_tokens + input_bound(request.bound_bytes, request.attachment_count, terms.ratios)
    is_sliced = request.stream and terms.streaming == "native" and not thinks_unseen(terms, reads.reasoning)
    budget = (reads.reasoning.budget_tokens or 0) if reads.reasoning is not None else 0
    base = _input_cost(request, terms, reads.cache_write, bound) + terms.price.request
    output_rate = terms.price.dearest_output(bound)
    limit, told = own_limit, own_limit
    if is_chosen and request.operation is Operation.GENERATE:
        told = _asked_limit(request, terms, budget)
    if most_nusd is not None:
        limit = _affordable(most_nusd, base, output_rate, own_limit, budget + terms.min_output_tokens)
    ask = HoldAsk(
        base_nusd=base,
        output_rate=output_rate,
        first_tokens=min(terms.slice_tokens, limit) if is_sliced else limit,
        worst_tokens=limit,
        min_tokens=budget + terms.min_output_tokens,
    )
    estimate = reads.stored_tokens + input_estimate(request.input_bytes, request.attachment_count, terms.ratios)
    cut = limit if limit < told else None
    return Admission(terms, ask, bound, estimate, request.attachment_count, limit, cut, reads.reasoning)


def _asked_limit(request: InferenceRequest, terms: ModelTerms, budget: int) -> int:
    """Return the output limit that a provider is told if nobody lowers it: the client's own, or else the model's.

    Raises:
        DownstreamError: ``invalid_value``: lowered to the model's it leaves nothing beside the thinking.
    """
    most = terms.max_output_tokens
    own = request.max_output_tokens or most
    if own > most and budget + terms.min_output_tokens > most:
        raise DownstreamError(
            "invalid_value",
            f"The model {terms.name!r} gives {most} tokens at most, and is asked to think with {budget} of them.",
        )
    return own


def _affordable(most_nusd: int, base_nusd: int, output_rate: int, own_limit: int, least: int) -> int:
    """Return how much of the output that is asked for an amount pays for, beside the rest of the request.

    Raises:
        RoutingError: ``no_candidate``: less than is worth a call.
    """
    limit = own_limit
    if output_rate:
        limit = min(limit, tokens_within(most_nusd - base_nusd, output_rate))
    if most_nusd < base_nusd or limit < min(least, own_limit):
        raise RoutingError(
            "no_candidate",
            "`routing_hint.max_cost` does not pay for this request and a least of output; raise it or leave it out.",
            param="routing_hint.max_cost",
        )
    return limit


def _input_cost(request: InferenceRequest, terms: ModelTerms, cache_write: CacheMark | None, bound: int) -> NanoUSD:
    """Return the most that so many tokens of input can cost; what attachments are reckoned with may all be sound."""
    read = terms.price.dearest_input(bound, cache_write)
    if not request.attachment_count:
        return tokens_cost(bound, read)
    attached = request.attachment_count * terms.ratios.image_tokens
    heard = terms.price.dearest_input(bound, cache_write, has_audio=True)
    return NanoUSD(tokens_cost(bound - attached, read) + tokens_cost(attached, heard))


def _check_abilities(request: InferenceRequest, terms: ModelTerms) -> None:
    if request.has_tools and not terms.tools:
        raise DownstreamError(
            "tools_not_supported",
            f"The backend {terms.provider!r} of the model {terms.name!r} takes no tools; leave them out or use another "
            "model.",
            param="tools",
        )
    if request.stream and terms.streaming == "reject":
        raise DownstreamError(
            "streaming_not_supported",
            f"The model {terms.name!r} does not stream; send `stream: false`.",
            param="stream",
        )


def thinks_unseen(terms: ModelTerms, reasoning: ReasoningAsk | None) -> bool:
    """Whether output may be billed that nobody sees."""
    if terms.hidden_reasoning != "asked":
        return terms.hidden_reasoning == "always"
    return reasoning is not None and reasoning.effort != "none" and reasoning.budget_tokens != 0
