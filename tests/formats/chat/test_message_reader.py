import time

import pytest

from ainf.formats.chat.message_reader import MessagesReader
from ainf.inference.conversation import (
    CacheMark,
    Document,
    Image,
    Message,
    Opaque,
    Reasoning,
    Refusal,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from ainf.inference.errors import DownstreamError

PDF = "data:application/pdf;base64,JVBERg=="


def read(*messages):
    return MessagesReader().read(messages)


def parts_of(**message):
    (found,) = read(message)
    return found.parts


def user(*parts):
    return parts_of(role="user", content=list(parts))


def test_many_results():
    """What a result costs does not grow with those before it, though they are all one message."""
    began = time.process_time()
    (found,) = read(*[{"role": "tool", "tool_call_id": "c_1", "content": "7"}] * 50_000)
    assert len(found.parts) == 50_000
    assert time.process_time() - began < 2


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant"])
def test_text_of_every_speaker(role):
    """Content is a string or a list of texts, for each role; the speaker's name and place are kept."""
    parts = [{"type": "text", "text": "a"}, "b", {"text": "c"}]
    said = {"role": role, "content": "Hi", "name": "ann"}
    assert read(said, {"role": role, "content": parts}, {"role": role, "content": ""}) == (
        Message(Role(role), (Text("Hi"),), "messages[0]", "ann"),
        Message(Role(role), (Text("a"), Text("b"), Text("c")), "messages[1]"),
        Message(Role(role), (), "messages[2]"),
    )


@pytest.mark.parametrize(
    ("part", "read_part"),
    [
        ({"type": "image_url", "image_url": {"url": "https://x/a.png", "detail": "low"}},
         Image(url="https://x/a.png", detail="low")),
        ({"type": "image_url", "image_url": "https://x/a.png"}, Image(url="https://x/a.png")),
        ({"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO", "detail": None}},
         Image(media_type="image/png", data="iVBO")),
        ({"type": "image_url", "image_url": {"url": "data:image/png;charset=x;base64,iVBO"}},
         Image(media_type="image/png", data="iVBO")),
        ({"type": "file", "file": {"file_data": PDF, "filename": "a.pdf", "file_id": None}},
         Document(media_type="application/pdf", data="JVBERg==", name="a.pdf")),
        ({"type": "file", "file": {"file_data": "https://x/a.pdf"}}, Document(url="https://x/a.pdf")),
        ({"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}, Text("a", CacheMark.SHORT)),
        ({"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}}, Text("a", CacheMark.LONG)),
        ({"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "30m"}},
         Text("a", CacheMark.SHORT)),
        ({"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}},
         Text("a", CacheMark.LONG)),
        ({"type": "image_url", "image_url": {"url": "https://x"}, "cache_control": {"ttl": "5m"}},
         Image(url="https://x", cache=CacheMark.SHORT)),
        ({"type": "file", "file": {"file_data": PDF}, "cache_control": {}},
         Document(media_type="application/pdf", data="JVBERg==", cache=CacheMark.SHORT)),
    ],
)  # fmt: skip
def test_parts_of_a_user(part, read_part):
    """Texts, images and documents are read, by URL and from data URLs, with their cache marks."""
    assert user(part) == (read_part,)


def test_an_assistant_that_thought_refused_and_called():
    """Everything that an assistant's message can hold has its part, in the order in which it came to be."""
    assert parts_of(
        role="assistant",
        content=[{"type": "text", "text": "a"}, {"type": "refusal", "refusal": "no"}],
        refusal="never",
        reasoning_content="hm",
        annotations=[{"type": "url_citation"}],
        audio=None,
        function_call=None,
        tool_calls=[
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            {"id": "c2", "function": {"name": "g"}},
            {"id": "c3", "type": "custom", "custom": {"name": "h", "input": "x"}},
        ],
    ) == (
        Reasoning("hm"),
        Text("a"),
        Refusal("no"),
        Refusal("never"),
        ToolCall("c1", "f", "{}"),
        ToolCall("c2", "g", ""),
        ToolCall("c3", "h", "x", is_custom=True),
    )


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ({"reasoning": "hm"}, (Reasoning("hm"),)),
        ({"reasoning": "hm", "reasoning_content": "hm"}, (Reasoning("hm"),)),
        ({"reasoning_details": [{"type": "reasoning.text", "text": "hm"}]}, (Reasoning("hm"),)),
        ({"reasoning_content": "hm", "reasoning_details": [{"type": "reasoning.encrypted", "data": "ainf.gemini:x"}]},
         (Reasoning("hm", Opaque("gemini", "x")),)),
        ({"reasoning_details": [{"type": "reasoning.encrypted", "data": "ainf.messages.redacted:x:y"},
                                {"type": "reasoning.encrypted", "data": "z"}]},
         (Reasoning("", Opaque("messages.redacted", "x:y")),
          Reasoning("", Opaque("chat", '{"type":"reasoning.encrypted","data":"z"}')))),
    ],
)  # fmt: skip
def test_thoughts(fields, parts):
    """A thought is read once, with what its provider wants back: unsealed, or as this format's own."""
    assert parts_of(role="assistant", content=None, **fields) == parts


THOUGHT = {
    "type": "thinking",
    "thinking": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}],
    "closed": True,
}


def test_thoughts_in_parts():
    """A thought that stands among the parts of the content (Mistral's) is one all the same, without its references."""
    parts = [THOUGHT, {"type": "text", "text": "a"}, {"type": "thinking", "thinking": [{"type": "reference"}]}]
    assert parts_of(role="assistant", content=parts) == (Reasoning("hm"), Text("a"), Reasoning(""))


@pytest.mark.parametrize(
    ("part", "code", "param"),
    [
        ({"type": "thinking"}, "missing_field", ".thinking"),
        ({"type": "thinking", "thinking": "hm"}, "invalid_type", ".thinking"),
        ({"type": "thinking", "thinking": ["hm"]}, "invalid_type", ".thinking[0]"),
        ({"type": "thinking", "thinking": [{"type": "text"}]}, "missing_field", ".thinking[0].text"),
        (THOUGHT | {"signature": "x"}, "unsupported_parameter", ".signature"),
    ],
)
def test_wrong_thoughts_in_parts(part, code, param):
    """What such a part lacks, or holds beyond what we know, is refused by its path."""
    with pytest.raises(DownstreamError) as caught:
        parts_of(role="assistant", content=[part])
    assert (caught.value.code, caught.value.param) == (code, f"messages[0].content[0]{param}")


def test_results_of_consecutive_messages_are_one():
    """Results join one message of the user, which stands where the first of them stood."""
    call = {"role": "assistant", "tool_calls": [{"id": "c2", "type": "custom", "custom": {"name": "f"}}]}
    results = [
        {"role": "tool", "tool_call_id": "c1", "content": "a"},
        {"role": "tool", "tool_call_id": "c2", "content": [{"type": "text", "text": "b"}]},
        {"role": "user", "content": "go on"},
        {"role": "tool", "tool_call_id": "c3", "content": ""},
    ]
    assert read(call, *results)[1:] == (
        Message(
            Role.USER, (ToolResult("c1", (Text("a"),)), ToolResult("c2", (Text("b"),), is_custom=True)), "messages[1]"
        ),
        Message(Role.USER, (Text("go on"),), "messages[3]"),
        Message(Role.USER, (ToolResult("c3", ()),), "messages[4]"),
    )


def test_legacy_calls_get_ids():
    """A legacy result finds the last call of its name."""
    called = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    result = {"role": "function", "name": "f", "content": "a"}
    parts = [message.parts[0] for message in read(*[called, result] * 3)]
    assert parts[0] == ToolCall(parts[0].call_id, "f", "{}")
    assert parts[1] == ToolResult(parts[0].call_id, (Text("a"),))
    calls, results = [part.call_id for part in parts[::2]], [part.call_id for part in parts[1::2]]
    assert calls == results
    assert len(set(calls)) == 3


@pytest.mark.parametrize(
    ("message", "code", "param"),
    [
        ({}, "missing_field", "messages[0].role"),
        ({"role": 7}, "invalid_type", "messages[0].role"),
        ({"role": "robot", "content": "a"}, "invalid_value", "messages[0].role"),
        ({"role": "user"}, "missing_field", "messages[0].content"),
        ({"role": "user", "content": 7}, "invalid_type", "messages[0].content"),
        ({"role": "user", "content": [7]}, "invalid_type", "messages[0].content[0]"),
        ({"role": "user", "content": [{"type": "text"}]}, "missing_field", "messages[0].content[0].text"),
        ({"role": "user", "content": "a", "name": 7}, "invalid_type", "messages[0].name"),
        ({"role": "user", "content": "a", "prefix": True}, "unsupported_parameter", "messages[0].prefix"),
        ({"role": "user", "content": [{"type": "text", "text": "a", "x": 1}]}, "unsupported_parameter",
         "messages[0].content[0].x"),
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, "unsupported_parameter",
         "messages[0].content[0].type"),
        ({"role": "user", "content": [{"type": ["text"]}]}, "unsupported_parameter", "messages[0].content[0].type"),
        ({"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}, "unsupported_parameter",
         "messages[0].content[0].file.file_id"),
        ({"role": "user", "content": [{"type": "file", "file": {}}]}, "missing_field",
         "messages[0].content[0].file.file_data"),
        ({"role": "user", "content": [{"type": "file", "file": {"file_data": "JVBERg=="}}]}, "invalid_value",
         "messages[0].content[0].file.file_data"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png,x"}}]},
         "invalid_value", "messages[0].content[0].image_url.url"),
        ({"role": "user", "content": [{"type": "image_url"}]}, "missing_field", "messages[0].content[0].image_url"),
        ({"role": "user", "content": [{"text": "a", "cache_control": {"ttl": "9y"}}]}, "invalid_value",
         "messages[0].content[0].cache_control.ttl"),
        ({"role": "system", "content": [{"type": "image_url", "image_url": "x"}]}, "unsupported_parameter",
         "messages[0].content[0].type"),
        ({"role": "assistant", "content": "a", "audio": {"id": "x"}}, "unsupported_parameter", "messages[0].audio"),
        ({"role": "assistant", "tool_calls": [7]}, "invalid_type", "messages[0].tool_calls[0]"),
        ({"role": "assistant", "tool_calls": [{"id": "a"}]}, "missing_field", "messages[0].tool_calls[0].function"),
        ({"role": "assistant", "tool_calls": [{"function": {}}]}, "missing_field", "messages[0].tool_calls[0].id"),
        ({"role": "assistant", "tool_calls": [{"id": "a", "type": "magic"}]}, "invalid_value",
         "messages[0].tool_calls[0].type"),
        ({"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {}}}]},
         "invalid_type", "messages[0].tool_calls[0].function.arguments"),
        ({"role": "assistant", "function_call": {}}, "missing_field", "messages[0].function_call.name"),
        ({"role": "assistant", "reasoning_details": "x"}, "invalid_type", "messages[0].reasoning_details"),
        ({"role": "tool", "content": "a"}, "missing_field", "messages[0].tool_call_id"),
        ({"role": "function", "name": "f", "content": "a"}, "invalid_value", "messages[0].name"),
    ],
)  # fmt: skip
def test_refusals(message, code, param):
    """What is wrong, or could be said in no other format, is refused by its path."""
    with pytest.raises(DownstreamError) as caught:
        read(message)
    assert (caught.value.code, caught.value.param) == (code, param)
