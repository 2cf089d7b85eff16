import attrs

from ainf.providers.openai_compatible import OPENAI_COMPATIBLE
from tests.providers.requests import TARGET, translated, written

FIELDS = {"model": "asked", "messages": [{"role": "developer", "content": "Hi"}], "max_completion_tokens": 50}


def test_nothing_is_said_otherwise():
    """What is unknown of a server is left to its configuration."""
    assert written(OPENAI_COMPATIBLE, FIELDS)[1] == FIELDS | {"model": "up-1"}
    older = attrs.evolve(TARGET, max_tokens_field=OPENAI_COMPATIBLE.facts.max_tokens_field)
    assert written(OPENAI_COMPATIBLE, {"messages": []}, 9, target=older)[1]["max_tokens"] == 9


def test_a_translated_request():
    """It says its limit by the older name, and thoughts as most servers take them back."""
    older = attrs.evolve(TARGET, max_tokens_field=OPENAI_COMPATIBLE.facts.max_tokens_field)
    body, fields = translated(OPENAI_COMPATIBLE, target=older)
    assert body == {"model": "up-1", "messages": fields["messages"], "max_tokens": 50}


def test_facts():
    """It has no address of its own, and may want no key."""
    assert (OPENAI_COMPATIBLE.facts.base_url, OPENAI_COMPATIBLE.facts.needs_key) == (None, False)
