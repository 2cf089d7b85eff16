"""What a Responses request gives the model to read."""

import base64

import msgspec
import pytest

from ainf.protocols.input_size import InputSize
from ainf.protocols.responses_input import measure_input
from tests.protocols.asking import WRONG

PAYLOAD = base64.b64encode(bytes(30_000)).decode()
DATA_URL = f"data:image/png;base64,{PAYLOAD}"
SHELL = len('{"role":"user","content":null}')


def json_bytes(value):
    return len(msgspec.json.encode(value))


def measure(*parts):
    return measure_input([{"role": "user", "content": list(parts)}])


def test_a_string():
    """Text counts by its bytes, nothing by none."""
    assert measure_input("Hié") == InputSize(4)
    assert measure_input(None) == InputSize()


@pytest.mark.parametrize(
    ("part", "payload", "kind"),
    [
        ({"type": "input_image", "image_url": "https://x/y.png"}, 0, "image"),
        ({"type": "input_image", "image_url": DATA_URL}, len(PAYLOAD), "image"),
        ({"type": "input_image", "file_id": "file-1"}, 0, "image"),
        ({"type": "input_file", "filename": "a.pdf", "file_data": PAYLOAD}, len(PAYLOAD), "file"),
        ({"type": "input_file", "file_url": "https://x/y.pdf"}, 0, "file"),
        ({"type": "input_audio", "input_audio": {"data": PAYLOAD, "format": "wav"}}, len(PAYLOAD), "audio"),
    ],
)
def test_attachments(part, payload, kind):
    """Counted in messages and in what tools gave, whatever their kind and way."""
    assert measure(part, part) == InputSize(SHELL, 2, 2 * payload, frozenset({kind}))
    output = {"type": "function_call_output", "call_id": "c", "output": [part]}
    size = json_bytes({**output, "output": None})
    assert measure_input([output]) == InputSize(size, 1, payload, frozenset({kind}))


@pytest.mark.parametrize(
    "item",
    [
        {"type": "message", "role": "user", "content": PAYLOAD},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": PAYLOAD},
        {"type": "function_call_output", "call_id": "c", "output": PAYLOAD},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": PAYLOAD},
        {"type": "item_reference", "id": "x"},
        {"type": "mcp_call", "name": "f", "output": PAYLOAD},
        {"role": "assistant", "content": PAYLOAD},
    ],
)
def test_text(item):
    """Items of text count with all their bytes, base64 or not."""
    assert measure_input([item]) == InputSize(json_bytes(item), 0, 0)


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        ({"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": DATA_URL}}, "image"),
        (
            {
                "type": "code_interpreter_call",
                "outputs": [{"type": "image", "url": DATA_URL}, {"type": "logs", "logs": "x"}],
            },
            "image",
        ),
        ({"type": "image_generation_call", "result": PAYLOAD}, "image"),
        ({"type": "hologram", "data": PAYLOAD}, "file"),
    ],
)
def test_items_with_pictures(item, kind):
    """Whatever the field that holds it, a picture is one attachment."""
    measured = measure_input([item])
    assert (measured.attachments, measured.payload_bytes, measured.attachment_kinds) == (1, len(PAYLOAD), {kind})
    assert measured.text_bytes < 150


@pytest.mark.parametrize("value", WRONG, ids=repr)
def test_any_shape(value):
    """The provider judges the shape; here it only has a size."""
    assert measure_input(value).text_bytes >= 0
    assert measure(value).text_bytes >= 0
