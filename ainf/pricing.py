"""Tokens times price: what an inference costs, exactly.

A price is nano-dollars per million tokens. A cost is summed over its parts in nano-dollars x 1e-6 and rounded up once,
so that no order of additions changes it. A price is stored by its content: ``version`` names it for ever, so a
settlement can be recomputed after the configuration has moved on.

Tiers follow the prompt: above a tier's tokens of input, all tokens of the request cost the tier's rates, not only those
beyond. Google, OpenAI, Anthropic and xAI word it so; xAI's tier is reached "at" its tokens, so it is above one less.
"""

import hashlib
import operator
from collections.abc import Mapping
from itertools import accumulate, pairwise
from typing import Any, Final

import attrs
import msgspec

from ainf.inference.conversation import CacheMark
from ainf.inference.money import NanoUSD, parse_usd
from ainf.inference.usage import Usage

PER_MILLION = 1_000_000

_rate = attrs.validators.and_(attrs.validators.instance_of(int), attrs.validators.ge(0))
_optional_rate = attrs.validators.optional(_rate)


@attrs.frozen
class Rates:
    """What tokens of each kind cost: nano-dollars per million of them.

    ``reasoning`` prices the reasoning part of the output, ``cached_input`` the cached part of the input, and
    ``cache_write`` the part that is written to a cache, ``long_cache_write`` for longer than the usual time;
    ``audio_input`` and ``audio_output`` price what is sound. Kinds that may be None are not covered then: requests that
    ask for them are refused.
    """

    input: int = attrs.field(validator=_rate)
    cached_input: int = attrs.field(validator=_rate)
    output: int = attrs.field(validator=_rate)
    reasoning: int = attrs.field(validator=_rate)
    cache_write: int | None = attrs.field(default=None, validator=_optional_rate, kw_only=True)
    long_cache_write: int | None = attrs.field(default=None, validator=_optional_rate, kw_only=True)
    audio_input: int | None = attrs.field(default=None, validator=_optional_rate, kw_only=True)
    audio_output: int | None = attrs.field(default=None, validator=_optional_rate, kw_only=True)

    @property
    def short_write_rate(self) -> int:
        """What an input token costs that was written to a cache for the usual time."""
        return self.input if self.cache_write is None else self.cache_write

    @property
    def long_write_rate(self) -> int:
        """What an input token costs that was written to a cache for longer than that."""
        return self.short_write_rate if self.long_cache_write is None else self.long_cache_write

    @property
    def audio_input_rate(self) -> int:
        """What an input token costs that is sound."""
        return self.input if self.audio_input is None else self.audio_input

    @property
    def audio_output_rate(self) -> int:
        """What an output token costs that is sound."""
        return self.output if self.audio_output is None else self.audio_output

    def named(self) -> dict[str, int]:
        """Return the rates that are set, by name."""
        rates = {name: getattr(self, name) for name in RATE_FIELDS}
        return {name: rate for name, rate in rates.items() if rate is not None}


@attrs.frozen(kw_only=True)
class Tier(Rates):
    """What all tokens of a request cost whose whole input, cached or not, is above so many tokens."""

    above: int = attrs.field(validator=[attrs.validators.instance_of(int), attrs.validators.ge(1)])


def _fitting(price: "Price", _field: "attrs.Attribute[tuple[Tier, ...]]", tiers: tuple[Tier, ...]) -> None:
    if any(lower.above >= upper.above for lower, upper in pairwise(tiers)):
        raise ValueError("the tiers of a price must each be above more tokens than the one before")
    kinds = price.named().keys()
    if differing := sorted(kind for tier in tiers for kind in tier.named().keys() ^ kinds):
        raise ValueError(f"the price below its first tier must name {differing[0]!r} too, or no tier may")


@attrs.frozen
class Price(Rates):
    """What one model costs: rates, up to where its first tier begins, and a fee per request."""

    request: int = attrs.field(default=0, validator=_rate)
    """Nano-dollars per request, charged once the provider has answered with a 200 head."""
    tiers: tuple[Tier, ...] = attrs.field(default=(), validator=_fitting)
    version: str = attrs.field(init=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "version", hashlib.sha256(self.canonical()).hexdigest()[:16])

    def canonical(self) -> bytes:
        """Return the price as canonical JSON: what is stored, and what ``version`` is the digest of.

        A rate that is not set is left out, so that the version of a price does not change when a kind of rate is added;
        so is a tier's rate that is that of the tier below.
        """
        stored: dict[str, Any] = {**self.named(), "request": self.request}
        if self.tiers:
            below = (self, *self.tiers)
            stored["tiers"] = [_beyond(lower, tier) for lower, tier in zip(below, self.tiers, strict=False)]
        return msgspec.json.encode(stored, order="sorted")

    def rates_at(self, input_tokens: int) -> Rates:
        """Return what the tokens of a request cost whose whole input has so many tokens."""
        for tier in reversed(self.tiers):
            if input_tokens > tier.above:
                return tier
        return self

    def dearest_input(self, input_tokens: int, cache_write: CacheMark | None = None, *, has_audio: bool = False) -> int:
        """Return the most that an input token can cost, per million: what a hold must reckon with.

        Args:
            input_tokens: the most that the request's input can have; no tier above it is reached.
            cache_write: for how long, at most, input may be written to a cache; None: not at all.
            has_audio: whether the token may be sound.
        """
        dearest = _dearest_input(self, cache_write, has_audio=has_audio)
        for tier in self.tiers:
            if tier.above < input_tokens:
                dearest = max(dearest, _dearest_input(tier, cache_write, has_audio=has_audio))
        return dearest

    def dearest_output(self, input_tokens: int) -> int:
        """Return the most that an output token can cost, per million, where the input has at most so many tokens."""
        dearest = _dearest_output(self)
        for tier in self.tiers:
            if tier.above < input_tokens:
                dearest = max(dearest, _dearest_output(tier))
        return dearest


RATE_FIELDS: Final = tuple(field.name for field in attrs.fields(Rates))
TIER_FIELDS: Final = ("above", *RATE_FIELDS)
PRICE_FIELDS: Final = (*RATE_FIELDS, "request", "tiers")

FREE: Final = Price(input=0, cached_input=0, output=0, reasoning=0)


def _dearest_input(rates: Rates, cache_write: CacheMark | None, *, has_audio: bool) -> int:
    rate = max(rates.input, rates.cached_input)
    if cache_write is not None:
        rate = max(rate, rates.short_write_rate)
    if cache_write is CacheMark.LONG:
        rate = max(rate, rates.long_write_rate)
    return max(rate, rates.audio_input_rate) if has_audio else rate


def _dearest_output(rates: Rates) -> int:
    return max(rates.output, rates.reasoning, rates.audio_output_rate)


def _beyond(lower: Rates, tier: Tier) -> dict[str, int]:
    below = lower.named()
    rates = {name: rate for name, rate in tier.named().items() if below.get(name) != rate}
    return {"above": tier.above, **rates}


@attrs.frozen
class PriceSchedule:
    """The prices of one model over time.

    ``entries`` are pairs of the moment from which a price is in force (microseconds since 1970 UTC) and the price, in
    the order of these moments. ``source`` says where the prices were found, None: in the configuration.
    """

    entries: tuple[tuple[int, Price], ...]
    source: str | None = None

    def at(self, now: int) -> Price:
        """Return the price in force: the latest that has begun; before the first has, the first."""
        entries = self.entries
        for begins, price in reversed(entries):
            if begins <= now:
                return price
        return entries[0][1]


def always(price: Price) -> PriceSchedule:
    """Return the schedule of a price that does not change."""
    return PriceSchedule(((0, price),))


def parse_price(table: Mapping[str, Any]) -> Price:
    """Return the price that a configuration's table of decimal strings names.

    ``request`` is USD per request, the others are USD per million tokens. In ``tiers``, tables in the order of their
    ``above`` (a number of tokens), a rate that is not named is that of the tier below.
    ``cached_input`` defaults to ``input``, ``reasoning`` to ``output`` (of the same tier), ``request`` to nothing;
    without ``cache_write``, ``long_cache_write``, ``audio_input`` or ``audio_output`` such parts are not covered.

    Raises:
        ValueError: a field is unknown, missing (``input``, ``output``, ``above``) or not an exact amount, or tiers do
            not rise or cover what the price does not; the text names it.
    """
    named = _amounts("price", table, PRICE_FIELDS, ("input", "output"))
    request = named.pop("request", 0)
    tiers: list[Tier] = []
    reached = named
    for number, tier in enumerate(table.get("tiers", ())):
        reached = {**reached, **_amounts(f"price.tiers[{number}]", tier, TIER_FIELDS, ("above",))}
        tiers.append(Tier(above=tier["above"], **_completed(reached)))
    return Price(request=request, tiers=tuple(tiers), **_completed(named))


def _amounts(at: str, table: Mapping[str, Any], known: tuple[str, ...], required: tuple[str, ...]) -> dict[str, int]:
    """Return the amounts of a table; what stands there beside them (``tiers``, ``above``) is not read."""
    if unknown := sorted(set(table) - set(known)):
        raise ValueError(f"unknown price field {unknown[0]!r}; known are {', '.join(known)}")
    for name in required:
        if name not in table:
            raise ValueError(f"the {at} has no {name!r}")
    amounts: dict[str, int] = {}
    for name, text in table.items():
        if name in {"tiers", "above"}:
            continue
        try:
            amounts[name] = parse_usd(text)
        except ValueError as error:
            raise ValueError(f"{at}.{name}: {error}") from None
    return amounts


def _completed(named: Mapping[str, int]) -> dict[str, int]:
    return {"cached_input": named["input"], "reasoning": named["output"], **named}


def price_from_canonical(body: bytes) -> Price:
    """Return the price that ``Price.canonical`` wrote.

    Raises:
        ValueError, TypeError: it wrote no such thing.
    """
    stored = msgspec.json.decode(body, type=dict[str, int | list[dict[str, int]]])
    beyond = stored.pop("tiers", [])
    rates: dict[str, Any] = {**stored}
    request = rates.pop("request", 0)
    if not isinstance(beyond, list):
        raise TypeError("the tiers of a price are a list")
    _, *tiers = accumulate(beyond, operator.or_, initial=rates)
    return Price(**rates, request=request, tiers=tuple(Tier(**tier) for tier in tiers))


def cost(price: Price, usage: Usage) -> NanoUSD:
    """Return what ``usage`` costs, rounded up once to the nano-dollar.

    All of it costs the rates of the tier that its input reaches. Writes to a cache that the price does not cover may be
    reported all the same, since providers also write unasked: they cost what the nearest covered kind does (long ones
    as short ones, short ones as plain input); so does sound, as plain input or output. Usage whose parts do not fit
    into their wholes costs its parts, and never less than nothing.
    """
    rates = price.rates_at(usage.input_tokens) if price.tiers else price
    written, sound, spoken = usage.cache_write_tokens, usage.audio_input_tokens, usage.audio_output_tokens
    short_writes = written - usage.long_cache_write_tokens
    plain_input = usage.input_tokens - usage.cached_input_tokens - written - sound
    plain_output = usage.output_tokens - usage.reasoning_tokens - spoken
    parts = (
        max(0, plain_input) * rates.input
        + usage.cached_input_tokens * rates.cached_input
        + max(0, short_writes) * rates.short_write_rate
        + usage.long_cache_write_tokens * rates.long_write_rate
        + sound * rates.audio_input_rate
        + max(0, plain_output) * rates.output
        + usage.reasoning_tokens * rates.reasoning
        + spoken * rates.audio_output_rate
    )
    return NanoUSD(price.request - (-parts // PER_MILLION))


def tokens_cost(tokens: int, rate: int) -> NanoUSD:
    """Return what ``tokens`` cost at ``rate`` nano-dollars per million, rounded up."""
    return NanoUSD(-(-tokens * rate // PER_MILLION))


def tokens_within(amount: int, rate: int) -> int:
    """Return how many tokens at ``rate`` (> 0) an amount pays for; 0 where it pays for none."""
    return max(0, amount) * PER_MILLION // rate
