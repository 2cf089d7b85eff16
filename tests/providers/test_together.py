from ainf.providers.together import TOGETHER
from tests.providers.requests import refused_by, written

FIELDS = {"model": "asked", "messages": [{"role": "developer", "content": "Be brief."}]}


def test_a_request_in_togethers_words():
    """It has one name for the output limit, and no developer."""
    _, body = written(TOGETHER, FIELDS | {"max_completion_tokens": 9}, stream=True)
    assert body == {
        "model": "up-1",
        "messages": [{"role": "system", "content": "Be brief."}],
        "max_tokens": 9,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_a_second_model_is_refused():
    """A safety model would run beside the one that is priced."""
    assert refused_by(TOGETHER, FIELDS | {"safety_model": "Llama-Guard"}) == "safety_model"
