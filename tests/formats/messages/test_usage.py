import pytest
from anthropic.types import MessageDeltaUsage
from anthropic.types import Usage as WireUsage
from hypothesis import given
from hypothesis import strategies as st

from ainf.formats.messages.usage import UsageTotals, read_usage, usage_fields
from ainf.inference.usage import Usage

counts = st.integers(0, 1_000_000)


@st.composite
def usages(draw):
    """Any usage whose parts fit into their wholes."""
    plain, cached, short, long, answer, thought = (draw(counts) for _ in range(6))
    return Usage(
        input_tokens=plain + cached + short + long,
        cached_input_tokens=cached,
        output_tokens=answer + thought,
        reasoning_tokens=thought,
        cache_write_tokens=short + long,
        long_cache_write_tokens=long,
    )


@given(usages())
def test_both_ways(usage):
    """Usage survives the wire, where the parts of the input stand beside one another and add up to ours."""
    fields = usage_fields(usage)
    assert read_usage(fields) == usage
    parts = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    assert sum(fields[name] for name in parts) == usage.input_tokens
    assert sum(fields["cache_creation"].values()) == usage.cache_write_tokens
    assert WireUsage.model_validate(fields, strict=True).output_tokens == usage.output_tokens
    delta = MessageDeltaUsage.model_validate(fields, strict=True)
    assert delta.output_tokens_details.thinking_tokens == usage.reasoning_tokens


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"input_tokens": 5, "output_tokens": 3}, Usage(5, 0, 3)),
        ({"input_tokens": 5, "output_tokens": 3, "cache_read_input_tokens": None}, Usage(5, 0, 3)),
        ({"input_tokens": 5, "output_tokens": 3, "cache_read_input_tokens": 7, "cache_creation_input_tokens": 2},
         Usage(14, 7, 3, cache_write_tokens=2)),
        ({"input_tokens": 0, "output_tokens": 3,
          "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 6}},
         Usage(10, 0, 3, cache_write_tokens=10, long_cache_write_tokens=6)),
        ({"input_tokens": 1, "output_tokens": 3, "output_tokens_details": {"thinking_tokens": 2}}, Usage(1, 0, 3, 2)),
        ({"input_tokens": 1, "output_tokens": 3, "output_tokens_details": 7, "cache_creation": [1]}, Usage(1, 0, 3)),
        ({"output_tokens": 3}, None),
        ({"input_tokens": 5, "output_tokens": None}, None),
        ({"input_tokens": -5, "output_tokens": 3, "cache_read_input_tokens": 9}, None),
        ({"input_tokens": True, "output_tokens": 3}, None),
        ({"input_tokens": "5", "output_tokens": 3}, None),
        ({"input_tokens": 5, "output_tokens": 1e400}, None),
        ({"input_tokens": 5, "output_tokens": 10**12}, None),
        ({"input_tokens": 5, "output_tokens": 3, "cache_read_input_tokens": [1]}, None),
        ({"input_tokens": 5, "output_tokens": 3, "output_tokens_details": {"thinking_tokens": 4}}, None),
        ({"input_tokens": 5, "output_tokens": 3, "cache_creation_input_tokens": 2,
          "cache_creation": {"ephemeral_1h_input_tokens": 6}}, None),
        ([], None),
        (None, None),
        (7, None),
    ],
)  # fmt: skip
def test_read(document, found):
    """A usage object is believed only where every number is a count and the parts fit into their wholes."""
    assert read_usage(document) == found


@pytest.mark.parametrize(
    ("documents", "found"),
    [
        ([{"input_tokens": 5, "output_tokens": 1}, {"output_tokens": 3}, {"output_tokens": 9}], Usage(5, 0, 9)),
        ([{"input_tokens": 5, "output_tokens": 1}, {"input_tokens": 0, "output_tokens": 9}], Usage(5, 0, 9)),
        ([{"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 8, "output_tokens": 9}], Usage(8, 0, 9)),
        ([{"input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": 2},
          {"output_tokens": 9, "cache_read_input_tokens": None}], Usage(7, 2, 9)),
        ([{"input_tokens": 5, "output_tokens": 0}], Usage(5)),
        ([{"input_tokens": 5, "output_tokens": 1}, {"output_tokens": -1}], None),
        ([{"input_tokens": 5, "output_tokens": 1}, "x"], None),
    ],
)  # fmt: skip
def test_totals(documents, found):
    """The parts of a stream's usage replace one another by name and are never summed."""
    totals = UsageTotals()
    merged = [totals.add(document) for document in documents]
    assert read_usage(merged[-1]) == found


@pytest.mark.parametrize("long", ["y" * 1_001, {"x": "y" * 1_001}, [7] * 1_001])
def test_long_parts_are_no_counts(long):
    """What is longer than any part of a usage object is not kept: totals are written with every later one."""
    totals = UsageTotals()
    totals.add({"input_tokens": 5, "output_tokens": 1, "server_tool_use": long})
    assert read_usage(totals.add({"output_tokens": 2})) == Usage(5, 0, 2)
    assert totals.add({"output_tokens": 2}) == {"input_tokens": 5, "output_tokens": 2, "server_tool_use": ""}
    assert read_usage(totals.add({"output_tokens": long})) is None


def test_totals_are_bounded():
    """Fields that nobody knows are not kept, however many come."""
    totals = UsageTotals()
    merged = [totals.add({f"field_{number}": 1, "output_tokens": number}) for number in range(100)]
    assert merged[-1] == {"output_tokens": 99}
