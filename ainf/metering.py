"""Counting tokens that nobody reported: bytes in, tokens out. Pure, whole numbers only.

A ratio is bytes per token in thousandths (4.0 is 4000), so that a count is exact and any two processes agree.
"""

import attrs

from ainf.inference.usage import Usage

# Usage is believed only up to this many times what could have been sent or produced (design section 7).
BELIEVED_TIMES = 10
# Output that a model may produce beside what its limit says (stop tokens, tool-call framing).
SLACK_TOKENS = 64


@attrs.frozen
class MeterRatios:
    """Bytes per token of one model, in thousandths."""

    mean: int = attrs.field(validator=attrs.validators.gt(0))
    """For counting what passed."""
    low: int = attrs.field(validator=attrs.validators.gt(0))
    """The low quantile, for bounds: hardly any input has fewer bytes per token."""
    image_tokens: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    """The most that one image can cost in tokens."""


def tokens_of(size: int, ratio: int) -> int:
    """Return the tokens that ``size`` bytes are taken for, rounded up."""
    return -(-size * 1000 // ratio)


def bytes_of(tokens: int, ratio: int) -> int:
    """Return the most bytes that are taken for ``tokens`` or fewer: the inverse of ``tokens_of``."""
    return tokens * ratio // 1000


def input_bound(size: int, images: int, ratios: MeterRatios) -> int:
    """Return the most input tokens that a request of ``size`` bytes and ``images`` images is reckoned with."""
    return tokens_of(size, ratios.low) + images * ratios.image_tokens


def input_estimate(size: int, images: int, ratios: MeterRatios) -> int:
    """Return the input tokens that such a request is taken for when the provider reports none."""
    return tokens_of(size, ratios.mean) + images * ratios.image_tokens


def is_believable(usage: Usage, *, input_tokens: int, output_tokens: int) -> bool:
    """Whether reported usage can be true of a request with these bounds (design section 7).

    All zeros after text is how some providers say "not counted", and is not believed where output was seen.
    """
    return (
        usage.is_consistent()
        and usage.input_tokens <= BELIEVED_TIMES * (input_tokens + SLACK_TOKENS)
        and usage.output_tokens <= BELIEVED_TIMES * (output_tokens + SLACK_TOKENS)
    )
