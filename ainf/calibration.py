"""What a model's exchanges teach of its tokens: bytes of a token, and how far the meter was off. Pure, whole numbers.

Two counts of tokens are reported, and three counts of bytes are metered as them, so there are three ratios:

- *output*: visible output over the output tokens that it is. Its mean meters what was not reported.
- *input*: what is known to be read as text over the input tokens. Its mean is the estimate of an input.
- *bound*: everything that may be read as text over the input tokens. Its low quantile bounds the input of a hold. (The
  second and this differ where a request holds much that is no message: one ratio for both would make either the
  estimate too high or the bound too low.)

A mean is all bytes over all tokens, not the mean of the samples' ratios: so the sum of what is metered is right, though
no single count need be. The bound's quantile is 1 %: of a hundred requests like those seen, about one has more input
tokens than were held for them, and the excess is mostly inside the rest of its hold, or is posted as overrun. The least
ratio ever seen would make these fewer still, but one dense request (base64 in a text) would then double the holds of
all, and requests that a cap has room for would be refused. It is the lower edge of the quantile's bucket, never above
the mean, and never less than a byte a token, for a token of text has at least one.

Old samples fade: whenever more than ``KEPT`` are counted, all counts and sums are halved. Ratios are in thousandths, as
in ``ainf.metering``; errors in thousandths of what is right.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Final

import attrs
import msgspec

from ainf.metering import MeterRatios

KEPT: Final = 4096
LEAST_INPUTS: Final = 50
"""Samples before the ratios of the input are in force."""
LEAST_OUTPUTS: Final = 20
LOW_SHARE: Final = 10
"""Of a thousand inputs so many may have fewer bytes a token than the bound's ratio."""
LEAST_LOW: Final = 1_000
MOST_LOW: Final = 16_000

_EIGHTHS: Final = (1000, 1091, 1189, 1297, 1414, 1542, 1682, 1834)
"""Eight equal steps to twice as much."""
RATIO_EDGES: Final = tuple((250 * step << octave) // 1000 for octave in range(8) for step in _EIGHTHS)
"""A bucket holds ratios from one edge up to below the next."""
ERROR_EDGES: Final = (
    0, 1, 2, 3, 5, 7, 10, 15, 20, 30, 40, 50, 70, 100, 150, 200, 300, 400, 500, 700, 1000, 1500, 2000, 3000, 5000,
    10_000,
)  # fmt: skip
"""A bucket holds errors from above one edge up to the next; the first holds none at all."""


@attrs.define
class Tally:
    """Samples in buckets, and what they are ratios of, summed up."""

    counts: list[int]
    numerator: int = 0
    denominator: int = 0
    samples: int = 0

    def add(self, bucket: int, numerator: int, denominator: int) -> None:
        """Count one sample."""
        self.counts[bucket] += 1
        self.numerator += numerator
        self.denominator += denominator
        self.samples += 1
        if self.samples > KEPT:
            self._fade()

    def merged(self, other: "Tally") -> "Tally":
        """Return the samples of both."""
        both = Tally(
            [one + another for one, another in zip(self.counts, other.counts, strict=True)],
            self.numerator + other.numerator,
            self.denominator + other.denominator,
            self.samples + other.samples,
        )
        if both.samples > KEPT:
            both._fade()
        return both

    def _fade(self) -> None:
        self.counts = [count // 2 for count in self.counts]
        self.samples = sum(self.counts)
        self.numerator //= 2
        self.denominator //= 2

    @property
    def mean(self) -> int:
        """The sums' ratio in thousandths; 0 where nothing was counted."""
        return self.numerator * 1000 // self.denominator if self.denominator else 0

    def bucket_at(self, share: int) -> int:
        """Return the bucket up to which at least ``share`` thousandths of the samples are; the first of none."""
        rank = max(1, -(-self.samples * share // 1000))
        passed = 0
        for bucket, count in enumerate(self.counts):
            passed += count
            if passed >= rank:
                return bucket
        return 0

    @property
    def last_bucket(self) -> int:
        """The last bucket that holds a sample; the first of none."""
        return max((bucket for bucket, count in enumerate(self.counts) if count), default=0)


def _tally_over(edges: Sequence[int]) -> Tally:
    return Tally([0] * (len(edges) + 1))


def _ratios() -> Tally:
    return _tally_over(RATIO_EDGES)


def _errors() -> Tally:
    return _tally_over(ERROR_EDGES)


@attrs.define
class Calibration:
    """What was learnt of one model, as one provider serves it."""

    provider: str
    upstream_model: str
    output: Tally = attrs.field(factory=_ratios)
    input: Tally = attrs.field(factory=_ratios)
    bound: Tally = attrs.field(factory=_ratios)
    output_error: Tally = attrs.field(factory=_errors)
    """How far metered output was from what was reported: by the ratio in force when it was admitted, before it taught
    anything."""
    input_error: Tally = attrs.field(factory=_errors)
    """The same of the estimates of input."""
    shortfall: Tally = attrs.field(factory=_errors)
    """How far bounds of input were below what was reported, in thousandths of the bound; in the first bucket: not."""

    def __attrs_post_init__(self) -> None:
        for tally, edges in (
            (self.output, RATIO_EDGES),
            (self.input, RATIO_EDGES),
            (self.bound, RATIO_EDGES),
            (self.output_error, ERROR_EDGES),
            (self.input_error, ERROR_EDGES),
            (self.shortfall, ERROR_EDGES),
        ):
            if len(tally.counts) != len(edges) + 1 or sum(tally.counts) != tally.samples:
                raise ValueError("counts of other buckets")

    @property
    def is_empty(self) -> bool:
        """Whether nothing was learnt."""
        return not (self.output.samples or self.input.samples)

    def is_of(self, provider: str, upstream_model: str) -> bool:
        """Whether it is of the same model at the same provider."""
        return (self.provider, self.upstream_model) == (provider, upstream_model)

    def note_output(self, size: int, tokens: int, metered: int) -> None:
        """Learn of one answer.

        Args:
            size: its visible bytes.
            tokens: reported, of which those bytes are; more than 0.
            metered: the tokens that the bytes were taken for.
        """
        self.output_error.add(bisect_left(ERROR_EDGES, abs(metered - tokens) * 1000 // tokens), metered, tokens)
        self.output.add(bisect_right(RATIO_EDGES, size * 1000 // tokens), size, tokens)

    def note_input(self, input_bytes: int, bound_bytes: int, tokens: int, *, estimate: int, bound: int) -> None:
        """Learn of one request.

        Args:
            input_bytes: of what is known to be read as text.
            bound_bytes: of everything that may be read as text.
            tokens: reported; more than 0.
            estimate: the tokens that the first were taken for.
            bound: the most tokens that the second were taken for.
        """
        self.input_error.add(bisect_left(ERROR_EDGES, abs(estimate - tokens) * 1000 // tokens), estimate, tokens)
        short = -((bound - tokens) * 1000 // max(bound, 1))
        self.shortfall.add(bisect_left(ERROR_EDGES, short), bound, tokens)
        self.input.add(bisect_right(RATIO_EDGES, input_bytes * 1000 // tokens), input_bytes, tokens)
        self.bound.add(bisect_right(RATIO_EDGES, bound_bytes * 1000 // tokens), bound_bytes, tokens)

    def merged(self, other: "Calibration") -> "Calibration":
        """Return what both know of the model."""
        return Calibration(
            self.provider,
            self.upstream_model,
            self.output.merged(other.output),
            self.input.merged(other.input),
            self.bound.merged(other.bound),
            self.output_error.merged(other.output_error),
            self.input_error.merged(other.input_error),
            self.shortfall.merged(other.shortfall),
        )

    def ratios(self, configured: MeterRatios) -> MeterRatios:
        """Return the ratios to meter by: those that were learnt from samples enough, else the configured ones."""
        mean, input_mean, low = configured.mean, configured.input_mean, configured.low
        if self.output.samples >= LEAST_OUTPUTS:
            mean = _possible(self.output.mean)
        if self.input.samples >= LEAST_INPUTS:
            input_mean = _possible(self.input.mean)
            low = self._low()
        return attrs.evolve(configured, mean=mean, input_mean=input_mean, low=low)

    def _low(self) -> int:
        bucket = self.bound.bucket_at(LOW_SHARE)
        edge = RATIO_EDGES[bucket - 1] if bucket else 0
        return max(LEAST_LOW, min(edge, self.bound.mean, MOST_LOW))

    def to_json(self) -> str:
        """Return it as canonical JSON, of at most a few kilobytes."""
        return msgspec.json.encode(self, order="sorted").decode()


def _possible(mean: int) -> int:
    """Return a mean inside what the buckets span: a ratio of zero could meter nothing."""
    return max(RATIO_EDGES[0], min(mean, RATIO_EDGES[-1]))


_decode = msgspec.json.Decoder(Calibration).decode


def from_json(text: str) -> Calibration:
    """Return what ``to_json`` told.

    Raises:
        ValueError: it is something else, or of another version's buckets.
    """
    return _decode(text)


@attrs.frozen
class ErrorFigures:
    """How far counts were off, in thousandths of what was reported."""

    samples: int
    median: int
    """Of a hundred counts, fifty were at most this far off; the next two likewise."""
    p90: int
    p99: int
    bias: int
    """The sum of what was counted, over the sum of what was reported: above 0, too much was counted."""


def error_figures(tally: Tally) -> ErrorFigures:
    """Return what a tally of errors says."""
    return ErrorFigures(
        samples=tally.samples,
        median=_most_of(tally.bucket_at(500)),
        p90=_most_of(tally.bucket_at(900)),
        p99=_most_of(tally.bucket_at(990)),
        bias=tally.mean - 1000 if tally.samples else 0,
    )


@attrs.frozen
class BoundFigures:
    """How good a bound the bound of the input was."""

    samples: int
    below: int
    """How often it was below what was reported."""
    worst: int
    """By how much at most, in thousandths of the bound."""


def bound_figures(tally: Tally) -> BoundFigures:
    """Return what a tally of shortfalls says."""
    return BoundFigures(tally.samples, tally.samples - tally.counts[0], _most_of(tally.last_bucket))


def _most_of(bucket: int) -> int:
    return ERROR_EDGES[min(bucket, len(ERROR_EDGES) - 1)]
