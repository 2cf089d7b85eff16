from ainf.inference.request import Operation
from ainf.providers.openai import OPENAI
from tests.providers.requests import WITHOUT_THOUGHTS, passes, refused_by, translated, written

FIELDS = {"model": "asked", "messages": [{"role": "developer", "content": "Hi"}], "reasoning_effort": "low"}


def test_untouched():
    """Nothing of OpenAI's own is said otherwise."""
    assert written(OPENAI, FIELDS) == ("/chat/completions", FIELDS | {"model": "up-1"})
    assert written(OPENAI, FIELDS, 9)[1]["max_completion_tokens"] == 9


def test_facts():
    """Its reasoning is never shown in this format, so everything is held; embeddings are there."""
    assert (OPENAI.facts.hidden_reasoning, OPENAI.facts.aborted_billing) == ("always", "delivered")
    assert OPENAI.formats == {Operation.GENERATE: "chat", Operation.EMBED: "embeddings"}


def test_checked():
    """What changes the price is refused before anything is reserved."""
    assert refused_by(OPENAI, FIELDS | {"service_tier": "flex"}) == "service_tier"
    assert passes(OPENAI, FIELDS | {"include_reasoning": False})


def test_thoughts_stay_out_of_a_translated_request():
    """Its messages have no field for them."""
    body, _ = translated(OPENAI)
    assert (body["messages"], body["max_completion_tokens"]) == (WITHOUT_THOUGHTS, 50)
