"""Request bodies: what the schema takes, the protocol takes, and what it does not, the protocol refuses."""

import json
from enum import Enum
from typing import Any

import pytest

from ainf.http.openapi.document import document
from ainf.inference.errors import DownstreamError
from ainf.protocols.registry import ENDPOINTS
from ainf.routing.hint import parse_hint
from tests.gateway.described import described

DOCUMENT = document("http://gateway.test")
DESCRIBED = described()
BODIES = DOCUMENT["components"]["requestBodies"]

ASK = [{"role": "user", "content": "x"}]
LEAST: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"model": "m", "messages": ASK},
    "/v1/messages": {"model": "m", "messages": ASK, "max_tokens": 5},
    "/v1/messages/count_tokens": {"model": "m", "messages": ASK},
    "/v1/responses": {"model": "m", "input": "x"},
    "/v1/embeddings": {"model": "m", "input": "x"},
}
"""The least that a path takes."""
CHAT, MESSAGES, COUNT, RESPONSES, EMBEDDINGS = LEAST
GENERATE = (CHAT, MESSAGES, RESPONSES)


class Missing(Enum):
    """The value of a field that is not there."""

    FIELD = "missing"


MISSING = Missing.FIELD

GOOD = [
    *[(path, {"stream": value}) for path in GENERATE for value in (True, False, None)],
    *[(path, {"metadata": {"a": ["b"]}, "vendor_field": [1]}) for path in GENERATE],
    *[(path, {"model": "x" * 256}) for path in LEAST],
    (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}, "y"]}]}),
    (CHAT, {"messages": [{"role": "assistant", "content": None}]}),
    (CHAT, {"n": 1, "max_tokens": 1, "tool_choice": "auto", "functions": [{}]}),
    (CHAT, {"n": None, "max_tokens": (1 << 31) - 1, "tool_choice": {}, "tools": None}),
    (CHAT, {"stream_options": {"include_usage": True}, "response_format": {"type": "json_object"}}),
    (MESSAGES, {"system": "x", "thinking": {"type": "enabled", "budget_tokens": 4}, "stop_sequences": ["x"]}),
    (MESSAGES, {"system": [{"type": "text", "text": "x"}], "tool_choice": {"type": "auto"}}),
    (MESSAGES, {"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}]}]}),
    (COUNT, {"max_tokens": 5, "stream": False}),
    (RESPONSES, {"input": MISSING}),
    (RESPONSES, {"input": ASK, "instructions": "x", "max_output_tokens": 1, "previous_response_id": "resp_1"}),
    *[(EMBEDDINGS, {"input": value}) for value in ("x", ["x", "y"], [1, 2], [[1], [2, 3]], ["x"] * 2048)],
    (EMBEDDINGS, {"encoding_format": "base64", "dimensions": 1, "stream": False}),
]
BAD = [
    *[(path, {"model": value}) for path in LEAST for value in (MISSING, None, 7, "", "x" * 257)],
    *[(path, {"stream": value}) for path in LEAST for value in ("true", 1)],
    *[(path, {"stream": True}) for path in (COUNT, EMBEDDINGS)],
    *[(path, {"messages": value}) for path in (CHAT, MESSAGES, COUNT) for value in (MISSING, None, [], "x", ["x"])],
    *[(path, {"tools": value}) for path in (*GENERATE, COUNT) for value in ({}, "x", [7])],
    *[(path, {"metadata": value}) for path in GENERATE for value in ([], "x")],
    *[(path, {"user": value}) for path in (CHAT, RESPONSES, EMBEDDINGS) for value in (7, "a\0b")],
    *[
        (path, {name: value})
        for path, name in (
            (CHAT, "max_tokens"),
            (CHAT, "max_completion_tokens"),
            (MESSAGES, "max_tokens"),
            (COUNT, "max_tokens"),
            (RESPONSES, "max_output_tokens"),
        )
        for value in (0, -1, 1 << 31, "5", 1.5)
    ],
    *[(CHAT, {"n": value}) for value in (0, 2, "1")],
    *[(CHAT, {"messages": [{"role": "user", "content": value}]}) for value in (7, {}, [7])],
    (CHAT, {"stream_options": []}),
    (CHAT, {"stream_options": {"include_usage": "yes"}}),
    (CHAT, {"tool_choice": 7}),
    (CHAT, {"response_format": "json"}),
    (CHAT, {"functions": {}}),
    (MESSAGES, {"max_tokens": MISSING}),
    (MESSAGES, {"max_tokens": None}),
    *[(path, {"messages": [value]}) for path in (MESSAGES, COUNT) for value in ({"role": "user"}, {"content": "x"})],
    *[(MESSAGES, {"messages": [{"role": "user", "content": value}]}) for value in (None, 7, ["x"])],
    *[(MESSAGES, {"system": value}) for value in (7, {}, ["x"])],
    (MESSAGES, {"tool_choice": "auto"}),
    *[(MESSAGES, {"thinking": value}) for value in ("on", {"budget_tokens": 0}, {"budget_tokens": "4"})],
    *[(MESSAGES, {"stop_sequences": value}) for value in ("x", [7])],
    *[(RESPONSES, {"previous_response_id": value}) for value in (7, "a\0b")],
    *[
        (EMBEDDINGS, {"input": value})
        for value in (MISSING, None, "", [], 7, {}, [7, "x"], ["x", 7], [[1], "x"], [["x"]], [None], ["x"] * 2049)
    ],
    *[(EMBEDDINGS, {"encoding_format": value}) for value in ("int8", 7)],
    *[(EMBEDDINGS, {"dimensions": value}) for value in (0, "5")],
]


def asked(path: str, fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (LEAST[path] | fields).items() if value is not MISSING}


def faults(path: str, body: object) -> list[str]:
    (reference,) = DOCUMENT["paths"][path]["post"]["requestBody"].values()
    return DESCRIBED.faults(f"{reference}/content/application~1json/schema", body)


def refusal(path: str, body: dict[str, Any]) -> str | None:
    """The code that the protocol of a path refuses a body with."""
    data = json.dumps(body)
    try:
        ENDPOINTS[path].parse(json.loads(data), path=path, body_bytes=len(data), headers={})
    except DownstreamError as error:
        return error.code
    return None


@pytest.mark.parametrize(("path", "fields"), GOOD, ids=str)
def test_what_both_take(path, fields):
    """Fields that the gateway reads, as they may be; and others, which are the vendor's."""
    body = asked(path, fields)
    assert (faults(path, body), refusal(path, body)) == ([], None)


@pytest.mark.parametrize(("path", "fields"), BAD, ids=lambda each: str(each)[:60])
def test_what_both_refuse(path, fields):
    """A field that is missing, of a wrong type, or outside its range."""
    body = asked(path, fields)
    assert faults(path, body) != []
    code = refusal(path, body)
    assert code in {"missing_field", "invalid_type", "invalid_value", "invalid_unicode", "unsupported_parameter",
                    "model_not_found"}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "title"),
    [(name, title) for name, body in BODIES.items() for title in body["content"]["application/json"]["examples"]],
)
def test_examples_are_examples(name, title):
    """Each fits its own schema, and the protocol takes it."""
    example = BODIES[name]["content"]["application/json"]["examples"][title]["value"]
    assert DESCRIBED.faults(f"#/components/schemas/{name}", example) == []
    path = next(path for path in ENDPOINTS if DOCUMENT["paths"][path]["post"]["requestBody"]["$ref"].endswith(name))
    assert refusal(path, example) is None


HINTS = {
    "good": [
        None, {}, {"min_quality": 0}, {"min_quality": 1}, {"min_quality": 0.725}, {"min_quality": "good"},
        {"min_quality": "frontier"}, {"max_cost": "0.02"}, {"max_cost": 0.02}, {"max_cost": 0}, {"max_cost": None},
        {"task_type": "code"}, {"routing_preference": "quality"}, {"routing_preference": "fastest"},
    ],
    "bad": [
        "cheap", 7, [], {"min_quality": -0.1}, {"min_quality": 1.1}, {"min_quality": "best"}, {"min_quality": True},
        {"min_quality": []}, {"max_cost": -1}, {"max_cost": "-1"}, {"max_cost": "1e3"}, {"max_cost": "a lot"},
        {"max_cost": False}, {"max_cost": {}}, {"max_cost": 2_000_000_000}, {"task_type": ""}, {"task_type": 7},
        {"task_type": "x" * 65}, {"task_type": "a\tb"}, {"routing_preference": ""}, {"routing_preference": 1},
        {"routing_preference": "x" * 65}, {"min_qualty": 0.5}, {"Min_Quality": 0.5},
    ],
}  # fmt: skip


@pytest.mark.parametrize("hint", HINTS["good"], ids=str)
@pytest.mark.parametrize("path", GENERATE)
def test_hints_that_both_take(path, hint):
    """Numbers and tiers, amounts as numbers and as strings, any preference that is a word."""
    assert faults(path, asked(path, {"routing_hint": hint})) == []
    parse_hint(hint)


@pytest.mark.parametrize("hint", HINTS["bad"], ids=str)
@pytest.mark.parametrize("path", GENERATE)
def test_hints_that_both_refuse(path, hint):
    """Anything else in it, and any field that it does not have."""
    assert faults(path, asked(path, {"routing_hint": hint})) != []
    with pytest.raises(DownstreamError) as refused:
        parse_hint(hint)
    assert refused.value.param.startswith("routing_hint")
