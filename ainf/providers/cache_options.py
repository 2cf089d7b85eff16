"""What OpenAI's requests, of either format, may ask of the prompt cache, and whether the model's price covers it.

Source: OpenAI's API reference, ``prompt_cache_options``, ``prompt_cache_breakpoint`` and ``prompt_cache_retention``,
and its guide on prompt caching: a write for 30 minutes or for 12 hours has a price of its own. ``prompt_cache_key``
only says what belongs together.
"""

from collections.abc import Mapping
from typing import Any, Final

from ainf.providers.fields import SHARED, Coverage, asks, refusal

_OPTIONS: Final = "prompt_cache_options"
_RETENTION: Final = "prompt_cache_retention"
_BREAKPOINT: Final = "prompt_cache_breakpoint"


def check_cache_options(fields: Mapping[str, Any], coverage: Coverage) -> None:
    """Refuse options of the whole request that the price does not cover.

    Raises:
        DownstreamError: ``unsupported_parameter``.
    """
    options = fields.get(_OPTIONS)
    if asks(options) and options != {}:
        coverage.ask_write(_OPTIONS, is_long=_is_long(options))
    if isinstance(options, dict):
        if asks(options.get("prewarm")):
            raise refusal(f"{_OPTIONS}.prewarm", "a request without an answer is no inference")
        if asks(options.get("comparison_response_id")):
            raise refusal(f"{_OPTIONS}.comparison_response_id", SHARED)
    if fields.get(_RETENTION) not in (None, "in_memory"):
        coverage.ask_write(_RETENTION, is_long=True)


def check_breakpoint(part: Mapping[str, Any], path: str, coverage: Coverage) -> None:
    """Refuse a part's mark of what to cache, where the price does not cover it.

    Raises:
        DownstreamError: ``unsupported_parameter``.
    """
    mark = part.get(_BREAKPOINT)
    if asks(mark):
        coverage.ask_write(f"{path}.{_BREAKPOINT}", is_long=_is_long(mark))


def _is_long(options: Any) -> bool:  # noqa: ANN401 - judged here
    return isinstance(options, dict) and options.get("ttl") not in (None, "30m")
