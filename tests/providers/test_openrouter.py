import pytest

from ainf.providers.openrouter import OPENROUTER
from tests.providers.requests import BARE, COVERED, passes, refused_by, written

FIELDS = {"model": "asked", "messages": [{"role": "user", "content": "Hi"}]}
MARKED = {"messages": [{"role": "user", "content": [{"type": "text", "text": "x", "cache_control": {"type": "x"}}]}]}


def test_a_request():
    """It takes OpenAI's words, and its own for reasoning."""
    fields = FIELDS | {"reasoning": {"effort": "low", "exclude": True}}
    assert passes(OPENROUTER, fields)
    assert written(OPENROUTER, fields, 9)[1] == fields | {"model": "up-1", "max_completion_tokens": 9}


@pytest.mark.parametrize("name", ["models", "route", "provider", "plugins", "transforms", "preset", "image_config"])
def test_refused(name):
    """What chooses models, hosts and prices."""
    assert refused_by(OPENROUTER, FIELDS | {name: ["x"]}) == name


def test_cache_marks_need_a_price():
    """Anthropic's marks go through it, and are charged."""
    assert refused_by(OPENROUTER, MARKED, BARE) == "messages[0].content[0].cache_control"
    assert passes(OPENROUTER, MARKED, COVERED)


def test_facts():
    """The provider behind it may go on, and may think unseen."""
    assert (OPENROUTER.facts.aborted_billing, OPENROUTER.facts.hidden_reasoning) == ("drain", "always")
    assert OPENROUTER.facts.shows_reasoning
