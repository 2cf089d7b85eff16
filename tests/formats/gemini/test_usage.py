import pytest
from google.genai.types import GenerateContentResponseUsageMetadata
from hypothesis import given
from hypothesis import strategies as st

from ainf.formats.gemini.usage import read_usage, usage_fields
from ainf.formats.observe import MOST_TOKENS
from ainf.inference.usage import Usage
from tests.formats.gemini.support import WIRE_USAGE

COUNTS = ["promptTokenCount", "cachedContentTokenCount", "candidatesTokenCount", "thoughtsTokenCount"]
counts = st.integers(0, 1_000_000)
TEXT = {"modality": "TEXT", "tokenCount": 1}
SOUND = {"modality": "AUDIO", "tokenCount": 4}
LITTLE_SOUND = {"modality": "AUDIO", "tokenCount": 2}


@pytest.mark.parametrize(
    ("extra", "usage"),
    [
        ({}, Usage(5, 0, 3, 1)),
        ({"cachedContentTokenCount": 4}, Usage(5, 4, 3, 1)),
        ({"thoughtsTokenCount": None, "candidatesTokenCount": None}, Usage(5, 0, 0, 0)),
        ({"toolUsePromptTokenCount": 7}, Usage(12, 0, 3, 1)),
        ({"promptTokensDetails": [TEXT, SOUND]}, Usage(5, 0, 3, 1, audio_input_tokens=4)),
        ({"promptTokensDetails": [SOUND], "cachedContentTokenCount": 2}, Usage(5, 2, 3, 1, audio_input_tokens=3)),
        (
            {"promptTokensDetails": [SOUND], "cachedContentTokenCount": 2, "cacheTokensDetails": [LITTLE_SOUND]},
            Usage(5, 2, 3, 1, audio_input_tokens=2),
        ),
        (
            {
                "toolUsePromptTokenCount": 7,
                "toolUsePromptTokensDetails": [SOUND],
                "promptTokensDetails": [LITTLE_SOUND],
            },
            Usage(12, 0, 3, 1, audio_input_tokens=6),
        ),
        ({"candidatesTokensDetails": [SOUND]}, Usage(5, 0, 3, 1, audio_output_tokens=2)),
        ({"promptTokensDetails": "AUDIO", "cacheTokensDetails": ["AUDIO"]}, Usage(5, 0, 3, 1)),
        ({"totalTokenCount": 99, "trafficType": "ON_DEMAND", "promptTokensDetails": [{}]}, Usage(5, 0, 3, 1)),
    ],
)
def test_read(extra, usage):
    """What we price is read: thoughts are output, results of the provider's tools input, sound is a part of either."""
    assert read_usage(WIRE_USAGE | extra) == usage


@pytest.mark.parametrize("wrong", [-1, 1.0, True, False, 0.0, "5", [5], {"a": 5}, 1 << 64, 10**10, float("inf")])
@pytest.mark.parametrize("name", [*COUNTS, "toolUsePromptTokenCount"])
def test_wrong_numbers(name, wrong):
    """A number that is no count of tokens makes the whole object not believed."""
    assert read_usage(WIRE_USAGE | {name: wrong}) is None


@pytest.mark.parametrize(
    "document",
    [{}, {"candidatesTokenCount": 3}, WIRE_USAGE | {"promptTokenCount": None},
     WIRE_USAGE | {"cachedContentTokenCount": 6},
     WIRE_USAGE | {"promptTokensDetails": [{"modality": "AUDIO", "tokenCount": -1}]},
     WIRE_USAGE | {"promptTokensDetails": [SOUND, {"modality": "AUDIO", "tokenCount": "1"}]},
     WIRE_USAGE | {"candidatesTokenCount": MOST_TOKENS, "thoughtsTokenCount": 1}],
)  # fmt: skip
def test_inconsistent(document):
    """No prompt, a part over its whole, or a sum beyond all measure is not believed."""
    assert read_usage(document) is None


@given(cached=counts, rest=counts, reasoning=counts, text=counts, heard=counts, spoken=counts)
def test_round_trip(cached, rest, reasoning, text, heard, spoken):
    """What we write is what we read, and Google's own type takes it; its total is the sum of its parts."""
    usage = Usage(
        input_tokens=cached + rest + heard,
        cached_input_tokens=cached,
        output_tokens=reasoning + text + spoken,
        reasoning_tokens=reasoning,
        audio_input_tokens=heard,
        audio_output_tokens=spoken,
    )
    fields = usage_fields(usage)
    assert read_usage(fields) == usage
    told = GenerateContentResponseUsageMetadata.model_validate(fields)
    assert told.total_token_count == told.prompt_token_count + told.candidates_token_count + told.thoughts_token_count


@given(prompt=counts, tools=counts, candidates=counts, thoughts=counts, cached=counts)
def test_nothing_is_lost_or_counted_twice(prompt, tools, candidates, thoughts, cached):
    """Input and output together are the provider's total, and the cached ones are a part of the input."""
    usage = read_usage({
        "promptTokenCount": prompt + cached,
        "cachedContentTokenCount": cached,
        "toolUsePromptTokenCount": tools,
        "candidatesTokenCount": candidates,
        "thoughtsTokenCount": thoughts,
    })
    assert usage is not None
    assert usage.input_tokens + usage.output_tokens == prompt + cached + tools + candidates + thoughts
    assert (usage.cached_input_tokens, usage.reasoning_tokens) == (cached, thoughts)
