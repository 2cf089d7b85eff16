"""How one model of a target fares with one request: what it is expected to cost, and what it falls at."""

from enum import StrEnum
from math import ceil

import msgspec

from ainf.metering import MeterRatios, input_estimate
from ainf.pricing import PER_MILLION, Price
from ainf.routing.ruleset import ABILITIES, RatedModel, Rules


class Filter(StrEnum):
    """What a candidate can fall at, in the order of the filters.

    What passes as time goes by comes last: a model that only has to rest is not counted with those that will not do.
    """

    TOOLS = "tools"
    """It takes none."""
    STREAMING = "streaming"
    """It does not stream."""
    ATTACHMENTS = "attachments"
    """It does not take one of their kinds."""
    STORED = "stored"
    """The response that the request goes on from is stored at another provider."""
    CONTEXT = "context"
    """The input and the client's own output limit do not fit its context window."""
    FLOOR = "floor"
    """Its quality is below the floor."""
    COST = "cost"
    """It is expected to cost more than the hint's ``max_cost``."""
    RESTING = "resting"
    """It failed so often of late that it is let rest."""


class Need(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What a request needs of a model."""

    input_bytes: int
    """As ``InferenceRequest.input_bytes``."""
    attachment_count: int = 0
    attachments: frozenset[str] = frozenset()
    """Their kinds, of "image", "audio", "video" and "file"."""
    has_tools: bool = False
    stream: bool = False
    max_output_tokens: int | None = None
    """The client's own limit."""
    stored_at: str | None = None
    """The provider that stores the response which it goes on from."""
    stored_tokens: int = 0
    """Of that response: the model reads them too."""


class Seen(msgspec.Struct, frozen=True, gc=False):
    """One model at this moment, for one key."""

    price: Price
    ratios: MeterRatios
    allowed: bool = True
    """Whether the key may use it."""
    rests_s: float | None = None
    """Seconds until it may be asked again; None: it may be asked."""
    quality: int | None = None
    """Its configured quality blended with what its answers showed, in thousandths; None: they showed nothing yet."""
    observations: int = 0
    """How many answers that blend rests on."""
    latency_ms: int | None = None
    """The time to the first content that its answers showed."""


class Candidate(msgspec.Struct, gc=False, omit_defaults=True):
    """How one model fared that the key may use."""

    model: str
    provider: str
    price: str
    """Its version."""
    input_tokens: int
    """Estimated by the model's own ratio."""
    output_tokens: int
    """Expected."""
    cost_nusd: int
    """Expected: of so many tokens, and the fee of a request."""
    quality: int
    """What the floor was compared with, in thousandths."""
    quality_from: str
    """"prior" (as configured) or "blended" (with what answers showed)."""
    observations: int = 0
    """How many answers a blended quality rests on."""
    latency_ms: int | None = None
    """What a tie was broken with; None: unknown, after all others."""
    rests_ms: int | None = None
    """Until it may be asked again."""
    fell: Filter | None = None
    """None: it is ranked."""


class Scales(msgspec.Struct, frozen=True, gc=False):
    """What all candidates of one request are weighed with."""

    need: Need
    wanted: int
    """The abilities that a model must have, as bits of ``ABILITIES``."""
    room_tokens: int
    """What must be left in its context window: the client's own limit of output."""
    output_tokens: int
    """How long an answer is expected to be, by that limit and the rules."""
    learning: bool
    """Whether what answers showed counts."""
    floor: int
    """The quality that a model must have, in thousandths."""
    most_nusd: int | None
    """What it may be expected to cost; None: anything."""


def scales_for(need: Need, rules: Rules, floor: int, most_nusd: int | None) -> Scales:
    """Return what the candidates of a request are weighed with. See ``Scales``."""
    wanted = need.has_tools * ABILITIES["tools"] | need.stream * ABILITIES["streams"]
    for kind in need.attachments:
        wanted |= ABILITIES[kind]
    own, expected = need.max_output_tokens, rules.expected_output_tokens
    return Scales(
        need=need,
        wanted=wanted,
        room_tokens=own or 0,
        output_tokens=expected if own is None else min(own, expected),
        learning=rules.learning,
        floor=floor,
        most_nusd=most_nusd,
    )


def weigh(scales: Scales, model: RatedModel, lacks: int, prior: int, seen: Seen) -> Candidate:
    """Return how a model fares that the key may use: what is known of it, and the first filter that it does not pass.

    Args:
        scales: of the request.
        model: as it is rated.
        lacks: the abilities that it does not have, as bits of ``ABILITIES``.
        prior: its quality for this type of task, as configured.
        seen: the model at this moment.
    """
    # This runs for each candidate of each routed request: no call and no object more than it needs.
    need, price, window = scales.need, seen.price, model.context_tokens
    output = scales.output_tokens
    if output > model.max_output_tokens:  # noqa: PLR1730 - min() would take a tenth of all the time here
        output = model.max_output_tokens
    tokens = need.stored_tokens + input_estimate(need.input_bytes, need.attachment_count, seen.ratios)
    # What ``pricing.cost`` makes of plain tokens; a ``Usage`` would cost more than all else here.
    rates = price.rates_at(tokens) if price.tiers else price
    cost_nusd = price.request - (-(tokens * rates.input + output * rates.output) // PER_MILLION)
    quality, quality_from, observations, latency_ms = prior, "prior", 0, model.latency_ms
    if scales.learning:
        quality, quality_from, observations, latency_ms = _learnt(model, prior, seen)
    rests_ms = None if seen.rests_s is None else ceil(seen.rests_s * 1000)
    fell = None
    if wanting := scales.wanted & lacks:
        fell = _first_of(wanting)
    elif need.stored_at is not None and need.stored_at != model.provider:
        fell = Filter.STORED
    elif window is not None and tokens + scales.room_tokens > window:
        fell = Filter.CONTEXT
    elif quality < scales.floor:
        fell = Filter.FLOOR
    elif scales.most_nusd is not None and cost_nusd > scales.most_nusd:
        fell = Filter.COST
    elif rests_ms is not None:
        fell = Filter.RESTING
    return Candidate(
        model.name, model.provider, price.version, tokens, output, cost_nusd, quality, quality_from, observations,
        latency_ms, rests_ms, fell,
    )  # fmt: skip


def _learnt(model: RatedModel, prior: int, seen: Seen) -> tuple[int, str, int, int | None]:
    """Return quality, where it is from, on how many observations it rests, and latency."""
    latency_ms = model.latency_ms if seen.latency_ms is None else seen.latency_ms
    if seen.quality is None:
        return prior, "prior", 0, latency_ms
    return seen.quality, "blended", seen.observations, latency_ms


def _first_of(wanting: int) -> Filter:
    if wanting & ABILITIES["tools"]:
        return Filter.TOOLS
    return Filter.STREAMING if wanting & ABILITIES["streams"] else Filter.ATTACHMENTS
