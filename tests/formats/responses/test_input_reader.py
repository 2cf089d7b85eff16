import time

import pytest

from ainf.formats.responses.input_reader import read_cache_mark, read_input
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
from tests.formats.responses.support import call, message


def content(*parts):
    return {"role": "user", "content": list(parts)}


def output(value, **fields):
    return {"type": "function_call_output", "call_id": "c_1", "output": value} | fields


def test_many_items_of_one_speaker():
    """What an item costs does not grow with those before it, though they are all one message."""
    began = time.process_time()
    (found,) = read_input([{"role": "user", "content": "Hi"}] * 50_000)
    assert len(found.parts) == 50_000
    assert time.process_time() - began < 2


def test_a_conversation():
    """What an answer held, sent back, is one message of the assistant; results are the user's."""
    thought = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}],
               "encrypted_content": "gAAA"}  # fmt: skip
    items = [
        {"role": "developer", "content": "Be."},
        {"role": "user", "content": "Hi"},
        thought,
        message("Let me see.") | {"phase": "commentary"},
        call("{}", **{"async": False}),
        output("7"),
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "And?"}]},
    ]
    assert read_input(items) == [
        Message(Role.DEVELOPER, (Text("Be."),), "input[0]"),
        Message(Role.USER, (Text("Hi"),), "input[1]"),
        Message(
            Role.ASSISTANT,
            (Reasoning("hm", Opaque("responses", "rs_1:gAAA")), Text("Let me see."), ToolCall("c_1", "f", "{}")),
            "input[2]",
        ),
        Message(Role.USER, (ToolResult("c_1", (Text("7"),)), Text("And?")), "input[5]"),
    ]


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ({"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}},
         Text("a", CacheMark.SHORT)),
        ({"type": "output_text", "text": "a", "annotations": [{"type": "file_path"}], "logprobs": [1]}, Text("a")),
        ({"type": "refusal", "refusal": "no"}, Refusal("no")),
        ({"type": "input_image", "image_url": "https://x/y.png", "detail": "low", "file_id": None},
         Image(url="https://x/y.png", detail="low")),
        ({"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
         Image(media_type="image/png", data="AAAA")),
        ({"type": "input_file", "file_url": "https://x/y.pdf", "filename": "y"},
         Document(url="https://x/y.pdf", name="y")),
        ({"type": "input_file", "file_data": "data:application/pdf;base64,AAAA", "filename": "y.pdf"},
         Document(media_type="application/pdf", data="AAAA", name="y.pdf")),
    ],
)  # fmt: skip
def test_parts(part, found):
    """Parts are read with everything that another format could say."""
    assert read_input([content(part)])[0].parts == (found,)


@pytest.mark.parametrize(
    ("item", "part"),
    [
        (output(""), ToolResult("c_1", ())),
        (output([{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "https://x"}]),
         ToolResult("c_1", (Text("a"), Image(url="https://x")))),
        (output("x", type="custom_tool_call_output"), ToolResult("c_1", (Text("x"),), is_custom=True)),
        ({"type": "custom_tool_call", "call_id": "c", "name": "f", "input": "x", "caller": {"type": "direct"}},
         ToolCall("c", "f", "x", is_custom=True)),
        ({"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "ainf.messages.signature:s"},
         Reasoning("", Opaque("messages.signature", "s"))),
        ({"type": "reasoning", "id": "rs_1", "summary": [{"text": "a"}], "content": [{"text": "b"}]},
         Reasoning("a\n\nb")),
    ],
)  # fmt: skip
def test_items(item, part):
    """Calls, results and thoughts are read; what was sealed is opened."""
    assert read_input([item])[0].parts == (part,)


def test_a_thought_that_only_its_provider_knows():
    """An item of reasoning that only names what a provider keeps says nothing."""
    assert read_input([{"type": "reasoning", "id": "rs_1", "summary": []}]) == []


@pytest.mark.parametrize(
    ("item", "code", "param"),
    [
        ({"type": "item_reference", "id": "x"}, "unsupported_parameter", "input[0].type"),
        ({"type": "web_search_call"}, "unsupported_parameter", "input[0].type"),
        ({"type": 7}, "invalid_type", "input[0].type"),
        ({"role": "robot", "content": ""}, "invalid_value", "input[0].role"),
        ({"role": "user"}, "missing_field", "input[0].content"),
        ({"role": "user", "content": "", "x": 1}, "unsupported_parameter", "input[0].x"),
        (content({"type": "input_audio"}), "unsupported_parameter", "input[0].content[0].type"),
        (content({"text": "x"}), "invalid_type", "input[0].content[0].type"),
        (content("x"), "invalid_type", "input[0].content[0]"),
        (content({"type": "input_image", "file_id": "f"}), "unsupported_parameter", "input[0].content[0].file_id"),
        (content({"type": "input_image"}), "missing_field", "input[0].content[0].image_url"),
        (content({"type": "input_image", "image_url": "data:x"}), "invalid_value", "input[0].content[0].image_url"),
        (content({"type": "input_file", "file_id": "f"}), "unsupported_parameter", "input[0].content[0].file_id"),
        (content({"type": "input_file", "file_data": "AAAA"}), "invalid_value", "input[0].content[0].file_data"),
        (call(None), "missing_field", "input[0].arguments"),
        (call("{}", namespace="n"), "unsupported_parameter", "input[0].namespace"),
        (output(7), "invalid_type", "input[0].output"),
        (output([{"type": "refusal", "refusal": "x"}]), "unsupported_parameter", "input[0].output"),
        ({"type": "reasoning", "summary": [{"text": 7}]}, "invalid_type", "input[0].summary[0].text"),
    ],
)
def test_refusals(item, code, param):
    """What no other format could say, or is malformed, is refused by its path."""
    with pytest.raises(DownstreamError) as caught:
        read_input([item])
    assert (caught.value.code, caught.value.param) == (code, param)


def test_cache_marks():
    """A mark's time is the usual one unless it says the longer one."""
    marks = [None, {}, {"ttl": "30m"}, {"ttl": "12h"}]
    assert [read_cache_mark({"prompt_cache_breakpoint": mark}, "x") for mark in marks] == [
        None, CacheMark.SHORT, CacheMark.SHORT, CacheMark.LONG,
    ]  # fmt: skip
    with pytest.raises(DownstreamError, match="ttl"):
        read_cache_mark({"prompt_cache_breakpoint": {"ttl": "1w"}}, "x")
