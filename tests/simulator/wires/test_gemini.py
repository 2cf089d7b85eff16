import json

import pytest
from google import genai
from google.genai import errors, types

from ainf.simulator import Simulator
from tests.simulator.client import post, send
from tests.simulator.formats import ARGUMENTS, GEMINI, ask, listening

USER = {"role": "user", "parts": [{"text": "hello simulator"}]}
TOOL = {"functionDeclarations": [{"name": "look", "parametersJsonSchema": ARGUMENTS}]}


def _post(action, body, model="sim"):
    return post(json.dumps(body).encode(), path=f"/v1beta/models/{model}:{action}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"contents": None}, "contents is not specified"),
        ({"contents": {}}, "'contents' (expected list)"),
        ({"contents": [5]}, "'contents[0]' (expected object)"),
        ({"contents": [{"role": "assistant", "parts": [{}]}]}, "valid role"),
        ({"contents": [{"parts": []}]}, "must not be empty"),
        ({"generationConfig": 5}, "'generationConfig'"),
        ({"generationConfig": {"maxOutputTokens": 0}}, "must be positive"),
        ({"generationConfig": {"maxOutputTokens": "5"}}, "'maxOutputTokens'"),
        ({"tools": [{"functionDeclarations": [{}]}]}, "tools[0]"),
        ({"systemInstruction": "x"}, "'systemInstruction'"),
    ],
)
async def test_a_bad_body_is_refused_as_google_does(change, message):
    """A bad request gets 400 INVALID_ARGUMENT with a message that names the field, and nothing is billed."""
    simulator = Simulator()
    taken = await ask(GEMINI, simulator=simulator, **change)
    error = json.loads(taken.body)["error"]

    assert (taken.status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert message in error["message"]
    assert simulator.books.totals().billed_input_tokens == 0


async def test_a_stream_needs_alt_sse():
    """Without alt=sse the simulator does not stream, and says so."""
    taken = await send(Simulator(), _post("streamGenerateContent", {"contents": [USER]}))
    assert (taken.status, "alt=sse" in json.loads(taken.body)["error"]["message"]) == (400, True)


async def test_the_model_stands_in_the_path():
    """A name with plus signs, or escaped, is the model; an unknown one is 404 NOT_FOUND."""
    simulator = Simulator()
    for model in ("sim-tools+tokens-3", "sim-tools%2Btokens-3", "gemini-3"):
        await ask(GEMINI, model, simulator=simulator)

    assert [entry.model for entry in simulator.books.entries] == [
        "sim-tools+tokens-3",
        "sim-tools+tokens-3",
        "gemini-3",
    ]
    assert [entry.status for entry in simulator.books.entries] == [200, 200, 404]
    assert [entry.stream for entry in simulator.books.entries] == [True] * 3


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({}, 4),
        ({"systemInstruction": {"parts": [{"text": "12345678"}]}}, 6),
        ({"contents": [USER, {"role": "user", "parts": [{"text": "1"}, {"inlineData": {}}]}]}, 4),
        ({"contents": [{"parts": [{"functionResponse": {"response": {"result": "12345", "n": 5}}}]}]}, 2),
    ],
)
async def test_input_is_counted_by_hand(fields, tokens):
    """Every text in the system's and other contents and in functions' answers counts; counting bills nothing."""
    simulator = Simulator()
    body = {"contents": [USER], **fields}
    plain = await send(simulator, _post("countTokens", body))
    inner = await send(simulator, _post("countTokens", {"generateContentRequest": body}))
    await ask(GEMINI, simulator=simulator, **fields)

    assert json.loads(plain.body)["totalTokens"] == json.loads(inner.body)["totalTokens"] == tokens
    assert [entry.billed_input_tokens for entry in simulator.books.entries] == [0, 0, tokens]


async def test_calls_need_permission_and_end_with_their_result():
    """With mode NONE, or the result of a call, text is said; tools of Google's are never called."""
    result = {"role": "user", "parts": [{"functionResponse": {"name": "look", "response": {}}}]}
    none = {"functionCallingConfig": {"mode": "NONE"}}
    for fields in ({"toolConfig": none}, {"contents": [USER, result]}):
        taken = await ask(GEMINI, "sim-tools", stream=False, tools=[TOOL], **fields)
        assert b"functionCall" not in taken.body
    taken = await ask(GEMINI, "sim-tools", stream=False, tools=[{"googleSearch": {}}, TOOL])
    assert json.loads(taken.body)["candidates"][0]["content"]["parts"][0]["functionCall"]["name"] == "look"


async def test_embeddings_bill_their_input():
    """One or several texts get vectors of the size asked for, the same text the same; input is billed, no output."""
    simulator = Simulator()
    content = {"parts": [{"text": "12345678"}]}
    asked = [
        {"content": content},
        {"content": content, "outputDimensionality": 3},
        {"content": {"parts": [{"text": "x"}]}},
    ]
    batch = await send(simulator, _post("batchEmbedContents", {"requests": asked}))
    one = await send(simulator, _post("embedContent", asked[0]))

    vectors = [embedding["values"] for embedding in json.loads(batch.body)["embeddings"]]
    assert [len(numbers) for numbers in vectors] == [8, 3, 8]
    assert json.loads(one.body)["embedding"]["values"] == vectors[0] != vectors[2]
    assert vectors[0][:3] == vectors[1]
    assert [entry.billed_input_tokens for entry in simulator.books.entries] == [5, 2]
    assert simulator.books.totals().billed_output_tokens == 0


@pytest.mark.parametrize(
    "one", [{}, {"content": 5}, {"content": {"parts": [{"text": "x"}]}, "outputDimensionality": 0}]
)
async def test_bad_embeddings_are_refused(one):
    """No content, and no dimensions, are refused."""
    assert (await send(Simulator(), _post("embedContent", one))).status == 400


async def test_the_genai_client_reads_it():
    """The SDK's generate, stream, tool round trip, count, embeddings and errors work on loopback."""
    simulator = Simulator(api_key="sk-right")
    async with listening(simulator) as run:
        options = types.HttpOptions(base_url=simulator.origin)
        with genai.Client(api_key="sk-right", http_options=options) as client:
            made = await run(client.models.generate_content, model="sim", contents="hello simulator")
            assert (len(made.text), made.usage_metadata.total_token_count) == (80, 24)
            chunks = await run(_streamed, client, model="sim-reasoning-3", contents="x")
            assert len("".join(chunk.text or "" for chunk in chunks)) == 80
            config = types.GenerateContentConfig(
                tools=[types.Tool.model_validate(TOOL)],
                automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            )
            *_, called, _ = await run(_streamed, client, model="sim-reasoning-2-tools", contents="x", config=config)
            call = called.candidates[0].content
            assert (list(call.parts[0].function_call.args), bool(call.parts[0].thought_signature)) == (["where"], True)
            given = types.Content(
                role="user", parts=[types.Part.from_function_response(name="look", response={"result": "sun"})]
            )
            turns = [types.Content(role="user", parts=[types.Part(text="x")]), call, given]
            assert (await run(client.models.generate_content, model="sim-tools", contents=turns, config=config)).text
            counted = await run(client.models.count_tokens, model="sim", contents="hello simulator")
            embedded = await run(client.models.embed_content, model="sim", contents=["a", "b"])
            assert (counted.total_tokens, [len(one.values) for one in embedded.embeddings]) == (4, [8, 8])
            with pytest.raises(errors.ClientError, match="RESOURCE_EXHAUSTED"):
                await run(client.models.generate_content, model="sim-error-429", contents="x")
            with pytest.raises(errors.APIError, match="UNAVAILABLE"):
                await run(_streamed, client, model="sim-error-after-3", contents="x")


def _streamed(client, **asked):
    return list(client.models.generate_content_stream(**asked))
