"""``usage.cost`` in what ends an answer: where it stands, with which digits, and that nothing else changes."""

import json
from decimal import Decimal

import pytest

from ainf.formats.cost import tell_cost

CHUNK = b'data: {"id":"a","choices":[],"usage":{"prompt_tokens": 5,"completion_tokens":3}}\n\n'
DONE = b"data: [DONE]\n\n"


def frame(document, name=None):
    head = b"" if name is None else b"event: " + name + b"\n"
    return head + b"data: " + json.dumps(document).encode() + b"\n\n"


def loads(payload):
    return json.loads(payload, parse_float=Decimal)


@pytest.mark.parametrize(
    ("nusd", "number"),
    [
        (0, b"0"),
        (1, b"0.000000001"),
        (123_456_789, b"0.123456789"),
        (1_500_000_000, b"1.5"),
        (3_000_000_000, b"3"),
        (9_007_199_254_740_993_000, b"9007199254.740993"),
    ],
)
def test_the_number_has_all_its_digits(nusd, number):
    """It is the amount, exactly, where a float would have lost a nano-dollar."""
    told = tell_cost(b'{"usage":{}}', nusd, is_stream=False)
    assert told == b'{"usage":{"cost":' + number + b"}}"
    assert loads(told)["usage"]["cost"] * 10**9 == nusd


@pytest.mark.parametrize(
    "document",
    [
        b'{"id":"a","choices":[{"message":{"content":"\\u00e9 1.0 1e2"}}],"usage":{"prompt_tokens":5},"x":1.50}',
        b'{"type":"message","usage":{"input_tokens":5,"output_tokens":2},"content":[]}',
        b'{"data":[{"embedding":[0.10,2e-5]}],"usage":{"prompt_tokens":1}}',
        b'{"a":[{"usage":{"prompt_tokens":5}}],"usage":{"prompt_tokens":5}}',
    ],
)
def test_a_whole_answer_keeps_all_other_bytes(document):
    """Only the answer's own usage has one member more; texts and numbers are written as they came."""
    told = tell_cost(document, 7, is_stream=False)
    assert told != document
    assert told.replace(b',"cost":0.000000007', b"") == document
    assert loads(told)["usage"]["cost"] == Decimal("0.000000007")


def test_a_cost_of_the_providers_own_gives_way():
    """What the client is charged is said, once."""
    told = tell_cost(b'{"usage":{"cost":0.25,"is_byok":false}}', 7, is_stream=False)
    assert told == b'{"usage":{"cost":0.000000007,"is_byok":false}}'


@pytest.mark.parametrize(
    "body", [b'{"id":"a"}', b'{"usage":null}', b'{"usage":[]}', b'{"usage":{"a":NaN}}', b"{", b"", b"[1]", b"\xff"]
)
def test_what_tells_no_usage_is_left_alone(body):
    """Whatever it is: an answer without usage, none at all, or bytes that nobody can read."""
    assert tell_cost(body, 7, is_stream=False) == body


@pytest.mark.parametrize(
    ("group", "end"),
    [
        (CHUNK, DONE),
        (
            frame({"type": "message_delta", "usage": {"output_tokens": 4}}, b"message_delta"),
            frame({"type": "message_stop"}, b"message_stop"),
        ),
        (frame({"type": "response.completed", "response": {"usage": {"input_tokens": 1}}}, b"response.completed"), b""),
        (CHUNK.replace(b"\n", b"\r\n"), DONE),
    ],
)
@pytest.mark.parametrize("before", [b"", b": remark\n\n", b'data: {"choices":[{"finish_reason":"stop"}]}\n\n'])
def test_the_event_that_tells_usage_in_a_stream(group, end, before):
    """It tells the cost too, under its own name; what stands around it keeps its bytes."""
    told = tell_cost(before + group + end, 42, is_stream=True)
    assert told.startswith(before)
    assert told.endswith(end)
    event = told[len(before) : len(told) - len(end)]
    assert event.partition(b"data: ")[0] == group.partition(b"data: ")[0]
    (was,), (now,) = (
        [loads(line[6:]) for line in lines.splitlines() if line.startswith(b"data: {")] for lines in (group, event)
    )
    usage = now.get("usage") or now["response"]["usage"]
    assert usage.pop("cost") == Decimal("0.000000042")
    assert now == was


def test_usage_that_is_told_twice():
    """Only the last tells the cost: who adds costs up must not be told twice."""
    told = tell_cost(CHUNK + CHUNK + DONE, 42, is_stream=True)
    assert told.startswith(CHUNK)
    assert told.count(b'"cost"') == 1


def test_an_event_over_several_lines():
    """A payload that came in pieces is put together."""
    told = tell_cost(b'data: {"usage":\ndata:  {"a": 1,\ndata: "b": 2}}\n\n', 42, is_stream=True)
    payload = b"".join(line.removeprefix(b"data: ") for line in told.splitlines())
    assert loads(payload) == {"usage": {"a": 1, "b": 2, "cost": Decimal("0.000000042")}}


def test_a_stream_that_tells_no_usage_is_left_alone():
    """An error, an end without usage, or nothing."""
    for group in (b"", DONE, frame({"error": {"code": "x"}}), b"data: not json\n\n" + DONE):
        assert tell_cost(group, 42, is_stream=True) == group
