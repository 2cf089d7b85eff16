"""Counting tokens that nobody reported: bytes in, tokens out. Pure, whole numbers only.

A ratio is bytes per token in thousandths (4.0 is 4000), so that a count is exact and any two processes agree.
"""

import attrs

from ainf.inference.usage import Usage

# Usage is believed only up to this many times what could have been sent or produced.
BELIEVED_TIMES = 10
# Output that a model may produce beside what its limit says (stop tokens, tool-call framing).
SLACK_TOKENS = 64


# What one attachment may add to that: however few bytes it has here, it may fill a context window (a video by its URL
# can have a million tokens). Images stay far below: by OpenAI's vision pricing one costs gpt-4o-mini 2,833 tokens and
# 5,667 for each of at most 8 tiles, 48,169 in all.
ATTACHMENT_TOKENS = 1_000_000


@attrs.frozen
class MeterRatios:
    """Bytes per token of one model, in thousandths."""

    mean: int = attrs.field(validator=attrs.validators.gt(0))
    """For counting output that passed."""
    low: int = attrs.field(validator=attrs.validators.gt(0))
    """The low quantile, for bounds: hardly any input has fewer bytes per token."""
    image_tokens: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    """The most that one image, or another attachment, is reckoned to cost in tokens."""
    input_mean: int = attrs.field(
        default=attrs.Factory(lambda ratios: ratios.mean, takes_self=True), validator=attrs.validators.gt(0)
    )
    """For counting input; the same as of output where nothing else is known."""


def tokens_of(size: int, ratio: int) -> int:
    """Return the tokens that ``size`` bytes are taken for, rounded up."""
    return -(-size * 1000 // ratio)


def bytes_of(tokens: int, ratio: int) -> int:
    """Return the most bytes that are taken for ``tokens`` or fewer: the inverse of ``tokens_of``."""
    return tokens * ratio // 1000


def input_bound(size: int, attachments: int, ratios: MeterRatios) -> int:
    """Return the most input tokens that ``size`` bytes and so many attachments are reckoned with."""
    return tokens_of(size, ratios.low) + attachments * ratios.image_tokens


def input_estimate(size: int, attachments: int, ratios: MeterRatios) -> int:
    """Return the input tokens that ``size`` bytes and so many attachments are taken for when nobody reports them."""
    return tokens_of(size, ratios.input_mean) + attachments * ratios.image_tokens


def is_believable(usage: Usage, *, input_tokens: int, attachments: int, output_tokens: int) -> bool:
    """Whether reported usage can be true of a request with these bounds of its tokens and so many attachments.

    True usage must never be thrown away, so the ceilings are high: they are to catch what is broken, not what is dear.
    """
    return (
        usage.is_consistent()
        and usage.input_tokens <= BELIEVED_TIMES * (input_tokens + SLACK_TOKENS) + attachments * ATTACHMENT_TOKENS
        and usage.output_tokens <= BELIEVED_TIMES * (output_tokens + SLACK_TOKENS)
    )
