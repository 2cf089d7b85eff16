"""What a Messages request asks, whatever for; limits and errors of the two endpoints have their own files."""

import pytest

from ainf.inference.request import Operation
from ainf.protocols.messages import Messages
from ainf.protocols.messages_request import read_request
from tests.protocols.asking import WRONG, Asker

BASE = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "Hi"}]}
ASK = Asker(Messages(), "/v1/messages", BASE)
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 30_000}}


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"model": ...}, "missing_field", "model"),
        ({"model": 7}, "invalid_type", "model"),
        ({"model": ""}, "model_not_found", "model"),
        ({"messages": ...}, "missing_field", "messages"),
        ({"messages": []}, "invalid_value", "messages"),
        ({"messages": "Hi"}, "invalid_type", "messages"),
        ({"messages": [*BASE["messages"], 7]}, "invalid_type", "messages[1]"),
        ({"messages": [{"content": "a"}]}, "missing_field", "messages[0].role"),
        ({"messages": [{"role": 7, "content": "a"}]}, "invalid_type", "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "missing_field", "messages[0].content"),
        ({"messages": [{"role": "user", "content": None}]}, "missing_field", "messages[0].content"),
        ({"messages": [{"role": "user", "content": {}}]}, "invalid_type", "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{}, "a"]}]}, "invalid_type", "messages[0].content[1]"),
        ({"system": 7}, "invalid_type", "system"),
        ({"system": {}}, "invalid_type", "system"),
        ({"system": ["a"]}, "invalid_type", "system[0]"),
        ({"stream": 1}, "invalid_type", "stream"),
        ({"tools": {}}, "invalid_type", "tools"),
        ({"tools": ["f"]}, "invalid_type", "tools[0]"),
        ({"tool_choice": "auto"}, "invalid_type", "tool_choice"),
        ({"stop_sequences": "a"}, "invalid_type", "stop_sequences"),
        ({"stop_sequences": ["a", 1]}, "invalid_type", "stop_sequences[1]"),
        ({"metadata": []}, "invalid_type", "metadata"),
        ({"metadata": {"user_id": "a\0"}}, "invalid_unicode", "metadata"),
        ({"thinking": "enabled"}, "invalid_type", "thinking"),
        ({"thinking": {"budget_tokens": "9"}}, "invalid_type", "thinking.budget_tokens"),
        ({"thinking": {"budget_tokens": True}}, "invalid_type", "thinking.budget_tokens"),
        ({"thinking": {"budget_tokens": 0}}, "invalid_value", "thinking.budget_tokens"),
        ({"thinking": {"budget_tokens": -1}}, "invalid_value", "thinking.budget_tokens"),
        ({"thinking": {"budget_tokens": 1 << 31}}, "invalid_value", "thinking.budget_tokens"),
        ({"thinking": {"budget_tokens": 100}}, "invalid_value", "thinking.budget_tokens"),
    ],
)
def test_refused(fields, code, param):
    """A field of the wrong type or value is refused by its name."""
    assert ASK.refusal(**fields) == (code, param)


@pytest.mark.parametrize(
    "name",
    ["model", "messages", "max_tokens", "system", "stream", "tools", "tool_choice", "stop_sequences", "metadata",
     "thinking"],
)  # fmt: skip
@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_hostile(name, value):
    """Whatever stands in a field, it is an answer or a refusal that names it."""
    ASK.survives(**{name: value})


@pytest.mark.parametrize("name", ["role", "content"])
@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_hostile_messages(name, value):
    """The same inside a message."""
    ASK.survives(messages=[{"role": "user", "content": "a", name: value}])


@pytest.mark.parametrize("name", ["type", "source", "content", "text"])
@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_hostile_blocks(name, value):
    """The same inside a block: it is measured, and the provider says what is wrong."""
    for kind in ("text", "image", "tool_result", "odd"):
        request = ASK.parse(messages=[{"role": "user", "content": [{"type": kind, name: value}]}])
        assert request.bound_bytes >= request.input_bytes > 0


def test_null_is_absent():
    """Null stands for absent in every optional field."""
    names = ["system", "stream", "tools", "tool_choice", "stop_sequences", "metadata", "thinking"]
    request = ASK.parse(**dict.fromkeys(names))
    assert (request.stream, request.has_tools, request.betas) == (False, False, ())


def test_betas():
    """Betas are named by a header, with commas, each once."""
    headers = {b"anthropic-beta": b" a-2025-01-01, b ,,a-2025-01-01,", b"anthropic-version": b"never"}
    assert ASK.parse(headers).betas == ("a-2025-01-01", "b")
    many = {b"anthropic-beta": b",".join(b"%d" % n for n in range(32))}
    assert len(ASK.parse(many).betas) == 32


@pytest.mark.parametrize(
    "value", [b",".join(b"%d" % n for n in range(33)), b"x" * 65, b"a b", b"a\xff", b"a;q=1", b"\0"]
)
def test_no_betas(value):
    """Too many names, and what is no name, are refused."""
    assert ASK.refusal({b"anthropic-beta": value}) == ("invalid_value", "anthropic-beta")


@pytest.mark.parametrize(
    "fields",
    [{"system": "x" * 300}, {"system": [{"type": "text", "text": "x" * 300}]}, {"tools": [{"name": "x" * 300}]},
     {"tool_choice": {"name": "x" * 300}}, {"output_config": {"format": {"schema": {"d": "x" * 300}}}}],
)  # fmt: skip
def test_read_beside_the_messages(fields):
    """The model reads it, so it counts."""
    assert 300 < ASK.parse(**fields).input_bytes - ASK.parse().input_bytes < 380


def test_sizes():
    """Attachments are counted apart; the bound counts all that came, less their payloads."""
    messages = [{"role": "user", "content": [IMAGE, IMAGE]}]
    request = ASK.parse(messages=messages, x_unknown="y" * 500)
    assert (request.attachment_count, request.attachments) == (2, {"image"})
    assert ASK.parse().attachments == set()
    assert request.input_bytes < 300
    assert request.bound_bytes == len(ASK.body(messages=messages, x_unknown="y" * 500)) - 60_000


def test_any_operation():
    """What it is for is said by whoever asks."""
    request = read_request(BASE, Operation.COUNT, path="/p", body_bytes=10, headers={})
    assert (request.operation, request.path) == (Operation.COUNT, "/p")
