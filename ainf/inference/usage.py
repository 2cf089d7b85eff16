"""Token usage of one inference, in one convention for all providers."""

import attrs


def _tokens(_usage: "Usage", field: "attrs.Attribute[int]", count: int) -> None:
    """Check a count; one plain function, because usages are made for every chunk of some streams."""
    if type(count) is not int or count < 0:
        raise ValueError(f"{field.name} must be a count of tokens, not {count!r}")


@attrs.frozen
class Usage:
    """Tokens of one inference; the words follow OpenTelemetry's.

    ``input_tokens`` always includes the cached ones and those written to a cache; ``output_tokens`` always includes
    the reasoning ones. Formats whose wire counts differ are converted where they are read.

    Attributes:
        input_tokens: everything that the model read.
        cached_input_tokens: the part that was read from a cache.
        output_tokens: everything that the model wrote.
        reasoning_tokens: the part that is reasoning, shown or not.
        cache_write_tokens: the part of the input that was written to a cache, for however long.
        long_cache_write_tokens: the part of those that was written for longer than the provider's usual time
            (Anthropic's 1 hour instead of 5 minutes, OpenAI's 12 hours instead of 30 minutes).
        audio_input_tokens: the part of the input that was sound; of the cached part it holds none.
        audio_output_tokens: the part of the output that is sound.
    """

    input_tokens: int = attrs.field(default=0, validator=_tokens)
    cached_input_tokens: int = attrs.field(default=0, validator=_tokens)
    output_tokens: int = attrs.field(default=0, validator=_tokens)
    reasoning_tokens: int = attrs.field(default=0, validator=_tokens)
    cache_write_tokens: int = attrs.field(default=0, validator=_tokens)
    long_cache_write_tokens: int = attrs.field(default=0, validator=_tokens)
    audio_input_tokens: int = attrs.field(default=0, validator=_tokens)
    audio_output_tokens: int = attrs.field(default=0, validator=_tokens)

    def is_consistent(self) -> bool:
        """Whether the parts fit into their wholes."""
        return (
            self.cached_input_tokens + self.cache_write_tokens + self.audio_input_tokens <= self.input_tokens
            and self.long_cache_write_tokens <= self.cache_write_tokens
            and self.reasoning_tokens + self.audio_output_tokens <= self.output_tokens
        )

    def __add__(self, other: "Usage") -> "Usage":
        """Return the usage of both together (the attempts of one exchange)."""
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            long_cache_write_tokens=self.long_cache_write_tokens + other.long_cache_write_tokens,
            audio_input_tokens=self.audio_input_tokens + other.audio_input_tokens,
            audio_output_tokens=self.audio_output_tokens + other.audio_output_tokens,
        )
