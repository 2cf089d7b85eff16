import pytest
from openai.types.responses import ResponseInputItemParam
from pydantic import TypeAdapter

from ainf.formats.responses.input_writer import write_input
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

ITEM = TypeAdapter(ResponseInputItemParam)


def write(role, *parts):
    items = write_input([Message(role, parts, "messages[0]")])
    for item in items:
        ITEM.validate_python(item)
    return items


def test_an_assistant():
    """What is said together stands together; thoughts and calls are items of their own, in their order."""
    found = write_input([
        Message(Role.ASSISTANT, (
            Reasoning("hm", Opaque("responses", "rs_1:gAAA")), Text("a"), Refusal("no"), ToolCall("c", "f", "{}"),
            Text("b"), ToolCall("d", "g", "x", is_custom=True),
        ), "m"),
    ])  # fmt: skip
    assert found == [
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}],
         "encrypted_content": "gAAA"},
        {"type": "message", "role": "assistant",
         "content": [{"type": "output_text", "text": "a"}, {"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "b"}]},
        {"type": "custom_tool_call", "call_id": "d", "name": "g", "input": "x"},
    ]  # fmt: skip


@pytest.mark.parametrize("opaque", [None, Opaque("messages.signature", "s"), Opaque("gemini", "s")])
def test_foreign_thoughts(opaque):
    """No provider is handed what another one made."""
    assert write(Role.ASSISTANT, Reasoning("hm", opaque)) == []


def test_a_thought_without_a_name():
    """Encrypted content without an id is given as it is."""
    assert write_input([Message(Role.ASSISTANT, (Reasoning("", Opaque("responses", ":gAAA")),), "m")]) == [
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAA"}
    ]


@pytest.mark.parametrize(
    ("part", "found"),
    [
        (Text("a", CacheMark.LONG), {"type": "input_text", "text": "a"}),
        (Image(url="https://x"), {"type": "input_image", "image_url": "https://x", "detail": "auto"}),
        (Image(media_type="image/png", data="AA", detail="low"),
         {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"}),
        (Document(url="https://x", name="n"), {"type": "input_file", "file_url": "https://x", "filename": "n"}),
        (Document(url="https://x"), {"type": "input_file", "file_url": "https://x"}),
        (Document(media_type="application/pdf", data="AA"),
         {"type": "input_file", "filename": "document.pdf", "file_data": "data:application/pdf;base64,AA"}),
        (Document(media_type="x/y", data="AA", name="n"),
         {"type": "input_file", "filename": "n", "file_data": "data:x/y;base64,AA"}),
    ],
)  # fmt: skip
def test_parts(part, found):
    """Parts are said as the API's types have them."""
    assert write(Role.USER, part) == [{"type": "message", "role": "user", "content": [found]}]


@pytest.mark.parametrize(
    ("result", "output"),
    [
        (ToolResult("c", (Text("7"),)), "7"),
        (ToolResult("c", ()), ""),
        (ToolResult("c", (Text("7"), Text("8"))),
         [{"type": "input_text", "text": "7"}, {"type": "input_text", "text": "8"}]),
        (ToolResult("c", (Image(url="https://x"),)),
         [{"type": "input_image", "image_url": "https://x", "detail": "auto"}]),
        (ToolResult("c", (Text("bad"),), is_error=True), "Error: bad"),
        (ToolResult("c", (), is_error=True), "Error: "),
        (ToolResult("c", (Image(url="https://x"),), is_error=True),
         [{"type": "input_text", "text": "Error: "},
          {"type": "input_image", "image_url": "https://x", "detail": "auto"}]),
    ],
)  # fmt: skip
def test_results(result, output):
    """A result is a string where it is one text; that a call failed is said in words."""
    assert write(Role.USER, result) == [{"type": "function_call_output", "call_id": "c", "output": output}]


def test_custom_results():
    """The result of a custom call has a type of its own."""
    assert write(Role.USER, ToolResult("c", (Text("7"),), is_custom=True))[0]["type"] == "custom_tool_call_output"


def test_a_message_without_parts():
    """An empty message stays one."""
    assert write(Role.SYSTEM) == [
        {"type": "message", "role": "system", "content": [{"type": "input_text", "text": ""}]}
    ]


@pytest.mark.parametrize(
    "message",
    [
        Message(Role.USER, (Text("a"),), "messages[0]", name="Bob"),
        Message(Role.USER, (ToolCall("c", "f", "{}"),), "messages[0]"),
        Message(Role.USER, (Reasoning("hm", Opaque("responses", "rs_1:x")),), "messages[0]"),
        Message(Role.ASSISTANT, (ToolResult("c", ()),), "messages[0]"),
        Message(Role.ASSISTANT, (Image(url="https://x"),), "messages[0]"),
        Message(Role.USER, (Refusal("no"),), "messages[0]"),
    ],
)
def test_refusals(message):
    """What the API has no place for is refused by where it stands."""
    with pytest.raises(DownstreamError) as caught:
        write_input([message])
    assert caught.value.code == "unsupported_parameter"
    assert caught.value.param.startswith("messages[0]")
