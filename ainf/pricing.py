"""Tokens times price: what an inference costs, exactly.

A price is nano-dollars per million tokens. A cost is summed over its parts in nano-dollars x 1e-6 and rounded up once,
so that no order of additions changes it. A price is stored by its content: ``version`` names it for ever, so a
settlement can be recomputed after the configuration has moved on.
"""

import hashlib
from collections.abc import Mapping

import attrs
import msgspec

from ainf.inference.conversation import CacheMark
from ainf.inference.money import NanoUSD, parse_usd
from ainf.inference.usage import Usage

PER_MILLION = 1_000_000

_rate = attrs.validators.and_(attrs.validators.instance_of(int), attrs.validators.ge(0))
_optional_rate = attrs.validators.optional(_rate)


@attrs.frozen
class Price:
    """What one model costs: nano-dollars per million tokens of each kind, and per request.

    ``reasoning`` prices the reasoning part of the output, ``cached_input`` the cached part of the input, and
    ``cache_write`` the part that is written to a cache, ``long_cache_write`` for longer than the usual time.
    """

    input: int = attrs.field(validator=_rate)
    cached_input: int = attrs.field(validator=_rate)
    output: int = attrs.field(validator=_rate)
    reasoning: int = attrs.field(validator=_rate)
    request: int = attrs.field(default=0, validator=_rate)
    """Nano-dollars per request, charged once the provider has answered with a 200 head."""
    cache_write: int | None = attrs.field(default=None, validator=_optional_rate)
    """None: the price does not cover requests that ask for writes to a cache."""
    long_cache_write: int | None = attrs.field(default=None, validator=_optional_rate)
    """None: the price does not cover requests that ask for long writes to a cache."""
    version: str = attrs.field(init=False, eq=False)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "version", hashlib.sha256(self.canonical()).hexdigest()[:16])

    def canonical(self) -> bytes:
        """Return the price as canonical JSON: what is stored, and what ``version`` is the digest of.

        A rate that is not set is left out, so that the version of a price does not change when a kind of rate is added.
        """
        rates = {field.name: getattr(self, field.name) for field in attrs.fields(Price) if field.init}
        return msgspec.json.encode({name: rate for name, rate in rates.items() if rate is not None}, order="sorted")

    @property
    def short_write_rate(self) -> int:
        """What an input token costs that was written to a cache for the usual time."""
        return self.input if self.cache_write is None else self.cache_write

    @property
    def long_write_rate(self) -> int:
        """What an input token costs that was written to a cache for longer than that."""
        return self.short_write_rate if self.long_cache_write is None else self.long_cache_write

    def dearest_input(self, cache_write: CacheMark | None) -> int:
        """Return the most that an input token can cost, per million: what a hold must reckon with.

        Args:
            cache_write: for how long, at most, input shall be written to a cache; None: not at all.
        """
        rate = max(self.input, self.cached_input)
        if cache_write is not None:
            rate = max(rate, self.short_write_rate)
        return max(rate, self.long_write_rate) if cache_write is CacheMark.LONG else rate

    @property
    def dearest_output(self) -> int:
        """The most that an output token can cost, per million: what a hold must reckon with."""
        return max(self.output, self.reasoning)


FREE = Price(input=0, cached_input=0, output=0, reasoning=0)

PRICE_FIELDS = ("input", "cached_input", "cache_write", "long_cache_write", "output", "reasoning", "request")


def parse_price(table: Mapping[str, str]) -> Price:
    """Return the price that a configuration's table of decimal strings names.

    ``request`` is USD per request, the others are USD per million tokens.
    ``cached_input`` defaults to ``input``, ``reasoning`` to ``output``, ``request`` to nothing; without
    ``cache_write`` or ``long_cache_write`` such writes are not covered.

    Raises:
        ValueError: a field is unknown, missing (``input``, ``output``) or not an exact amount; the text names it.
    """
    unknown = sorted(set(table) - set(PRICE_FIELDS))
    if unknown:
        raise ValueError(f"unknown price field {unknown[0]!r}; known are {', '.join(PRICE_FIELDS)}")
    for required in ("input", "output"):
        if required not in table:
            raise ValueError(f"the price has no {required!r}; give USD per million tokens as a string")
    amounts: dict[str, int] = {}
    for name, text in table.items():
        try:
            amounts[name] = parse_usd(text)
        except ValueError as error:
            raise ValueError(f"price.{name}: {error}") from None
    return Price(
        input=amounts["input"],
        cached_input=amounts.get("cached_input", amounts["input"]),
        output=amounts["output"],
        reasoning=amounts.get("reasoning", amounts["output"]),
        request=amounts.get("request", 0),
        cache_write=amounts.get("cache_write"),
        long_cache_write=amounts.get("long_cache_write"),
    )


def price_from_canonical(body: bytes) -> Price:
    """Return the price that ``Price.canonical`` wrote."""
    return Price(**msgspec.json.decode(body, type=dict[str, int]))


def cost(price: Price, usage: Usage) -> NanoUSD:
    """Return what ``usage`` costs, rounded up once to the nano-dollar.

    Writes to a cache that the price does not cover may be reported all the same, since providers also write unasked:
    they cost what the nearest covered kind does (long ones as short ones, short ones as plain input). Usage whose parts
    do not fit into their wholes costs its parts, and never less than nothing.
    """
    short_writes = usage.cache_write_tokens - usage.long_cache_write_tokens
    plain_input = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    plain_output = usage.output_tokens - usage.reasoning_tokens
    parts = (
        max(0, plain_input) * price.input
        + usage.cached_input_tokens * price.cached_input
        + max(0, short_writes) * price.short_write_rate
        + usage.long_cache_write_tokens * price.long_write_rate
        + max(0, plain_output) * price.output
        + usage.reasoning_tokens * price.reasoning
    )
    return NanoUSD(price.request - (-parts // PER_MILLION))


def tokens_cost(tokens: int, rate: int) -> NanoUSD:
    """Return what ``tokens`` cost at ``rate`` nano-dollars per million, rounded up."""
    return NanoUSD(-(-tokens * rate // PER_MILLION))


def tokens_within(amount: int, rate: int) -> int:
    """Return how many tokens at ``rate`` (> 0) an amount pays for; 0 where it pays for none."""
    return max(0, amount) * PER_MILLION // rate
