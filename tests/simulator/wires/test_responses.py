import json

import openai
import pytest

from ainf.simulator import Simulator
from ainf.simulator.wires import responses
from tests.simulator.client import post, send
from tests.simulator.formats import ARGUMENTS, RESPONSES, ask, listening

TOOL = {"type": "function", "name": "look", "parameters": ARGUMENTS, "strict": False}
CALL = {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"}


@pytest.mark.parametrize(
    ("change", "param", "code"),
    [
        ({"model": None}, "model", None),
        ({"instructions": {"a": 1}}, "instructions", "invalid_type"),
        ({"instructions": ["x"]}, "instructions", "invalid_type"),
        ({"instructions": 5}, "instructions", "invalid_type"),
        ({"input": None}, "input", "missing_required_parameter"),
        ({"input": []}, "input", "missing_required_parameter"),
        ({"input": 5}, "input", "invalid_type"),
        ({"input": ["x"]}, "input[0]", "invalid_type"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input[0].role", "invalid_value"),
        ({"input": [{"role": "user"}]}, "input[0].content", "missing_required_parameter"),
        ({"input": [{"role": "user", "content": {}}]}, "input[0].content", "invalid_type"),
        ({"input": [{"type": 5}]}, "input[0].type", "invalid_value"),
        ({"input": [{**CALL, "name": None}]}, "input[0].name", "missing_required_parameter"),
        (
            {"input": [{"type": "function_call_output", "output": "x"}]},
            "input[0].call_id",
            "missing_required_parameter",
        ),
        ({"max_output_tokens": 0}, "max_output_tokens", "integer_below_min_value"),
        ({"stream": "yes"}, "stream", None),
        ({"tools": [{"type": "function"}]}, "tools[0].name", None),
        ({"tools": [5]}, "tools[0].name", None),
        ({"previous_response_id": "resp_unheard"}, "previous_response_id", "previous_response_not_found"),
    ],
)
async def test_a_bad_body_is_refused_as_openai_does(change, param, code):
    """A bad request gets 400 with OpenAI's error body that names the field, and nothing is billed."""
    simulator = Simulator()
    taken = await ask(RESPONSES, simulator=simulator, **change)
    error = json.loads(taken.body)["error"]

    assert (taken.status, error["param"], error["code"]) == (400, param, code)
    assert simulator.books.totals().billed_input_tokens == 0


async def test_wrong_instructions_are_told_in_openais_words():
    """The message says what was expected and what came."""
    taken = await ask(RESPONSES, instructions={"a": 1})
    message = "Invalid type for 'instructions': expected a string, but got an object instead."

    assert json.loads(taken.body)["error"]["message"] == message


@pytest.mark.parametrize(
    ("fields", "tokens"),
    [
        ({}, 4),
        ({"instructions": "12345678"}, 6),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": "12345"}]}]}, 2),
        ({"input": [{"type": "message", "role": "developer", "content": "1234"}, {"type": "reasoning"}]}, 1),
        ({"input": [CALL, {"type": "function_call_output", "call_id": "c", "output": "12345"}]}, 2),
    ],
)
async def test_input_is_counted_by_hand(fields, tokens):
    """Every text in instructions, messages and what tools gave counts, four bytes a token."""
    simulator = Simulator()
    await ask(RESPONSES, simulator=simulator, **fields)
    assert simulator.books.entries[0].billed_input_tokens == tokens


@pytest.mark.parametrize("stream", [True, False])
async def test_a_request_can_go_on_from_a_response_made_here(stream):
    """The id of a response made here is known and its tokens count as input; one not stored, or forgotten, is not."""
    simulator = Simulator()
    first = await ask(RESPONSES, simulator=simulator, stream=stream)
    made = (first.chunks[-1]["response"] if stream else json.loads(first.body))["id"]

    again = await ask(RESPONSES, simulator=simulator, previous_response_id=made, store=False, stream=False)
    assert simulator.books.entries[1].billed_input_tokens == 4 + 20 + 4
    assert json.loads(again.body)["previous_response_id"] == made
    unstored = json.loads(again.body)["id"]
    assert (await ask(RESPONSES, simulator=simulator, previous_response_id=unstored)).status == 400
    await send(simulator, post(b"", path="/sim/reset"))
    assert (await ask(RESPONSES, simulator=simulator, previous_response_id=made)).status == 400


async def test_only_so_many_responses_are_remembered(monkeypatch):
    """Over the bound the oldest is forgotten."""
    monkeypatch.setattr(responses, "_MAX_REMEMBERED", 2)
    simulator = Simulator()
    made = [json.loads((await ask(RESPONSES, stream=False, simulator=simulator)).body)["id"] for _ in range(3)]
    known = [(await ask(RESPONSES, previous_response_id=id_, store=False, simulator=simulator)).status for id_ in made]

    assert known == [400, 200, 200]


async def test_a_response_repeats_its_request():
    """What was asked for stands in the answer, defaults where nothing was asked."""
    asked = {"instructions": "be brief", "metadata": {"a": "b"}, "parallel_tool_calls": False, "truncation": "auto"}
    response = json.loads((await ask(RESPONSES, stream=False, **asked, max_output_tokens=50)).body)

    assert {name: response[name] for name in asked} == asked
    assert (response["max_output_tokens"], response["tool_choice"], response["tools"]) == (50, "auto", [])


async def test_calls_need_permission_and_end_with_their_result():
    """With tool_choice none, or the result of a call, text is said; tools of OpenAI's are never called."""
    result = {"type": "function_call_output", "call_id": "c", "output": "sun"}
    for fields in ({"tool_choice": "none"}, {"input": [CALL, result]}):
        taken = await ask(RESPONSES, "sim-tools", stream=False, **{"tools": [TOOL], **fields})
        assert json.loads(taken.body)["output"][0]["type"] == "message"
    taken = await ask(RESPONSES, "sim-tools", stream=False, tools=[{"type": "web_search"}, TOOL])
    assert json.loads(taken.body)["output"][0]["name"] == "look"


async def test_the_openai_client_reads_it():
    """The SDK's create, stream helper, tool round trip and errors work on loopback."""
    simulator = Simulator(api_key="sk-right")
    async with listening(simulator) as run:
        with openai.OpenAI(base_url=simulator.base_url, api_key="sk-right", max_retries=0) as client:
            made = await run(client.responses.create, model="sim", input="hello simulator")
            assert (len(made.output_text), made.usage.total_tokens) == (80, 24)
            streamed = await run(_streamed, client, model="sim-reasoning-3", input="x", previous_response_id=made.id)
            assert [item.type for item in streamed.output] == ["reasoning", "message"]
            assert len(streamed.output_text) == 80
            call = (await run(_streamed, client, model="sim-parallel-tools", input="x", tools=[TOOL])).output[1]
            assert list(json.loads(call.arguments)) == ["where"]
            given = {"type": "function_call_output", "call_id": call.call_id, "output": "sun"}
            turns = [{"role": "user", "content": "x"}, call.to_dict(), given]
            assert (await run(client.responses.create, model="sim-tools", input=turns, tools=[TOOL])).output_text
            with pytest.raises(openai.BadRequestError, match="instructions"):
                await run(client.responses.create, model="sim", input="x", instructions=["no"])


def _streamed(client, **asked):
    with client.responses.stream(**asked) as stream:
        return stream.get_final_response()
