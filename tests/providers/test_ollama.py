from ainf.providers.ollama import OLLAMA
from tests.providers.requests import written

FIELDS = {"model": "asked", "messages": [{"role": "developer", "content": "Be brief."}]}


def test_what_it_would_ignore_in_silence():
    """The newer name of the limit and the developer's words would be lost, so they are said in its own."""
    _, body = written(OLLAMA, FIELDS | {"max_completion_tokens": 50}, 9)
    assert body == {"model": "up-1", "messages": [{"role": "system", "content": "Be brief."}], "max_tokens": 9}


def test_it_stands_on_this_machine_unless_configured():
    """Without a key."""
    assert (OLLAMA.facts.base_url, OLLAMA.facts.needs_key) == ("http://localhost:11434/v1", False)
