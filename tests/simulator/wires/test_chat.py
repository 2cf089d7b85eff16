import json

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from ainf.simulator import Simulator
from tests.simulator.client import exchange, post, send

WELL_FORMED = [
    "sim",
    "sim-tokens-0",
    "sim-tokens-1",
    "sim-per-frame-7",
    "sim-tools",
    "sim-tools-tokens-1",
    "sim-parallel-tools",
    "sim-reasoning-5",
    "sim-hidden-reasoning-5",
    "sim-refusal",
    "sim-finish-content_filter",
    "sim-cached-2",
    "sim-pace-20ms",
    "sim-delay-1s",
    "sim-burst",
    "sim-drip",
    "sim-usage-always",
    "sim-usage-continuous",
    "sim-usage-in-finish",
    "sim-usage-twice",
    "sim-no-usage",
    "sim-comments",
    "sim-finish-with-content",
    "sim-multi-data",
    "sim-no-done",
    "bench-json",
    "bench-burst",
    "bench-paced",
]
TOOLS = [
    {"type": "function", "function": {"name": "look", "parameters": {"properties": {"where": {"type": "string"}}}}},
    {"type": "function", "function": {"name": "wait", "parameters": {}}},
]


@pytest.mark.parametrize("include_usage", [False, True])
@pytest.mark.parametrize("model", WELL_FORMED)
async def test_every_frame_is_a_chunk_of_the_openai_package(model, include_usage, autojump_clock):
    """Each frame of a well-formed stream validates, holds no unknown key, and the stream ends with a finish reason."""
    taken = await exchange(Simulator(), model, stream_options={"include_usage": include_usage}, tools=TOOLS)

    chunks = [ChatCompletionChunk.model_validate(chunk, strict=True) for chunk in taken.chunks]

    assert taken.status == 200
    assert taken.whole
    assert not any(chunk.model_extra for chunk in chunks)
    assert sum(choice.finish_reason is not None for chunk in chunks for choice in chunk.choices) == 1
    assert (taken.payloads[-1] == b"[DONE]") == (model != "sim-no-done")
    assert len({chunk.id for chunk in chunks}) == 1


@pytest.mark.parametrize("model", WELL_FORMED)
async def test_every_document_is_a_completion_of_the_openai_package(model, autojump_clock):
    """Each JSON answer of a well-formed behaviour validates and holds no unknown key."""
    taken = await exchange(Simulator(), model, stream=False, tools=TOOLS)

    completion = ChatCompletion.model_validate(json.loads(taken.body), strict=True)

    assert not completion.model_extra
    assert completion.choices[0].finish_reason
    assert (completion.usage is None) == (model == "sim-no-usage")


async def test_a_stream_can_be_counted_by_hand():
    """Fifteen bytes in are four tokens, twenty tokens out are eighty bytes, a token a frame."""
    taken = await exchange(Simulator(), "sim-cached-3+reasoning-2", stream_options={"include_usage": True})

    usage = taken.chunks[-1]["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (4, 22, 26)
    assert usage["prompt_tokens_details"]["cached_tokens"] == 3
    assert usage["completion_tokens_details"]["reasoning_tokens"] == 2
    assert len(taken.text) == 80
    assert len(taken.payloads) == 1 + 2 + 20 + 3


async def test_stream_and_document_say_the_same():
    """The same request number and seed gives the same text in both modes."""
    stream = await exchange(Simulator(seed=5), stream=True)
    document = await exchange(Simulator(seed=5), stream=False)

    assert json.loads(document.body)["choices"][0]["message"]["content"] == stream.text


@pytest.mark.parametrize("stream", [False, True])
async def test_tokens_written_to_a_cache_are_told_where_there_are_any(stream):
    """What was written for however long is one number, capped by the input that no cache gave; else there is none."""
    for model, written in [("sim-cached-1-cache-write-1-cache-write-1h-9", 3), ("sim-cached-1", None)]:
        options = {"stream_options": {"include_usage": True}} if stream else {}
        taken = await exchange(Simulator(), model, stream=stream, **options)
        usage = (taken.chunks[-1] if stream else json.loads(taken.body))["usage"]
        assert usage["prompt_tokens_details"].get("cache_write_tokens") == written


@pytest.mark.parametrize(
    ("model", "count"),
    [
        ("sim-reasoning-2-signature", 1),
        ("sim-hidden-reasoning-2-signature", 1),
        ("sim-signature", 0),
        ("sim-reasoning-2", 0),
    ],
)
async def test_reasoning_can_be_signed(model, count):
    """With signature reasoning is followed by its opaque data once, in both modes; without reasoning there is none."""
    stream = await exchange(Simulator(), model)
    document = await exchange(Simulator(), model, stream=False)

    deltas = [chunk["choices"][0]["delta"] for chunk in stream.chunks]
    signed = [delta["reasoning_details"] for delta in deltas if "reasoning_details" in delta]
    assert len(signed) == count
    assert taken_message(document).get("reasoning_details") == (signed[0] if signed else None)


@pytest.mark.parametrize("stream", [False, True])
async def test_tools_fill_the_first_argument_of_the_requests_tools(stream):
    """Parallel calls name the first two tools, and their split arguments join to JSON."""
    taken = await exchange(Simulator(), "sim-parallel-tools", stream=stream, tools=TOOLS)

    calls = {}
    if stream:
        for chunk in taken.chunks:
            for piece in chunk["choices"][0]["delta"].get("tool_calls", ()):
                call = calls.setdefault(piece["index"], {"arguments": ""})
                call["name"] = piece["function"].get("name") or call["name"]
                call["arguments"] += piece["function"]["arguments"]
    else:
        calls = {i: call["function"] for i, call in enumerate(taken_message(taken)["tool_calls"])}
    assert [calls[0]["name"], calls[1]["name"]] == ["look", "wait"]
    assert list(json.loads(calls[0]["arguments"])) == ["where"]
    assert list(json.loads(calls[1]["arguments"])) == ["text"]


async def test_the_result_of_a_call_is_answered_with_text():
    """After a tool message the model speaks, so that a round trip ends."""
    messages = [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {}}]},
        {"role": "tool", "tool_call_id": "1", "content": "sun"},
    ]
    taken = await exchange(Simulator(), "sim-tools", stream=False, tools=TOOLS, messages=messages)

    assert json.loads(taken.body)["choices"][0]["finish_reason"] == "stop"
    assert taken_message(taken)["content"]


@pytest.mark.parametrize(
    "said",
    [{"refusal": "No."}, {"function_call": {"name": "look", "arguments": "{}"}}, {"audio": {"id": "a"}}],
)
async def test_an_assistant_may_have_spoken_without_content(said):
    """What a model answered without content is taken back as it was answered."""
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": None, **said}]
    taken = await exchange(Simulator(), "sim", stream=False, messages=messages)

    assert taken_message(taken)["content"]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize("stream", [False, True])
async def test_the_limit_is_honoured(name, stream):
    """Seven tokens asked for are seven said, and the finish reason is length."""
    simulator = Simulator()
    taken = await exchange(simulator, "sim", stream=stream, **{name: 7})

    text = taken.text if stream else taken_message(taken)["content"]
    assert len(text) == 28
    assert b'"finish_reason":"length"' in taken.body
    assert simulator.books.entries[0].billed_output_tokens == 7


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        ("negative", -21),
        ("float", 20.5),
        ("string", "20"),
        ("absurd", 1_000_000_020),
        ("null", None),
        ("bool", True),
        ("list", [20]),
        ("zero", 0),
        ("huge", 10**30),
    ],
)
async def test_usage_can_lie(lie, told):
    """The usage holds the lie; the books hold the truth."""
    simulator = Simulator()
    taken = await exchange(simulator, f"sim-usage-{lie}", stream_options={"include_usage": True})

    assert taken.chunks[-1]["usage"]["completion_tokens"] == told
    assert simulator.books.entries[0].billed_output_tokens == 20


BAD = [
    (b"", None),
    (b"[]", None),
    (b"{", None),
    (b"\xff", None),
    (b"[" * 100_000, None),
    (b'{"messages": []}', "model"),
    (b'{"model": 5}', "model"),
    (b'{"model": "sim"}', "messages"),
    (b'{"model": "sim", "messages": []}', "messages"),
    (b'{"model": "sim", "messages": {}}', "messages"),
    (b'{"model": "sim", "messages": [7]}', "messages[0].role"),
    (b'{"model": "sim", "messages": [{"role": [], "content": "x"}]}', "messages[0].role"),
    (b'{"model": "sim", "messages": [{"role": "user"}]}', "messages[0].content"),
    (b'{"model": "sim", "messages": [{"role": "tool", "content": "x"}]}', "messages[0].tool_call_id"),
    (b'{"model": "sim", "stream": 1, "messages": [{"role": "user", "content": "x"}]}', "stream"),
    (b'{"model": "sim", "max_tokens": 0, "messages": [{"role": "user", "content": "x"}]}', "max_tokens"),
    (b'{"model": "sim", "max_tokens": true, "messages": [{"role": "user", "content": "x"}]}', "max_tokens"),
    (b'{"model": "sim", "n": 2, "messages": [{"role": "user", "content": "x"}]}', "n"),
    (b'{"model": "sim", "tools": [{}], "messages": [{"role": "user", "content": "x"}]}', "tools[0]"),
    (
        b'{"model": "sim", "stream_options": {"include_usage": true}, "messages": [{"role": "user", "content": "x"}]}',
        "stream_options",
    ),
]


@pytest.mark.parametrize(("body", "param"), BAD)
async def test_a_bad_body_is_refused_as_a_provider_does(body, param):
    """A bad request gets 400 with OpenAI's error body that names the field, and nothing is billed."""
    simulator = Simulator()
    taken = await send(simulator, post(body))

    assert taken.status == 400
    assert json.loads(taken.body)["error"]["param"] == param
    assert simulator.books.totals().billed_input_tokens == 0


def taken_message(taken):
    return json.loads(taken.body)["choices"][0]["message"]
