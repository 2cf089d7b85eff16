from ainf.providers.xai import XAI
from tests.providers.requests import refused_by, written

FIELDS = {"model": "asked", "messages": [{"role": "user", "content": "Hi"}]}


def test_a_request():
    """It takes OpenAI's words, the newer name of the limit among them."""
    assert written(XAI, FIELDS, 9)[1] == FIELDS | {"model": "up-1", "max_completion_tokens": 9}


def test_refused():
    """Searches have a price, deferred answers come later, and a bias of tokens is not supported."""
    for name in ("search_parameters", "deferred", "logit_bias"):
        assert refused_by(XAI, FIELDS | {name: {"1": 1}}) == name


def test_facts():
    """Grok thinks unasked and mostly unseen."""
    assert (XAI.facts.hidden_reasoning, XAI.facts.shows_reasoning) == ("always", True)
