"""What every format notes of a provider's answer, in the one place: names, ends, usage, and what is no answer."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ainf.formats.base import Answer
from ainf.formats.loose import is_cut
from ainf.inference.errors import UpstreamError
from ainf.inference.events import FinishReason
from ainf.inference.usage import Usage

MOST_TOKENS: Final = 1_000_000_000
"""No answer has a billion tokens; what says so is broken, and must not reach arithmetic on 64-bit integers."""

_HEAD_CHARACTERS = 256
_REASON_CHARACTERS = 64
_RAW_CHARACTERS = 2_000
_NO_COUNT = ""


def note_names(
    answer: Answer,
    response_id: Any,  # noqa: ANN401 - a provider's word, judged here
    model: Any,  # noqa: ANN401 - the same
    created: Any = None,  # noqa: ANN401 - the same
) -> None:
    """Keep what names the answer; the first that says something stands (Azure's first chunk says nothing)."""
    if answer.response_id is None:
        answer.response_id = _name(response_id)
    if answer.model is None:
        answer.model = _name(model)
    if answer.created is None and type(created) in {int, float} and 0 < created < 1 << 40:
        answer.created = int(created)


def note_finish(answer: Answer, raw_reason: str, finish: FinishReason) -> None:
    """Keep the evidence of an end: the provider's own word for it, and ours."""
    answer.raw_finish_reason = raw_reason.encode("unicode_escape").decode()[:_REASON_CHARACTERS]
    answer.finish = finish


def note_usage(answer: Answer, document: Any, usage: Usage | None) -> None:  # noqa: ANN401 - a provider's word
    """Keep what a usage object says; a later one replaces an earlier one, never adds to it.

    Args:
        answer: where to keep it.
        document: the object as it came, for the receipt.
        usage: what it says in our words; None where it cannot be true.
    """
    try:
        answer.raw_usage = msgspec.json.encode(document).decode()[:_RAW_CHARACTERS]
    except (ValueError, TypeError, RecursionError):  # a lone surrogate, a number that JSON cannot say
        answer.raw_usage = repr(document)[:_RAW_CHARACTERS]
    answer.is_usage_rejected = usage is None
    if usage is not None:
        answer.usage = usage


def believable_usage(**counts: Any) -> Usage | None:  # noqa: ANN401 - a provider's words, judged here
    """Return the usage of these counts (the names are ``Usage``'s), or None where one is no count of tokens.

    Null counts as zero, as providers have it for parts that do not apply.
    """
    told = {name: 0 if count is None else count for name, count in counts.items()}
    if not all(type(count) is int and 0 <= count <= MOST_TOKENS for count in told.values()):
        return None
    usage = Usage(**told)
    return usage if usage.is_consistent() else None


def part(details: Any, name: str) -> Any:  # noqa: ANN401 - as believable_usage
    """Return one count of a details object; None where it says none."""
    return details.get(name) if isinstance(details, dict) else None


def clamped(count: Any, whole: Any, *others: Any) -> Any:  # noqa: ANN401 - as believable_usage
    """Return a count of a part, at most what the others leave of the whole; as it is, where one of them is no count.

    Parts that may overlap, such as sound that was cached, are so counted once.
    """
    if not count or not all(type(each) is int for each in (count, whole, *others)):
        return count
    return max(0, min(count, whole - sum(others))) if count > 0 else count


def required_count(document: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - as believable_usage
    """Return a count that must be there: null is no count."""
    value = document.get(name)
    return _NO_COUNT if value is None else value


def no_answer() -> UpstreamError:
    """A 200 that holds nothing."""
    return UpstreamError("upstream_protocol", "The provider answered with nothing.")


def not_of_format(what: str) -> UpstreamError:
    """A 200 that is not of the format; ``what`` it should have been ("a chat completion")."""
    return UpstreamError("upstream_protocol", f"The provider's answer is not {what}.")


def unreadable(body: bytes, what: str) -> UpstreamError:
    """A whole 200 that cannot be read: it holds nothing, is cut, or is not ``what`` it should have been."""
    if not body or body.isspace():
        return no_answer()
    return truncated() if is_cut(body) else not_of_format(what)


def truncated() -> UpstreamError:
    """An answer without its end."""
    return UpstreamError("upstream_truncated", "The provider's answer broke off before its end.")


def broken_stream() -> UpstreamError:
    """A translated stream of which nothing can be read any more."""
    return UpstreamError("upstream_protocol", "The provider's stream is broken: eight frames in a row are no JSON.")


def too_many_blocks() -> UpstreamError:
    """A translated answer in more pieces than any has."""
    return UpstreamError("upstream_protocol", "The provider's answer has more blocks than the gateway's limit.")


MOST_BLOCKS: Final = 2_048
"""Blocks of a translated answer. Each costs memory however little it says, and a few events of its own."""

MOST_BROKEN_IN_A_ROW: Final = 8
"""Frames of a translated stream that may be broken, one after the other."""


def _name(value: Any) -> str | None:  # noqa: ANN401 - a provider's word, judged here
    """Return a name that is fit for records: printable, bounded, not empty."""
    if isinstance(value, str) and value and value.isprintable():
        return value[:_HEAD_CHARACTERS]
    return None
