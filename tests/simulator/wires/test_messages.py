import json

import anthropic
import pytest

from ainf.simulator import Simulator
from tests.simulator.client import post, send
from tests.simulator.formats import ARGUMENTS, MESSAGES, ask, listening

VERSION = ["anthropic-version: 2023-06-01"]
USER = {"role": "user", "content": "hello simulator"}
SYSTEM = {"role": "system", "content": "from here on: briefly"}
TOOL = {"name": "look", "description": "Looks.", "input_schema": ARGUMENTS}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": None}, "model: Field required"),
        ({"model": 5}, "model: Input should be a valid string"),
        ({"max_tokens": None}, "max_tokens: Field required"),
        ({"max_tokens": 0}, "max_tokens: Input should be greater than or equal to 1"),
        ({"max_tokens": "9"}, "max_tokens: Input should be a valid integer"),
        ({"thinking": {"type": "enabled", "budget_tokens": 2000}}, "`max_tokens` must be greater"),
        ({"stream": 1}, "stream: Input should be a valid boolean"),
        ({"messages": []}, "messages: at least one message is required"),
        ({"messages": {}}, "messages: Input should be a valid list"),
        ({"messages": [5]}, "messages.0: Input should be an object"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "system", "content": "x"}]}, "messages.0.role"),
        ({"messages": [USER, SYSTEM, SYSTEM]}, "messages.2.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"tools": [{"name": "x"}]}, "tools.0"),
        ({"tools": [{"type": "custom", "name": "x"}]}, "tools.0"),
    ],
)
async def test_a_bad_body_is_refused_as_anthropic_does(change, message):
    """A bad request gets 400 with Anthropic's error body that names the field, and nothing is billed."""
    simulator = Simulator()
    taken = await ask(MESSAGES, simulator=simulator, **{"max_tokens": 1000, **change})
    body = json.loads(taken.body)

    assert (taken.status, body["type"], body["error"]["type"]) == (400, "error", "invalid_request_error")
    assert message in body["error"]["message"]
    assert taken.headers["request-id"] == "req_sim_00000001"
    assert simulator.books.totals().billed_input_tokens == 0


async def test_the_version_must_be_told():
    """Without the header anthropic-version nothing is answered."""
    taken = await send(Simulator(), post(json.dumps({"model": "sim"}).encode(), path="/v1/messages"))

    assert taken.status == 400
    assert json.loads(taken.body)["error"]["message"] == "anthropic-version: header is required"


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({}, 4),
        ({"system": "12345678"}, 6),
        ({"system": [{"type": "text", "text": "1234"}]}, 5),
        ({"messages": [USER, {"role": "user", "content": [{"type": "text", "text": "1"}, {"type": "image"}]}]}, 4),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "content": "12345"}]}]}, 2),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "content": [{"text": "1"}]}]}]}, 1),
    ],
)
async def test_input_is_counted_by_hand(fields, tokens):
    """Every text in system, messages and tool results counts, four bytes a token; counting bills nothing."""
    simulator = Simulator()
    body = json.dumps({"model": "sim", "messages": [USER], **fields}).encode()
    taken = await send(simulator, post(body, path="/v1/messages/count_tokens", headers=VERSION))
    await ask(MESSAGES, simulator=simulator, **fields)

    counted, billed = simulator.books.entries
    assert json.loads(taken.body) == {"input_tokens": tokens}
    assert (counted.input_tokens, counted.billed_input_tokens, counted.billed_output_tokens) == (tokens, 0, 0)
    assert (counted.model, billed.billed_input_tokens) == ("sim", tokens)


async def test_calls_need_permission_and_end_with_their_result():
    """With tool_choice none, or the result of a call, text is said; tools of the server are never called."""
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "sun"}]}
    brought = ([USER, result], [USER, result, SYSTEM])
    for fields in ({"tool_choice": {"type": "none"}}, *({"messages": messages} for messages in brought)):
        taken = await ask(MESSAGES, "sim-tools", stream=False, **{"tools": [TOOL], **fields})
        assert json.loads(taken.body)["stop_reason"] == "end_turn"
    tools = [{"type": "web_search_20250305", "name": "web_search"}, TOOL]
    taken = await ask(MESSAGES, "sim-tools", stream=False, tools=tools)
    assert json.loads(taken.body)["content"][0]["name"] == "look"


async def test_a_count_can_fail_and_be_missing():
    """Errors and no-usage hold for a count too."""
    for model, status, body in [("sim-error-429", 429, None), ("sim-no-usage", 200, {}), ("sim-nonsense", 404, None)]:
        request = json.dumps({"model": model, "messages": [USER]}).encode()
        taken = await send(Simulator(), post(request, path="/v1/messages/count_tokens", headers=VERSION))
        assert taken.status == status
        assert body is None or json.loads(taken.body) == body


async def test_the_anthropic_client_reads_it():
    """The SDK's create, stream helper, count, tool round trip and errors work on loopback."""
    simulator = Simulator(api_key="sk-right")
    async with listening(simulator) as run:
        with anthropic.Anthropic(base_url=simulator.origin, api_key="sk-right", max_retries=0) as client:
            asked = {"max_tokens": 1000, "messages": [USER]}
            assert (await run(client.messages.create, model="sim", **asked)).usage.output_tokens == 20
            message = await run(_streamed, client, model="sim-reasoning-3-pings", **asked)
            assert [block.type for block in message.content] == ["thinking", "text"]
            assert (message.content[0].signature != "", len(message.content[1].text)) == (True, 80)
            assert message.usage.output_tokens == 23
            call = (await run(_streamed, client, model="sim-tools", tools=[TOOL], **asked)).content[0]
            result = {"type": "tool_result", "tool_use_id": call.id, "content": "sun"}
            turns = [USER, {"role": "assistant", "content": [call.to_dict()]}, {"role": "user", "content": [result]}]
            again = {"max_tokens": 1000, "tools": [TOOL], "messages": turns}
            assert list(call.input) == ["where"]
            assert (await run(client.messages.create, model="sim-tools", **again)).stop_reason == "end_turn"
            counted = await run(client.messages.count_tokens, model="sim", messages=[USER])
            assert counted.input_tokens == 4
            with pytest.raises(anthropic.RateLimitError):
                await run(client.messages.create, model="sim-error-429", **asked)
            with pytest.raises(anthropic.APIStatusError, match="overloaded"):
                await run(_streamed, client, model="sim-error-after-3", **asked)


def _streamed(client, **asked):
    with client.messages.stream(**asked) as stream:
        return stream.get_final_message()
