import pytest

from ainf.formats.gemini.content_writer import write_messages
from ainf.formats.gemini.signature import PLACEHOLDER
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

GO = Message(Role.USER, (Text("go"),), "messages[0]")
CALL = ToolCall("c-1", "f", '{"x": 1}')
WIRE_CALL = {"functionCall": {"id": "c-1", "name": "f", "args": {"x": 1}}}
RESULT = Message(Role.USER, (ToolResult("c-1", (Text("ok"),)),), "messages[2]")
HELD = {"thoughtSignature": PLACEHOLDER}


def contents(*messages):
    return write_messages(messages)["contents"]


def assistant(*parts):
    return Message(Role.ASSISTANT, parts, "messages[1]")


def said(*parts):
    """Return the parts of an assistant's message in the middle of a conversation."""
    return contents(GO, assistant(*parts), GO)[1]["parts"]


def test_roles():
    """Instructions that come first stand apart; neighbours of one role are one content."""
    system = Message(Role.SYSTEM, (Text("a"), Text("b", cache=CacheMark.LONG)), "messages[0]")
    developer = Message(Role.DEVELOPER, (Text("c"),), "messages[1]")
    assert write_messages([system, developer, GO, GO, assistant(Text("hi")), assistant(Text("ho")), GO]) == {
        "systemInstruction": {"parts": [{"text": "a"}, {"text": "b"}, {"text": "c"}]},
        "contents": [
            {"role": "user", "parts": [{"text": "go"}, {"text": "go"}]},
            {"role": "model", "parts": [{"text": "hi"}, {"text": "ho"}]},
            {"role": "user", "parts": [{"text": "go"}]},
        ],
    }


def test_empty_messages():
    """A message that says nothing parts no others, and is none."""
    assert contents(assistant(Text("")), GO, assistant(), GO) == [
        {"role": "user", "parts": [{"text": "go"}, {"text": "go"}]}
    ]
    assert write_messages([]) == {"contents": []}


@pytest.mark.parametrize(
    ("parts", "found"),
    [
        ([Text("a"), Refusal("no")], [{"text": "a"}, {"text": "no"}]),
        ([Reasoning("hm"), Text("a")], [{"text": "hm", "thought": True}, {"text": "a"}]),
        ([Reasoning("hm", Opaque("gemini", "s"))], [{"text": "hm", "thought": True, "thoughtSignature": "s"}]),
        ([Reasoning("hm", Opaque("messages.signature", "s")), Reasoning("", Opaque("chat", "t")), Text("a")],
         [{"text": "a"}]),
        ([Reasoning("", Opaque("gemini", "s")), Text("a"), Text("b")],
         [{"text": "a", "thoughtSignature": "s"}, {"text": "b"}]),
        ([Reasoning("", Opaque("gemini", "s")), CALL], [WIRE_CALL | {"thoughtSignature": "s"}]),
        ([Reasoning("", Opaque("gemini.call", "s")), Text("a"), CALL],
         [{"text": "a"}, WIRE_CALL | {"thoughtSignature": "s"}]),
        ([Reasoning("hm", Opaque("gemini.call", "s")), Text("a"), CALL],
         [{"text": "hm", "thought": True}, {"text": "a"}, WIRE_CALL | {"thoughtSignature": "s"}]),
        ([Reasoning("", Opaque("gemini.text", "s")), Reasoning("", Opaque("gemini.call", "t")), CALL, Text("a")],
         [WIRE_CALL | {"thoughtSignature": "t"}, {"text": "a", "thoughtSignature": "s"}]),
        ([Text("a"), Reasoning("", Opaque("gemini.text", "s"))],
         [{"text": "a"}, {"text": "", "thoughtSignature": "s"}]),
        ([Reasoning("")], None),
    ],
)  # fmt: skip
def test_signatures(parts, found):
    """A signature goes back on the part that it came on, wherever another wire has put it in between."""
    if found is None:
        assert contents(GO, assistant(*parts), GO) == contents(GO, GO)
    else:
        assert said(*parts) == found


def test_placeholder():
    """The first call of each step of the turn is signed, with what stands for a signature where it has none."""
    own = Reasoning("", Opaque("gemini.call", "s"))
    step, signed = assistant(Text("a"), CALL, CALL), assistant(own, CALL, CALL)
    written = contents(GO, step, RESULT, signed, RESULT)
    assert [content["parts"] for content in written if content["role"] == "model"] == [
        [{"text": "a"}, WIRE_CALL | HELD, WIRE_CALL],
        [WIRE_CALL | {"thoughtSignature": "s"}, WIRE_CALL],
    ]


def test_current_turn():
    """Only the turn that goes on is held to its signatures: what came before a message of the user is history."""
    assert contents(GO, assistant(CALL), RESULT, assistant(Text("so")), GO, assistant(CALL), RESULT) == [
        {"role": "user", "parts": [{"text": "go"}]},
        {"role": "model", "parts": [WIRE_CALL]},
        {"role": "user", "parts": [{"functionResponse": {"id": "c-1", "name": "f", "response": {"output": "ok"}}}]},
        {"role": "model", "parts": [{"text": "so"}]},
        {"role": "user", "parts": [{"text": "go"}]},
        {"role": "model", "parts": [WIRE_CALL | HELD]},
        {"role": "user", "parts": [{"functionResponse": {"id": "c-1", "name": "f", "response": {"output": "ok"}}}]},
    ]


def test_results():
    """A result names its function, as the last call of its id has it, and says output or error, with what it shows."""
    told = (
        ToolResult("c-1", (Text("a"), Text("b"), Image(media_type="image/png", data="AA=="))),
        ToolResult("c-2", (Text("no"),), is_error=True),
        ToolResult("c-2", ()),
    )
    calls = assistant(CALL, ToolCall("c-2", "f", ""), ToolCall("c-2", "g", "{}"))
    (_, _, content) = contents(GO, calls, Message(Role.USER, told, "messages[2]"))
    assert [part["functionResponse"] for part in content["parts"]] == [
        {
            "id": "c-1",
            "name": "f",
            "response": {"output": "a\nb"},
            "parts": [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}],
        },
        {"id": "c-2", "name": "g", "response": {"error": "no"}},
        {"id": "c-2", "name": "g", "response": {"output": ""}},
    ]


@pytest.mark.parametrize(
    ("part", "found"),
    [
        (Image(media_type="image/png", data="AA==", detail="auto"),
         {"inlineData": {"mimeType": "image/png", "data": "AA=="}}),
        (Document(media_type="application/pdf", data="AA==", name="n"),
         {"inlineData": {"mimeType": "application/pdf", "data": "AA=="}}),
        (Image(url="https://x.y/a/b.JPEG?c=d.pdf#e.png"),
         {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://x.y/a/b.JPEG?c=d.pdf#e.png"}}),
        (Document(url="https://x.y/a", media_type="application/pdf"),
         {"fileData": {"mimeType": "application/pdf", "fileUri": "https://x.y/a"}}),
    ],
)  # fmt: skip
def test_media(part, found):
    """Images and documents go on as data, or as URLs with their media type."""
    assert contents(Message(Role.USER, (part,), "m"))[0]["parts"] == [found]


@pytest.mark.parametrize(
    "message",
    [
        Message(Role.SYSTEM, (Text("late"),), "x"),
        Message(Role.USER, (Text("a"),), "x", name="Ann"),
        Message(Role.USER, (Image(url="http://x.y/a.png"),), "x"),
        Message(Role.USER, (Image(url="https://x.y/png"),), "x"),
        Message(Role.USER, (Image(data="AA=="),), "x"),
        Message(Role.USER, (Image(media_type="image/png", data="AA==", detail="high"),), "x"),
        Message(Role.USER, (ToolResult("c-9", ()),), "x"),
        Message(Role.USER, (ToolResult("c-1", (), is_custom=True),), "x"),
        Message(Role.USER, (ToolResult("c-1", (Image(url="https://x.y/a.png"),)),), "x"),
        Message(Role.ASSISTANT, (ToolCall("c", "f", "any", is_custom=True),), "x"),
        Message(Role.ASSISTANT, (ToolCall("c", "f", "[1]"),), "x"),
        Message(Role.ASSISTANT, (ToolCall("c", "f", "{broken"),), "x"),
        Message(Role.ASSISTANT, (ToolCall("c", "f", '{"a":' + "9" * 40 + "}"),), "x"),
    ],
)
def test_refused(message):
    """What the API cannot be told is refused by the path of its message."""
    with pytest.raises(DownstreamError) as caught:
        contents(GO, assistant(CALL), message)
    assert caught.value.code == "unsupported_parameter"
    assert caught.value.param == ("x.name" if message.name else "x")


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (Message(Role.SYSTEM, (Image(url="https://x.y/a.png"),), "x"), "x"),
        (Message(Role.SYSTEM, (Text("a"),), "x", name="Ann"), "x.name"),
    ],
)
def test_refused_instructions(message, param):
    """Instructions are text of nobody by name."""
    with pytest.raises(DownstreamError) as caught:
        contents(message, GO)
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", param)
