import base64

import pytest

from ainf.formats.gemini.content_reader import ContentsReader, in_camel_case, read_instruction
from ainf.inference.conversation import (
    Document,
    Image,
    Message,
    Opaque,
    Reasoning,
    Role,
    Text,
    ToolCall,
    ToolResult,
)
from ainf.inference.errors import DownstreamError

PDF = {"mimeType": "application/pdf", "data": "AA=="}


def read(*contents):
    return ContentsReader().read(contents)


def model(*parts):
    return {"role": "model", "parts": list(parts)}


def user(*parts):
    return {"role": "user", "parts": list(parts)}


def call(name="f", **fields):
    return {"functionCall": {"name": name, **fields}}


def result(name="f", response=None, **fields):
    return {"functionResponse": {"name": name, "response": response or {"output": "ok"}, **fields}}


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ({"text": "a"}, [Text("a")]),
        ({"text": ""}, []),
        ({}, []),
        ({"text": "hm", "thought": True}, [Reasoning("hm")]),
        ({"text": "", "thought": True}, []),
        ({"text": "hm", "thought": True, "thoughtSignature": "s"}, [Reasoning("hm", Opaque("gemini", "s"))]),
        ({"text": "a", "thoughtSignature": "s"}, [Reasoning("", Opaque("gemini.text", "s")), Text("a")]),
        ({"thought_signature": "s"}, [Reasoning("", Opaque("gemini.text", "s"))]),
        (call(id="c", args={"x": [1]}) | {"thoughtSignature": "s"},
         [Reasoning("", Opaque("gemini.call", "s")), ToolCall("c", "f", '{"x":[1]}')]),
        (call(), [ToolCall("call_0", "f", "{}")]),
        ({"inlineData": {"mimeType": "image/png", "data": "AA=="}}, [Image(media_type="image/png", data="AA==")]),
        ({"inline_data": {"mime_type": "application/pdf", "data": "AA==", "display_name": "n"}},
         [Document(media_type="application/pdf", data="AA==", name="n")]),
        ({"fileData": {"mimeType": "image/png", "fileUri": "https://x/a.png"}},
         [Image(url="https://x/a.png", media_type="image/png")]),
        ({"fileData": {"fileUri": "https://x/a"}}, [Document(url="https://x/a")]),
    ],
)  # fmt: skip
def test_part(part, found):
    """Each part says what it is; a signature is reasoning right before its part."""
    assert read(model(part)) == (Message(Role.ASSISTANT, tuple(found), "contents[0]"),)


def test_sealed_signature():
    """What another provider made comes back as what it was."""
    opaque = Opaque("messages.signature", "s")
    sealed = base64.b64encode(opaque.sealed().encode()).decode()
    (message,) = read(model({"text": "hm", "thought": True, "thoughtSignature": sealed}))
    assert message.parts == (Reasoning("hm", opaque),)


def test_results_find_their_calls():
    """A result without an id belongs to the oldest call of its name that has none; roles may be left out."""
    messages = read(
        user({"text": "go"}),
        model(call("f"), call("g"), call("f"), call("f", id="own")),
        {"parts": [result("f", {"output": "1"}), result("g", {"error": "no"}), result("f", {"x": 1}, id="own")]},
        {"role": "function", "parts": [result("f", {"output": {"y": 2}})]},
    )
    assert [message.role for message in messages] == [Role.USER, Role.ASSISTANT, Role.USER, Role.USER]
    assert [part.call_id for part in messages[1].parts] == ["call_0", "call_1", "call_2", "own"]
    assert messages[2].parts == (
        ToolResult("call_0", (Text("1"),)),
        ToolResult("call_1", (Text("no"),), is_error=True),
        ToolResult("own", (Text('{"x":1}'),)),
    )
    assert messages[3].parts == (ToolResult("call_2", (Text('{"y":2}'),)),)


def test_media_in_results():
    """A result may show images and documents."""
    (_, message) = read(model(call()), user(result(response={"output": ""}, parts=[{"inlineData": PDF}])))
    assert message.parts == (ToolResult("call_0", (Document(media_type="application/pdf", data="AA=="),)),)


@pytest.mark.parametrize(
    ("content", "code", "param"),
    [
        ({"role": "system", "parts": []}, "invalid_value", "contents[0].role"),
        ({"role": 7}, "invalid_type", "contents[0].role"),
        ({"parts": 7}, "invalid_type", "contents[0].parts"),
        ({"parts": ["a"]}, "invalid_type", "contents[0].parts[0]"),
        ({"parts": [], "x": 1}, "unsupported_parameter", "contents[0].x"),
        (user({"text": 7}), "invalid_type", "contents[0].parts[0].text"),
        (user({"text": "a"}, {"executableCode": {"code": "1"}}), "unsupported_parameter",
         "contents[0].parts[1].executableCode"),
        (user({"text": "a", "inlineData": PDF}), None, None),
        (user({"inlineData": PDF, "videoMetadata": {"fps": 1}}), "unsupported_parameter",
         "contents[0].parts[0].videoMetadata"),
        (user({"inlineData": {"mimeType": "audio/wav", "data": "AA=="}}), "unsupported_parameter",
         "contents[0].parts[0].inlineData.mimeType"),
        (user({"inlineData": {"data": "AA=="}}), "missing_field", "contents[0].parts[0].inlineData.mimeType"),
        (user({"fileData": {"fileUri": "gs://b/o"}}), "unsupported_parameter", "contents[0].parts[0].fileData.fileUri"),
        (user(result()), "invalid_value", "contents[0].parts[0].functionResponse.name"),
        (user(result(willContinue=True, id="x")), "unsupported_parameter",
         "contents[0].parts[0].functionResponse.willContinue"),
        (user(result(id="x", parts=[{"fileData": {"fileUri": "https://x"}}])), "unsupported_parameter",
         "contents[0].parts[0].functionResponse.parts[0].fileData"),
        (model(call(args=[])), "invalid_type", "contents[0].parts[0].functionCall.args"),
        (model({"functionCall": {}}), "missing_field", "contents[0].parts[0].functionCall.name"),
        (model({"text": "a", "thought": 1}), "invalid_type", "contents[0].parts[0].thought"),
    ],
)  # fmt: skip
def test_refused(content, code, param):
    """What no other format could say, or is of the wrong type, is refused by its path."""
    if code is None:
        assert read(content)[0].parts == (Document(media_type="application/pdf", data="AA=="),)
        return
    with pytest.raises(DownstreamError) as caught:
        read(content)
    assert (caught.value.code, caught.value.param) == (code, param)


def test_instruction():
    """The system instruction is text of any role; nothing else can stand in it."""
    told = {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}
    assert read_instruction(told, "systemInstruction") == Message(
        Role.SYSTEM, (Text("a"), Text("b")), "systemInstruction"
    )
    with pytest.raises(DownstreamError) as caught:
        read_instruction({"parts": [{"inlineData": PDF}]}, "systemInstruction")
    assert caught.value.param == "systemInstruction.parts[0].inlineData"


def test_camel_case():
    """Only the names of the object itself are changed."""
    assert in_camel_case({"a_b_c": {"d_e": 1}, "fG": 2, "_x": 3}) == {"aBC": {"d_e": 1}, "fG": 2, "_x": 3}
