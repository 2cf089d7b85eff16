import json

import pytest

from ainf.formats.base import Answer
from ainf.formats.observe import (
    believable_usage,
    clamped,
    note_finish,
    note_names,
    note_usage,
    part,
    required_count,
    unreadable,
)
from ainf.inference.events import FinishReason
from ainf.inference.usage import Usage


def test_first_names_stand():
    """The first names that say something stand, each for itself; later ones change nothing."""
    answer = Answer()
    for names in (("", None, 0), ("a", "", None), ("b", "m", 7.9), ("c", "n", 8)):
        note_names(answer, *names)
    assert (answer.response_id, answer.model, answer.created) == ("a", "m", 7)


@pytest.mark.threat("S19")
@pytest.mark.parametrize("wrong", [7, [], {}, None, True, "", "a\r\nb", "\0", "\ud800"])
def test_names_are_fit_for_records(wrong):
    """A name that is no printable text is not kept; a long one is cut."""
    answer = Answer()
    note_names(answer, wrong, "x" * 9000)
    assert (answer.response_id, len(answer.model)) == (None, 256)


@pytest.mark.parametrize("wrong", [True, "5", -1, 0, 1 << 40, float("inf"), float("nan"), [5]])
def test_times_are_seconds(wrong):
    """What is no time in seconds since 1970 is not kept."""
    answer = Answer()
    note_names(answer, "a", "m", wrong)
    assert answer.created is None


@pytest.mark.parametrize(
    ("raw", "kept"),
    [("stop", "stop"), ("a\ud800é", "a\\ud800\\xe9"), ("x" * 999, "x" * 64), ("a\0\r\n\x1b", "a\\x00\\r\\n\\x1b")],
)
def test_raw_reasons_are_bounded_text(raw, kept):
    """The provider's word for an end is kept as short printable ASCII, beside ours."""
    answer = Answer()
    note_finish(answer, raw, FinishReason.OTHER)
    assert (answer.raw_finish_reason, answer.finish) == (kept, FinishReason.OTHER)


def test_rejected_usage_leaves_the_believed_one():
    """A later object that cannot be true is kept as text and flagged; what was believed stays."""
    answer, believed = Answer(), Usage(5, 0, 3, 0)
    note_usage(answer, {"n": 5}, believed)
    assert (answer.usage, answer.is_usage_rejected) == (believed, False)
    note_usage(answer, {"n": -3}, None)
    assert (answer.usage, answer.is_usage_rejected) == (believed, True)
    assert json.loads(answer.raw_usage) == {"n": -3}
    note_usage(answer, {"n": 6}, Usage(6))
    assert (answer.usage, answer.is_usage_rejected) == (Usage(6), False)


@pytest.mark.parametrize("document", [{"x": "y" * 9000}, {"x": "\ud800"}, {"x": 10**4000}, {"x": float("nan")}, {1, 2}])
def test_raw_usage_is_bounded_text(document):
    """Whatever a provider sends as usage is kept as text that can be stored, at most 2,000 characters."""
    answer = Answer()
    note_usage(answer, document, None)
    assert 0 < len(answer.raw_usage.encode()) <= 2_000


def test_null_counts_as_zero():
    """A part that does not apply may be null."""
    assert believable_usage(input_tokens=5, cached_input_tokens=None, output_tokens=3) == Usage(5, 0, 3)


@pytest.mark.threat(88, "S14")
@pytest.mark.parametrize("wrong", [-1, 1.0, True, "5", [5], {"a": 5}, 1_000_000_001, float("inf")])
def test_a_wrong_count_makes_all_unbelievable(wrong):
    """One number that is no count of tokens, and none of them is believed."""
    assert believable_usage(input_tokens=5, output_tokens=wrong) is None


@pytest.mark.threat(92)
def test_parts_over_their_wholes_are_not_believed():
    """Cached and written input fit into the input, reasoning into the output."""
    assert believable_usage(input_tokens=5, cached_input_tokens=3, cache_write_tokens=2) is not None
    assert believable_usage(input_tokens=5, cached_input_tokens=3, cache_write_tokens=3) is None
    assert believable_usage(output_tokens=1, reasoning_tokens=2) is None
    assert believable_usage(input_tokens=5, long_cache_write_tokens=1) is None


def test_part():
    """A count inside a details object is found only where there is such an object."""
    assert (part({"a": 3}, "a"), part({"a": 3}, "b"), part([3], "a"), part(None, "a")) == (3, None, None, None)


@pytest.mark.parametrize(
    ("document", "is_believed"), [({"n": 5}, True), ({"n": 0}, True), ({"n": None}, False), ({}, False)]
)
def test_a_required_count(document, is_believed):
    """A count that must be there makes all unbelievable where it is absent; zero is a count."""
    assert (believable_usage(input_tokens=required_count(document, "n")) is not None) is is_believed


@pytest.mark.parametrize(
    ("body", "code", "words"),
    [(b"", "upstream_protocol", "nothing"), (b" \n", "upstream_protocol", "nothing"),
     (b' {"a":', "upstream_truncated", "broke off"), (b"[1]", "upstream_protocol", "is not a word"),
     (b"<html>", "upstream_protocol", "is not a word")],
)  # fmt: skip
def test_unreadable(body, code, words):
    """A body that cannot be read is told apart by why."""
    error = unreadable(body, "a word")
    assert (error.code, words in str(error)) == (code, True)


@pytest.mark.parametrize(
    ("count", "whole", "others", "left"),
    [
        (3, 10, (4, 3), 3),
        (5, 10, (4, 3), 3),
        (5, 10, (10, 3), 0),
        (0, 10, (), 0),
        (None, 10, (), None),
        (-1, 10, (), -1),
        ("5", 10, (), "5"),
        (5, "", (), 5),
        (5, 10, (None,), 5),
        (True, 10, (), True),
    ],
)
def test_parts_that_may_overlap(count, whole, others, left):
    """A part is what the others leave of the whole, at most; what is no count is left to be rejected."""
    assert clamped(count, whole, *others) is left
