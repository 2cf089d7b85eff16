import base64

import pytest

from ainf.formats.messages.fields import FieldReader
from ainf.formats.messages.request_parts import PartReader
from ainf.inference.conversation import (
    CacheMark,
    Document,
    Image,
    Opaque,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from ainf.inference.errors import DownstreamError

USER, ASSISTANT, SYSTEM = Role.USER, Role.ASSISTANT, Role.SYSTEM
TEXT = {"type": "text", "text": "a"}
PNG = {"type": "base64", "media_type": "image/png", "data": "aGk="}
CALL = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
EPHEMERAL = {"type": "ephemeral"}


def read(content, role=USER):
    return PartReader().content(FieldReader({"content": content}, "messages[0]"), "content", role)


@pytest.mark.parametrize(
    ("role", "block", "part"),
    [
        (USER, TEXT, Text("a")),
        (SYSTEM, TEXT | {"cache_control": EPHEMERAL}, Text("a", CacheMark.SHORT)),
        (USER, TEXT | {"cache_control": EPHEMERAL | {"ttl": "5m"}}, Text("a", CacheMark.SHORT)),
        (USER, TEXT | {"cache_control": EPHEMERAL | {"ttl": "1h"}}, Text("a", CacheMark.LONG)),
        (ASSISTANT, TEXT | {"citations": None, "cache_control": None}, Text("a")),
        (ASSISTANT, TEXT | {"citations": []}, Text("a")),
        (USER, {"type": "image", "source": PNG, "cache_control": EPHEMERAL},
         Image(media_type="image/png", data="aGk=", cache=CacheMark.SHORT)),
        (USER, {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}, Image(url="https://x/y.png")),
        (USER, {"type": "document", "title": "T", "citations": {"enabled": False},
                "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}},
         Document(media_type="application/pdf", data="aGk=", name="T")),
        (USER, {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hé"}},
         Document(media_type="text/plain", data=base64.b64encode("hé".encode()).decode())),
        (USER, {"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}},
         Document(url="https://x/y.pdf")),
        (ASSISTANT, {"type": "thinking", "thinking": "a", "signature": "sig"},
         Reasoning("a", Opaque("messages.signature", "sig"))),
        (ASSISTANT, {"type": "thinking", "thinking": "a", "signature": ""}, Reasoning("a")),
        (ASSISTANT, {"type": "thinking", "thinking": "a", "signature": "ainf.gemini:xyz"},
         Reasoning("a", Opaque("gemini", "xyz"))),
        (ASSISTANT, {"type": "redacted_thinking", "data": "d"}, Reasoning("", Opaque("messages.redacted", "d"))),
        (ASSISTANT, {"type": "redacted_thinking", "data": "ainf.responses:xyz"},
         Reasoning("", Opaque("responses", "xyz"))),
        (ASSISTANT, CALL | {"input": {"a": [1.5, None]}, "caller": {"type": "direct"}, "toolset_name": None},
         ToolCall("t", "f", '{"a":[1.5,null]}')),
        (USER, {"type": "tool_result", "tool_use_id": "t"}, ToolResult("t", ())),
        (USER, {"type": "tool_result", "tool_use_id": "t", "content": "a", "is_error": True},
         ToolResult("t", (Text("a"),), is_error=True)),
        (USER, {"type": "tool_result", "tool_use_id": "t", "content": [TEXT, {"type": "image", "source": PNG}],
                "cache_control": EPHEMERAL},
         ToolResult("t", (Text("a"), Image(media_type="image/png", data="aGk=")), cache=CacheMark.SHORT)),
    ],
)  # fmt: skip
def test_parts(role, block, part):
    """Each block that another format can say is a part."""
    assert read([block], role) == (part,)


def test_text_content():
    """A string is one text."""
    assert read("a") == (Text("a"),)


@pytest.mark.parametrize(
    ("role", "block", "code", "param"),
    [
        (USER, {"type": "search_result"}, "unsupported_parameter", ""),
        (USER, {"type": "container_upload", "file_id": "f"}, "unsupported_parameter", ""),
        (ASSISTANT, {"type": "server_tool_use"}, "unsupported_parameter", ""),
        (ASSISTANT, {"type": "image", "source": PNG}, "unsupported_parameter", ""),
        (USER, CALL, "unsupported_parameter", ""),
        (USER, {"type": "thinking", "thinking": "a"}, "unsupported_parameter", ""),
        (SYSTEM, {"type": "image", "source": PNG}, "unsupported_parameter", ""),
        (ASSISTANT, TEXT | {"citations": [{"type": "char_location"}]}, "unsupported_parameter", ".citations"),
        (USER, TEXT | {"new": 1}, "unsupported_parameter", ".new"),
        (USER, {"type": "image", "source": {"type": "file", "file_id": "f"}}, "unsupported_parameter", ".source"),
        (USER, {"type": "image", "source": PNG | {"new": 1}}, "unsupported_parameter", ".source.new"),
        (USER, {"type": "image", "source": PNG, "transformations": {"a": 1}}, "unsupported_parameter",
         ".transformations"),
        (USER, {"type": "document", "source": {"type": "content", "content": "a"}}, "unsupported_parameter", ".source"),
        (USER, {"type": "document", "source": {"type": "url", "url": "u"}, "citations": {"enabled": True}},
         "unsupported_parameter", ".citations"),
        (USER, {"type": "document", "source": {"type": "url", "url": "u"}, "context": "c"}, "unsupported_parameter",
         ".context"),
        (ASSISTANT, CALL | {"caller": {"type": "code_execution_20250825"}}, "unsupported_parameter", ".caller"),
        (ASSISTANT, CALL | {"input": None}, "missing_field", ".input"),
        (ASSISTANT, CALL | {"input": "{}"}, "invalid_type", ".input"),
        (ASSISTANT, CALL | {"id": 7}, "invalid_type", ".id"),
        (USER, {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "tool_reference"}]},
         "unsupported_parameter", ".content[0]"),
        (USER, {"type": "tool_result", "tool_use_id": "t", "content": [TEXT | {"x": 1}]}, "unsupported_parameter",
         ".content[0].x"),
        (USER, {"type": "tool_result", "tool_use_id": "t", "content": 7}, "invalid_type", ".content"),
        (USER, {"type": "tool_result"}, "missing_field", ".tool_use_id"),
        (USER, {"type": "image"}, "missing_field", ".source"),
        (USER, {"type": "text"}, "missing_field", ".text"),
        (USER, {}, "missing_field", ".type"),
        (USER, 7, "invalid_type", ""),
        (USER, TEXT | {"cache_control": {"type": "forever"}}, "invalid_value", ".cache_control.type"),
        (USER, TEXT | {"cache_control": EPHEMERAL | {"ttl": "2h"}}, "invalid_value", ".cache_control.ttl"),
    ],
)  # fmt: skip
def test_refusals(role, block, code, param):
    """What no other format can say, or is wrong, is refused by its path."""
    with pytest.raises(DownstreamError) as refused:
        read([block], role)
    assert (refused.value.code, refused.value.param) == (code, "messages[0].content[0]" + param)


@pytest.mark.parametrize(("content", "code"), [(None, "missing_field"), (7, "invalid_type"), ({}, "invalid_type")])
def test_no_content(content, code):
    """A message has a text, or blocks."""
    with pytest.raises(DownstreamError) as refused:
        read(content)
    assert (refused.value.code, refused.value.param) == (code, "messages[0].content")


def test_advice_on_caching_is_named():
    """What only says how to cache is no reason to refuse a message; it is named."""
    reader = PartReader()
    block = TEXT | {"cache_control": EPHEMERAL | {"scope": "global"}}
    parts = reader.content(FieldReader({"content": [block, block]}, "messages[0]"), "content", USER)
    assert parts == (Text("a", CacheMark.SHORT),) * 2
    assert list(reader.unknown) == ["cache_control.scope"]
