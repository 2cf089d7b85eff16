from ainf.providers.vllm import VLLM
from tests.providers.requests import refused_by, written

FIELDS = {"model": "asked", "messages": [{"role": "user", "content": "Hi"}], "guided_choice": ["a", "b"], "top_k": 5}


def test_a_request():
    """Its own parameters ride along."""
    assert written(VLLM, FIELDS, 9)[1] == FIELDS | {"model": "up-1", "max_completion_tokens": 9}


def test_no_host_is_named():
    """Where a cache is fetched from is no client's to say."""
    assert refused_by(VLLM, FIELDS | {"kv_transfer_params": {"remote_host": "10.0.0.1"}}) == "kv_transfer_params"


def test_every_installation_has_its_own_address():
    """And may want no key."""
    assert (VLLM.facts.base_url, VLLM.facts.needs_key) == (None, False)
