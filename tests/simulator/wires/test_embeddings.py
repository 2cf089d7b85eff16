import json

import openai
import pytest
from openai.types import CreateEmbeddingResponse

from ainf.simulator import End, Simulator
from tests.simulator.client import post, send
from tests.simulator.formats import listening, unknown_fields


async def _embed(model="sim", *, simulator=None, **fields):
    body = {"model": model, "input": "hello simulator", **fields}
    return await send(simulator or Simulator(), post(json.dumps(body).encode(), path="/v1/embeddings"))


@pytest.mark.parametrize(
    ("input_", "count", "tokens"),
    [
        ("hello simulator", 1, 4),
        (["12345678", "1"], 2, 3),
        ([1, 2, 3], 1, 3),
        ([[1, 2, 3], [4]], 2, 4),
    ],
)
async def test_every_kind_of_input(input_, count, tokens):
    """A text, texts, tokens, lists of tokens: one vector each, as OpenAI's type; the input is billed, and no output."""
    simulator = Simulator()
    response = CreateEmbeddingResponse.model_validate_json((await _embed(simulator=simulator, input=input_)).body)

    assert not unknown_fields(response)
    assert [(item.index, len(item.embedding)) for item in response.data] == [(index, 8) for index in range(count)]
    assert response.usage.prompt_tokens == response.usage.total_tokens == tokens
    entry = simulator.books.entries[0]
    assert (entry.billed_input_tokens, entry.billed_output_tokens, entry.model) == (tokens, 0, "sim")


async def test_the_same_text_has_the_same_vector():
    """Vectors follow from the text alone; dimensions and base64 only change how much is told, and how."""
    plain, again, other, short = [
        json.loads((await _embed(**fields)).body)["data"][0]["embedding"]
        for fields in ({}, {}, {"input": "other"}, {"dimensions": 3})
    ]
    packed = json.loads((await _embed(encoding_format="base64")).body)["data"][0]["embedding"]

    assert plain == again != other
    assert plain[:3] == short
    assert isinstance(packed, str)


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"model": None}, "model"),
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["x", ""]}, "input"),
        ({"input": [[]]}, "input"),
        ({"input": ["x", 5]}, "input"),
        ({"input": [True]}, "input"),
        ({"input": ["x"] * 2049}, "input"),
        ({"encoding_format": "hex"}, "encoding_format"),
        ({"dimensions": 0}, "dimensions"),
        ({"dimensions": "8"}, "dimensions"),
    ],
)
async def test_a_bad_body_is_refused_as_openai_does(change, param):
    """A bad request gets 400 with OpenAI's error body that names the field, and nothing is billed."""
    simulator = Simulator()
    taken = await _embed(simulator=simulator, **change)

    assert (taken.status, json.loads(taken.body)["error"]["param"]) == (400, param)
    assert simulator.books.totals().billed_input_tokens == 0


@pytest.mark.parametrize(
    ("model", "status", "end"),
    [
        ("sim-error-429", 429, End.COMPLETED),
        ("sim-nonsense", 404, End.COMPLETED),
        ("sim-error-first", 200, End.COMPLETED),
        ("sim-delay-1s", 200, End.COMPLETED),
        ("sim-cut-length", 200, End.CLOSED),
        ("sim-cut-json-after-3", 200, End.COMPLETED),
        ("sim-close-after-head", 200, End.CLOSED),
        ("sim-reset-before-head", None, End.RESET),
        ("sim-html-200", 200, End.COMPLETED),
        ("sim-sse-for-json", 200, End.COMPLETED),
    ],
)
async def test_what_can_go_wrong(model, status, end, autojump_clock):
    """Errors, breaking off and wrong bytes are those of a JSON answer."""
    simulator = Simulator()
    await _embed(model, simulator=simulator)
    entry = simulator.books.entries[0]

    assert (entry.status, entry.end, entry.output_tokens) == (status, end, 0)


async def test_usage_may_be_missing_or_a_lie():
    """The usage is left out, or untrue; the books know better."""
    simulator = Simulator()
    assert "usage" not in json.loads((await _embed("sim-no-usage", simulator=simulator)).body)
    assert json.loads((await _embed("sim-usage-absurd")).body)["usage"]["total_tokens"] == 1_000_000_004
    assert simulator.books.entries[0].billed_input_tokens == 4


async def test_the_openai_client_reads_it():
    """The SDK asks for base64 by itself and gives the numbers that come as floats too."""
    simulator = Simulator(api_key="sk-right")
    async with listening(simulator) as run:
        with openai.OpenAI(base_url=simulator.base_url, api_key="sk-right", max_retries=0) as client:
            packed = await run(client.embeddings.create, model="sim", input=["a", "b"], dimensions=5)
            plain = await run(
                client.embeddings.create, model="sim", input=["a", "b"], dimensions=5, encoding_format="float"
            )
            assert [item.embedding for item in packed.data] == [item.embedding for item in plain.data]
            with pytest.raises(openai.RateLimitError):
                await run(client.embeddings.create, model="sim-error-429", input="x")
