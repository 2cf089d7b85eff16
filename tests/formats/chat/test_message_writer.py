import pytest

from ainf.formats.chat.message_writer import write_messages
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

PDF = Document(media_type="application/pdf", data="JVBERg==")


def written(role, *parts, name=None):
    return write_messages([Message(role, parts, "input[3]", name)])


@pytest.mark.parametrize("role", list(Role))
def test_text(role):
    """One text is a string, several are parts, none is an empty string; cache marks have no place here."""
    assert written(role, Text("Hi", CacheMark.LONG), name="ann") == [
        {"role": role.value, "name": "ann", "content": "Hi"}
    ]
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert written(role, Text("a"), Text("b")) == [{"role": role.value, "content": parts}]
    assert written(role) == [{"role": role.value, "content": ""}]


@pytest.mark.parametrize(
    ("part", "fields"),
    [
        (Image(url="https://x", detail="low"),
         {"type": "image_url", "image_url": {"url": "https://x", "detail": "low"}}),
        (Image(media_type="image/png", data="iVBO"),
         {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}),
        (PDF, {"type": "file",
               "file": {"filename": "document.pdf", "file_data": "data:application/pdf;base64,JVBERg=="}}),
        (Document(media_type="text/plain", data="YQ==", name="a.md"),
         {"type": "file", "file": {"filename": "a.md", "file_data": "data:text/plain;base64,YQ=="}}),
        (Text("a"), {"type": "text", "text": "a"}),
    ],
)  # fmt: skip
def test_parts(part, fields):
    """Images and documents have the wire's own forms."""
    assert written(Role.USER, Text("see"), part)[0]["content"] == [{"type": "text", "text": "see"}, fields]


def test_results_stand_right_behind_their_calls():
    """Each result is a message of its own, before whatever the user says beside them."""
    said = written(Role.USER, Text("and?"), ToolResult("c1", (Text("a"),)), ToolResult("c2", ()))
    assert said == [
        {"role": "tool", "tool_call_id": "c1", "content": "a"},
        {"role": "tool", "tool_call_id": "c2", "content": ""},
        {"role": "user", "content": "and?"},
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ((Text("boom"),), "Error: boom"),
        ((), "Error"),
        ((Text("a"), Text("b")), [{"type": "text", "text": "Error: a"}, {"type": "text", "text": "b"}]),
    ],
)
def test_a_failed_call_says_so(content, told):
    """That a call failed is told in words: the wire has no field for it."""
    assert written(Role.USER, ToolResult("c", content, is_error=True))[0]["content"] == told


def test_an_assistant():
    """Texts, refusal and calls have their fields; content is null where only calls are."""
    call, custom = ToolCall("c1", "f", "{}"), ToolCall("c2", "g", "x", is_custom=True)
    fields = [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
        {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}},
    ]
    assert written(Role.ASSISTANT, Text("a"), call, custom) == [
        {"role": "assistant", "content": "a", "tool_calls": fields}
    ]
    assert written(Role.ASSISTANT, call) == [{"role": "assistant", "content": None, "tool_calls": fields[:1]}]
    assert written(Role.ASSISTANT, Refusal("no, "), Refusal("no")) == [
        {"role": "assistant", "content": None, "refusal": "no, no"}
    ]


def test_thoughts():
    """Thoughts of this format go back with what belongs to them; those of another's provider are left out."""
    own = Opaque("chat", '{"type":"reasoning.text","signature":"s"}')
    parts = (Reasoning("a"), Reasoning("b", own), Reasoning("c", Opaque("messages.signature", "x")), Text("t"))
    assert written(Role.ASSISTANT, *parts) == [
        {
            "role": "assistant",
            "content": "t",
            "reasoning_content": "ab",
            "reasoning_details": [{"type": "reasoning.text", "signature": "s", "text": "b", "index": 0}],
        }
    ]


def test_nothing_left():
    """A message of another provider's thoughts alone is left out."""
    assert written(Role.ASSISTANT, Reasoning("c", Opaque("gemini", "x"))) == []
    assert written(Role.ASSISTANT, Reasoning("c")) == [{"role": "assistant", "content": "", "reasoning_content": "c"}]


@pytest.mark.parametrize(
    ("role", "part"),
    [
        (Role.SYSTEM, Image(url="https://x")),
        (Role.DEVELOPER, PDF),
        (Role.ASSISTANT, Image(url="https://x")),
        (Role.ASSISTANT, PDF),
        (Role.ASSISTANT, ToolResult("c", ())),
        (Role.USER, ToolResult("c", (Image(url="https://x"),))),
        (Role.USER, ToolResult("c", (Text("a"), PDF))),
        (Role.USER, Document(url="https://x/a.pdf")),
        (Role.USER, ToolCall("c", "f", "")),
    ],
)
def test_refusals(role, part):
    """What the wire cannot say is refused by the message's path in the client's request."""
    with pytest.raises(DownstreamError) as caught:
        written(role, Text("a"), part)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "input[3]")
