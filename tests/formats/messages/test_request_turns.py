import base64

import pytest

from ainf.formats.messages.request_turns import cache_fields, written_turns
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

SYSTEM, DEVELOPER, USER, ASSISTANT = Role.SYSTEM, Role.DEVELOPER, Role.USER, Role.ASSISTANT
HI = Text("Hi")
TEXT = {"type": "text", "text": "Hi"}


def messages(*turns):
    return [Message(role, parts, f"messages[{number}]") for number, (role, *parts) in enumerate(turns)]


def write(*turns):
    return written_turns(messages(*[(role, *parts) for role, *parts in turns]))


def block_of(part, role=USER):
    """Return the block of a part, which stands beside a text."""
    (turn,) = write((role, HI, part))[1]
    return (
        next((block for block in turn["content"] if block != TEXT), None) if isinstance(turn["content"], list) else None
    )


def test_system():
    """System prompts at the beginning are one; a later one stands in its place, behind a user's turn."""
    system, turns = write((SYSTEM, HI), (DEVELOPER, HI), (USER, HI), (DEVELOPER, HI), (SYSTEM, HI), (ASSISTANT, HI))
    assert system == [TEXT, TEXT]
    assert turns == [
        {"role": "user", "content": "Hi"},
        {"role": "system", "content": [TEXT, TEXT]},
        {"role": "assistant", "content": "Hi"},
    ]


def test_misplaced_system():
    """A system message behind an assistant's turn cannot be said."""
    with pytest.raises(DownstreamError) as refused:
        write((USER, HI), (ASSISTANT, HI), (SYSTEM, HI), (USER, HI))
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "messages[2]")


def test_one_turn():
    """Messages of one speaker are one turn, and in a user's turn results of tools stand first."""
    first, second = ToolResult("a", (HI,)), ToolResult("b", ())
    _, turns = write((USER, HI), (USER, HI), (ASSISTANT, ToolCall("a", "f", "")), (USER, first), (USER, HI, second))
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    assert turns[0]["content"] == [TEXT, TEXT]
    assert turns[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "a", "content": "Hi"},
        {"type": "tool_result", "tool_use_id": "b"},
        TEXT,
    ]


def test_nothing_to_say():
    """Blank text is left out, and a message of nothing else."""
    _, turns = write((USER, HI), (ASSISTANT, Text("")), (ASSISTANT, Text(" \n"), Reasoning("a")), (USER, HI, Text("")))
    assert turns == [{"role": "user", "content": [TEXT, TEXT]}]


@pytest.mark.parametrize(
    ("role", "part", "block"),
    [
        (USER, Text("a", CacheMark.SHORT), {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}),
        (USER, Image(url="https://x"), {"type": "image", "source": {"type": "url", "url": "https://x"}}),
        (USER, Image(media_type="image/png", data="aGk=", detail="high", cache=CacheMark.LONG),
         {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="},
          "cache_control": {"type": "ephemeral", "ttl": "1h"}}),
        (USER, Document(url="https://x", name="T"),
         {"type": "document", "title": "T", "source": {"type": "url", "url": "https://x"}}),
        (USER, Document(media_type="application/pdf", data="aGk="),
         {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}}),
        (USER, Document(media_type="text/plain", data=base64.b64encode("hé".encode()).decode()),
         {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hé"}}),
        (ASSISTANT, Refusal("No."), {"type": "text", "text": "No."}),
        (ASSISTANT, Reasoning("a", Opaque("messages.signature", "s")),
         {"type": "thinking", "thinking": "a", "signature": "s"}),
        (ASSISTANT, Reasoning("", Opaque("messages.redacted", "d")), {"type": "redacted_thinking", "data": "d"}),
        (ASSISTANT, Reasoning("a", Opaque("responses", "s")), None),
        (ASSISTANT, Reasoning("a"), None),
        (ASSISTANT, ToolCall("c", "f", '{"a": 1}'), {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}),
        (ASSISTANT, ToolCall("functions.f:0", "f", " "),
         {"type": "tool_use", "id": "functions_2e_f_3a_0", "name": "f", "input": {}}),
        (USER, ToolResult("functions.f:0", (), is_error=True),
         {"type": "tool_result", "tool_use_id": "functions_2e_f_3a_0", "is_error": True}),
        (USER, ToolResult("c", (HI, Text(""), Image(url="u", cache=CacheMark.SHORT)), cache=CacheMark.SHORT),
         {"type": "tool_result", "tool_use_id": "c", "cache_control": {"type": "ephemeral"},
          "content": [TEXT, {"type": "image", "source": {"type": "url", "url": "u"},
                             "cache_control": {"type": "ephemeral"}}]}),
        (USER, ToolResult("c", (Document(url="u"),)),
         {"type": "tool_result", "tool_use_id": "c",
          "content": [{"type": "document", "source": {"type": "url", "url": "u"}}]}),
    ],
)  # fmt: skip
def test_blocks(role, part, block):
    """Each part that this wire can say is a block; reasoning that is not Anthropic's is left out."""
    assert block_of(part, role) == block


@pytest.mark.parametrize(
    ("role", "part"),
    [
        (USER, Image(url="u", detail="low")),
        (USER, Image(media_type="image/tiff", data="aGk=")),
        (USER, Document(media_type="text/csv", data="aGk=")),
        (USER, Document(media_type="text/plain", data="a")),
        (USER, Document(media_type="text/plain", data="//8=")),
        (USER, Document(media_type="text/plain", data="aG*k=")),
        (USER, ToolResult("c", (Image(media_type="image/tiff", data=""),))),
        (USER, ToolResult("c", (), is_custom=True)),
        (USER, ToolCall("c", "f", "{}")),
        (USER, Reasoning("a")),
        (ASSISTANT, Image(url="u")),
        (ASSISTANT, ToolResult("c", ())),
        (ASSISTANT, ToolCall("c", "f", "x", is_custom=True)),
        (ASSISTANT, ToolCall("c", "f", "[1]")),
        (ASSISTANT, ToolCall("c", "f", "{oops")),
        (SYSTEM, Image(url="u")),
    ],
)
def test_refusals(role, part):
    """A part that cannot be said is refused by the path of its message."""
    with pytest.raises(DownstreamError) as refused:
        write((USER, HI), (role, part))
    assert (refused.value.code, refused.value.param) == ("unsupported_parameter", "messages[1]")


def test_speakers_name():
    """A speaker's name cannot be said."""
    with pytest.raises(DownstreamError) as refused:
        written_turns([Message(USER, (HI,), "messages[0]", name="Ann")])
    assert refused.value.param == "messages[0].name"


def test_cache_marks():
    """A mark says its time only where it is not the usual one."""
    assert cache_fields(None) == {}
    assert cache_fields(CacheMark.SHORT) == {"cache_control": {"type": "ephemeral"}}
