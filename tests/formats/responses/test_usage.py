import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseUsage

from ainf.formats.responses.usage import read_usage, usage_fields
from ainf.inference.usage import Usage

counts = st.integers(0, 10_000)


@given(counts, counts, counts, counts, counts, counts)
def test_both_ways(fresh, cached, short, long, said, thought):
    """What is written is valid by OpenAI's types, adds up, and is read back the same."""
    usage = Usage(fresh + cached + short + long, cached, said + thought, thought, short + long, long)
    wire = usage_fields(usage)
    assert read_usage(wire) == usage
    assert ResponseUsage.model_validate(wire, strict=True).total_tokens == usage.input_tokens + usage.output_tokens


@pytest.mark.parametrize(
    ("document", "usage"),
    [
        ({"input_tokens": 5, "output_tokens": 3}, Usage(5, 0, 3)),
        ({"input_tokens": 5, "output_tokens": 3, "input_tokens_details": None, "output_tokens_details": {}},
         Usage(5, 0, 3)),
        ({"input_tokens": 5, "output_tokens": 3, "total_tokens": 1}, Usage(5, 0, 3)),
        ({"input_tokens": 5}, None),
        ({"input_tokens": None, "output_tokens": 3}, None),
        ({"input_tokens": True, "output_tokens": 3}, None),
        ({"input_tokens": -1, "output_tokens": 3}, None),
        ({"input_tokens": 5.0, "output_tokens": 3}, None),
        ({"input_tokens": 5, "output_tokens": 10**30}, None),
        ({"input_tokens": 5, "output_tokens": 3, "input_tokens_details": {"cached_tokens": 6}}, None),
        ({"input_tokens": 5, "output_tokens": 3, "output_tokens_details": {"reasoning_tokens": 4}}, None),
        ({"input_tokens": 5, "output_tokens": 3,
          "input_tokens_details": {"cache_write_tokens_details": {"ttl_12h_tokens": 1}}}, None),
        ([], None),
        ("x", None),
    ],
)  # fmt: skip
def test_reading(document, usage):
    """What cannot be true is not believed; parts that do not apply may be missing."""
    assert read_usage(document) == usage
