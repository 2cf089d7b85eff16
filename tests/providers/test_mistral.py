import pytest

from ainf.inference.request import Operation
from ainf.providers.mistral import MISTRAL
from tests.providers.requests import WITHOUT_THOUGHTS, passes, refused_by, translated, written

FIELDS = {"model": "asked", "messages": [{"role": "developer", "content": "Be brief."}]}


def test_a_request_in_mistrals_words():
    """Its validation knows no stream options, no developer, and other names for seed and limit."""
    _, body = written(MISTRAL, FIELDS | {"seed": 1, "max_completion_tokens": 9, "store": False}, stream=True)
    assert body == {
        "model": "up-1",
        "messages": [{"role": "system", "content": "Be brief."}],
        "random_seed": 1,
        "max_tokens": 9,
        "stream": True,
    }


def test_embeddings_in_mistrals_words():
    """The size of a vector has a name of its own."""
    _, body = written(MISTRAL, {"input": "a", "dimensions": 8}, operation=Operation.EMBED)
    assert body == {"model": "up-1", "input": "a", "output_dimension": 8}


@pytest.mark.parametrize("name", sorted(MISTRAL.unknown))
def test_what_its_validation_refuses(name):
    """It is refused by name before anything is reserved."""
    assert refused_by(MISTRAL, FIELDS | {name: "x"}) == name


def test_what_it_cannot_be_told():
    """What asks for something may be left out; what asks for nothing always is."""
    assert MISTRAL.unsaid(FIELDS | {"user": "u", "store": False, "seed": 1}, Operation.GENERATE) == ("user",)


def test_what_changes_the_price():
    """Documents are billed by the page, guardrails are models."""
    assert refused_by(MISTRAL, FIELDS | {"guardrails": [{"x": 1}]}) == "guardrails"
    part = {"type": "document_url", "document_url": "https://x/y.pdf"}
    assert refused_by(MISTRAL, {"messages": [{"content": [part]}]}) == "messages[0].content[0].type"
    assert passes(MISTRAL, FIELDS | {"safe_prompt": True, "prompt_mode": "reasoning"})


def test_thoughts_stay_out_of_a_translated_request():
    """Its messages have no field for them."""
    body, _ = translated(MISTRAL)
    assert (body["messages"], body["max_tokens"]) == (WITHOUT_THOUGHTS, 50)
