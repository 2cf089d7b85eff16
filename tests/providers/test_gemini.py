import attrs
import pytest

from ainf.inference.errors import DownstreamError
from ainf.inference.request import Operation
from ainf.inference.secret import Secret
from ainf.providers.gemini import GEMINI
from tests.providers.requests import BARE, TARGET, passes, refused_by, request_of, shown, written

FIELDS = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], "generationConfig": {"temperature": 0.5}}
EMBED = {"operation": Operation.EMBED}


def test_the_path_says_model_and_stream():
    """The body does not."""
    assert written(GEMINI, FIELDS) == ("/models/up-1:generateContent", FIELDS)
    assert written(GEMINI, FIELDS, stream=True) == ("/models/up-1:streamGenerateContent?alt=sse", FIELDS)
    whole = attrs.evolve(TARGET, streams=False)
    assert written(GEMINI, FIELDS, stream=True, target=whole) == ("/models/up-1:generateContent", FIELDS)


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-3.5-pro", "gemini-3.5-pro"),
        ("models/gemini-3.5-pro", "gemini-3.5-pro"),
        ("a/b?c#d:e", "a%2Fb%3Fc%23d%3Ae"),
        ("../ü", "..%2F%C3%BC"),
    ],
)
def test_a_models_name_is_one_step_of_the_path(model, path):
    """Whatever stands in it."""
    target = attrs.evolve(TARGET, upstream_model=model)
    assert written(GEMINI, FIELDS, target=target)[0] == f"/models/{path}:generateContent"


def test_output_limit():
    """It stands among the other settings."""
    assert written(GEMINI, FIELDS, 9)[1]["generationConfig"] == {"temperature": 0.5, "maxOutputTokens": 9}
    assert written(GEMINI, {"contents": []}, 9)[1]["generationConfig"] == {"maxOutputTokens": 9}
    assert "maxOutputTokens" not in FIELDS["generationConfig"]


def test_embeddings():
    """OpenAI's words become Gemini's, one request for each input."""
    path, body = written(GEMINI, {"model": "asked", "input": ["a", "b"], "dimensions": 8}, **EMBED)
    assert path == "/models/up-1:batchEmbedContents"
    assert [each["model"] for each in body["requests"]] == ["models/up-1"] * 2


def test_embeddings_that_cannot_be_said():
    """They are refused before anything is reserved."""
    with pytest.raises(DownstreamError):
        GEMINI.check(request_of({"model": "asked", "input": [[1, 2]]}, **EMBED), BARE)
    assert refused_by(GEMINI, {"model": "asked", "input": "a", "api_key": "x"}, **EMBED) == "api_key"
    assert passes(GEMINI, {"model": "asked", "input": "a"}, **EMBED)


def test_checked():
    """What has a price of its own is refused."""
    assert refused_by(GEMINI, FIELDS | {"cachedContent": "c"}) == "cachedContent"
    assert passes(GEMINI, FIELDS)


def test_the_rest():
    """A header for the key, shared reading of refusals, everything held."""
    assert shown(GEMINI.credential(Secret(b"k"))) == ((b"x-goog-api-key", b"k"),)
    assert GEMINI.read_error(503, {}, b"").code == "upstream_overloaded"
    assert (GEMINI.facts.hidden_reasoning, GEMINI.facts.aborted_billing) == ("always", "drain")


@pytest.mark.parametrize(
    ("model", "thinking", "said"),
    [
        ("gemini-2.5-flash", {"thinkingLevel": "LOW", "includeThoughts": True},
         {"thinkingBudget": 1024, "includeThoughts": True}),
        ("models/gemini-2.5-pro", {"thinkingLevel": "HIGH"}, {"thinkingBudget": 24576}),
        ("gemini-2.5-pro", {"thinkingBudget": 7}, {"thinkingBudget": 7}),
        ("gemini-2.5-pro", {"thinkingLevel": "UNHEARD_OF"}, {"thinkingLevel": "UNHEARD_OF"}),
        ("gemini-3-pro-preview", {"thinkingLevel": "LOW"}, {"thinkingLevel": "LOW"}),
        ("gemini-3-pro-preview", 5, 5),
    ],
)  # fmt: skip
def test_levels_of_thinking_are_budgets_to_models_that_know_none(model, thinking, said):
    """Older models take a number of tokens; newer ones, and what we do not know, are told what was asked."""
    fields = {"contents": [], "generationConfig": {"thinkingConfig": thinking, "topK": 3}}
    target = attrs.evolve(TARGET, upstream_model=model)
    _, body = written(GEMINI, fields, target=target)
    assert body["generationConfig"] == {"thinkingConfig": said, "topK": 3}
