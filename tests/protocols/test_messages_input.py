"""What a Messages request gives the model to read."""

import base64

import msgspec
import pytest

from ainf.protocols.input_size import InputSize
from ainf.protocols.messages_input import measure_messages

PAYLOAD = base64.b64encode(bytes(30_000)).decode()
SHELL = len('{"role":"user","content":null}')
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PAYLOAD}}


def json_bytes(value):
    return len(msgspec.json.encode(value))


def measure(*blocks):
    return measure_messages([{"role": "user", "content": list(blocks)}])


@pytest.mark.parametrize(
    ("block", "payload", "kind"),
    [
        (IMAGE, len(PAYLOAD), "image"),
        ({"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}, 0, "image"),
        ({"type": "image", "source": {"type": "file", "file_id": "file_1"}}, 0, "image"),
        ({"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": PAYLOAD},
          "title": "t"}, len(PAYLOAD), "file"),
        ({"type": "document", "source": {"type": "url", "url": "https://x/y.pdf"}}, 0, "file"),
        ({"type": "document", "source": {"type": "file", "file_id": "file_1"}}, 0, "file"),
    ],
)  # fmt: skip
def test_an_attachment_by_its_source(block, payload, kind):
    """Whatever its kind and its way, it is counted, and what stands around it is text and says what it is."""
    around = json_bytes({**block, "source": None})
    assert measure(block, block) == InputSize(SHELL + 2 * around, 2, 2 * payload, frozenset({kind}))


def test_attachments_in_results_of_tools():
    """A result's images are attachments, its text is text."""
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "é"}, IMAGE]}
    size = SHELL + json_bytes({**result, "content": None}) + json_bytes(result["content"][0])
    size += json_bytes({**IMAGE, "source": None})
    assert measure(result) == InputSize(size, 1, len(PAYLOAD), frozenset({"image"}))


def test_a_file_for_a_container():
    """It stands by itself, in a message."""
    measured = measure({"type": "container_upload", "file_id": "file_1"}, IMAGE)
    assert (measured.attachments, measured.attachment_kinds) == (2, {"file", "image"})


@pytest.mark.parametrize(
    "block",
    [
        {"type": "text", "text": PAYLOAD},
        {"type": "thinking", "thinking": "hm", "signature": PAYLOAD},
        {"type": "redacted_thinking", "data": PAYLOAD},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"data": PAYLOAD}},
        {"type": "tool_result", "tool_use_id": "t", "content": PAYLOAD},
        {"type": "search_result", "source": "https://x", "title": "t", "content": PAYLOAD},
        {"type": "image"},
        {"type": "image", "source": PAYLOAD},
    ],
)
def test_text(block):
    """It counts with all its bytes, base64 or not."""
    assert measure(block) == InputSize(SHELL + json_bytes(block), 0, 0)


@pytest.mark.parametrize(
    ("source", "attachments"),
    [
        ({"type": "text", "media_type": "text/plain", "data": PAYLOAD}, 0),
        ({"type": "content", "content": PAYLOAD}, 0),
        ({"type": "content", "content": [{"type": "text", "text": PAYLOAD}]}, 0),
        ({"type": "content", "content": [IMAGE, {"type": "text", "text": PAYLOAD}]}, 1),
    ],
)
def test_documents_of_text(source, attachments):
    """A plain text document is text; one of blocks is what its blocks are."""
    measured = measure({"type": "document", "source": source})
    assert measured.attachments == attachments
    assert measured.attachment_kinds == ({"image"} if attachments else set())
    assert len(PAYLOAD) < measured.text_bytes < len(PAYLOAD) + 400


def test_results_of_server_tools():
    """What they hold is read as text, unless it is a document."""
    searched = {
        "type": "web_search_tool_result",
        "content": [{"type": "web_search_result", "encrypted_content": PAYLOAD}],
    }
    assert measure(searched).text_bytes > len(PAYLOAD)
    assert measure(searched).attachments == 0
    document = {"type": "document", "source": {"type": "base64", "data": PAYLOAD}}
    fetched = {"type": "web_fetch_tool_result", "content": {"type": "web_fetch_result", "content": document}}
    assert (measure(fetched).attachments, measure(fetched).payload_bytes) == (1, len(PAYLOAD))


def test_an_unknown_block_counts_as_both():
    """It may be text or an attachment."""
    measured = measure({"type": "hologram", "caption": "a rose " * 100, "data": PAYLOAD})
    assert (measured.attachments, measured.payload_bytes) == (1, len(PAYLOAD))
    assert measured.text_bytes > 700


def test_plain_messages():
    """A message of text counts as its JSON."""
    message = {"role": "user", "content": "Hié"}
    assert measure_messages([message] * 2) == InputSize(2 * json_bytes(message))
