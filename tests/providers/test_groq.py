import pytest

from ainf.providers.groq import GROQ
from tests.providers.requests import WITHOUT_THOUGHTS, refused_by, translated, written

FIELDS = {"model": "asked", "messages": [{"role": "user", "content": "Hi"}]}


def test_a_request():
    """It takes OpenAI's words."""
    assert written(GROQ, FIELDS, 9)[1] == FIELDS | {"model": "up-1", "max_completion_tokens": 9}


@pytest.mark.parametrize("name", ["logprobs", "logit_bias", "top_logprobs", "compound_custom", "search_settings"])
def test_refused(name):
    """What it answers with 400, and what chooses models, tools and searches."""
    assert refused_by(GROQ, FIELDS | {name: {"x": 1}}) == name


def test_names_of_speakers():
    """They are an error there."""
    assert refused_by(GROQ, {"messages": [{"role": "user", "name": "ann", "content": "x"}]}) == "messages[0].name"


def test_reasoning_is_shown():
    """Nobody hides it, since it is billed."""
    assert refused_by(GROQ, FIELDS | {"reasoning_format": "hidden"}) == "reasoning_format"


def test_thoughts_stay_out_of_a_translated_request():
    """Its messages have no field for them."""
    body, _ = translated(GROQ)
    assert (body["messages"], body["max_completion_tokens"]) == (WITHOUT_THOUGHTS, 50)
