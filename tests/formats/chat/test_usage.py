import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.formats.chat.usage import read_usage, usage_fields
from ainf.inference.usage import Usage
from tests.formats.chat.support import WIRE_USAGE


@pytest.mark.parametrize(
    ("extra", "usage"),
    [
        ({}, Usage(5, 0, 3, 0)),
        ({"prompt_tokens_details": {"cached_tokens": 4}}, Usage(5, 4, 3, 0)),
        ({"prompt_tokens_details": None, "completion_tokens_details": {"reasoning_tokens": 2}}, Usage(5, 0, 3, 2)),
        ({"prompt_cache_hit_tokens": 2, "prompt_cache_miss_tokens": 3}, Usage(5, 2, 3, 0)),
        ({"total_tokens": 99}, Usage(5, 0, 3, 0)),
        ({"queue_time": 0.25, "cost": 1e-05}, Usage(5, 0, 3, 0)),
        ({"cached_tokens": 4}, Usage(5, 4, 3, 0)),
        ({"cached_tokens": 4, "prompt_tokens_details": {"cached_tokens": 0}}, Usage(5, 0, 3, 0)),
        ({"prompt_tokens_details": {"audio_tokens": 4}}, Usage(5, 0, 3, 0, audio_input_tokens=4)),
        ({"prompt_tokens_details": {"audio_tokens": 4, "cached_tokens": 3}}, Usage(5, 3, 3, 0, audio_input_tokens=2)),
        ({"prompt_tokens_details": {"audio_tokens": 9}}, Usage(5, 0, 3, 0, audio_input_tokens=5)),
        ({"completion_tokens_details": {"audio_tokens": 2}}, Usage(5, 0, 3, 0, audio_output_tokens=2)),
        (
            {"completion_tokens_details": {"audio_tokens": 3, "reasoning_tokens": 2}},
            Usage(5, 0, 3, 2, audio_output_tokens=1),
        ),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage()),
    ],
)
def test_read(extra, usage):
    """What we price is read: cached, reasoning and spoken tokens as parts, none counted twice; nothing else matters."""
    assert read_usage(WIRE_USAGE | extra) == usage


@pytest.mark.parametrize("wrong", [-1, 1.0, 1.5, True, "5", None, [5], {"a": 5}, 1 << 64, 10**10, float("inf")])
@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens"])
def test_wrong_numbers(name, wrong):
    """A number that is no count of tokens makes the whole object not believed."""
    assert read_usage(WIRE_USAGE | {name: wrong}) is None


@pytest.mark.parametrize(
    "document",
    [None, {}, [], "5", 7, WIRE_USAGE | {"prompt_tokens_details": {"cached_tokens": 6}},
     WIRE_USAGE | {"completion_tokens_details": {"reasoning_tokens": 4}},
     WIRE_USAGE | {"prompt_tokens_details": {"cached_tokens": -1}},
     WIRE_USAGE | {"prompt_tokens_details": {"audio_tokens": -1}},
     WIRE_USAGE | {"prompt_tokens_details": {"audio_tokens": "1"}},
     WIRE_USAGE | {"completion_tokens_details": {"audio_tokens": 0.5}}],
)  # fmt: skip
def test_inconsistent(document):
    """A part over its whole, or no object at all, is not believed."""
    assert read_usage(document) is None


@pytest.mark.parametrize(
    ("counts", "output"),
    [
        ({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 135}, 103),
        ({"prompt_tokens": 32, "completion_tokens": 103, "total_tokens": 135}, 103),
        ({"prompt_tokens": 32, "completion_tokens": 103, "total_tokens": None}, 103),
        ({"prompt_tokens": 32, "completion_tokens": 103, "total_tokens": 136}, 103),
        ({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": 41}, None),
        ({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": None}, None),
        ({"prompt_tokens": 32, "completion_tokens": 9, "total_tokens": "135"}, None),
        ({"prompt_tokens": 32, "completion_tokens": -5, "total_tokens": 121}, None),
    ],
)
def test_reasoning_beside_the_completion(counts, output):
    """Reasoning tokens are added where the total says that they are beside the completion's, and nowhere else."""
    usage = read_usage(counts | {"completion_tokens_details": {"reasoning_tokens": 94}})
    assert usage == (None if output is None else Usage(32, 0, output, 94))


counts = st.integers(0, 200_000_000)


@st.composite
def usages(draw):
    cached, written, fresh, reasoning, told, heard, spoken = (draw(counts) for _ in range(7))
    return Usage(
        input_tokens=cached + written + fresh + heard,
        cached_input_tokens=cached,
        output_tokens=reasoning + told + spoken,
        reasoning_tokens=reasoning,
        cache_write_tokens=written,
        audio_input_tokens=heard,
        audio_output_tokens=spoken,
    )


@given(usages())
def test_round_trip(usage):
    """What we write is what we read; counted as xAI does, with reasoning beside the completion, it is the same."""
    document = usage_fields(usage)
    assert read_usage(document) == usage
    told = usage.output_tokens - usage.reasoning_tokens
    assert read_usage(document | {"completion_tokens": told}) == usage
