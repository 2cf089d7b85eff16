"""What a chat request gives the model to read."""

import base64
import json

import pytest

from ainf.inference.errors import DownstreamError
from ainf.protocols.chat_input import measure_messages
from ainf.protocols.input_size import InputSize

PAYLOAD = base64.b64encode(bytes(30_000)).decode()
SHELL = len('{"role":"user","content":null}')


def measure(*parts):
    return measure_messages([{"role": "user", "content": list(parts)}])


@pytest.mark.parametrize(
    ("part", "payload", "kind"),
    [
        ({"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "high"}}, 0, "image"),
        ({"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PAYLOAD}"}}, len(PAYLOAD), "image"),
        ({"type": "image_url", "image_url": f"data:image/png;base64,{PAYLOAD}"}, len(PAYLOAD), "image"),
        ({"type": "input_audio", "input_audio": {"data": PAYLOAD, "format": "wav"}}, len(PAYLOAD), "audio"),
        ({"type": "file", "file": {"filename": "a.pdf", "file_data": PAYLOAD}}, len(PAYLOAD), "file"),
        ({"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PAYLOAD}"}}, len(PAYLOAD), "file"),
        ({"type": "file", "file": {"file_id": "file-1"}}, 0, "file"),
        ({"type": "video_url", "video_url": {"url": "https://x/y.mp4"}}, 0, "video"),
        ({"type": "audio_url", "audio_url": {"url": f"data:audio/wav;base64,{PAYLOAD}"}}, len(PAYLOAD), "audio"),
    ],
)
def test_an_attachment_is_counted_and_its_bytes_are_no_text(part, payload, kind):
    """By URL or in the body, whatever its kind; what it costs does not follow from its bytes."""
    assert measure(part, part) == InputSize(SHELL, 2, 2 * payload, frozenset({kind}))


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": f"data:image/png;base64,{PAYLOAD}"},
        {"type": "text", "text": PAYLOAD},
        {"text": PAYLOAD},
        {"type": None, "text": "é"},
        {"type": "refusal", "refusal": "No."},
        {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
    ],
)
def test_text_is_read_whatever_it_looks_like(part):
    """A text part counts with all its bytes, base64 or not, and is no attachment."""
    size = len(json.dumps(part, separators=(",", ":"), ensure_ascii=False).encode())
    assert measure(part) == InputSize(SHELL + size, 0, 0)


@pytest.mark.parametrize("kind", ["input_smell", ["image_url"], 7])
def test_a_part_of_an_unknown_kind_counts_as_both(kind):
    """It may be text or an attachment; only what can be nothing but a payload is no text."""
    measured = measure({"type": kind, "caption": "a rose is a rose " * 100, "data": PAYLOAD})
    assert (measured.attachments, measured.payload_bytes) == (1, len(PAYLOAD))
    assert 1_700 < measured.text_bytes < 1_850


def test_plain_messages_and_bare_strings():
    """A message counts as its JSON, a bare string among the parts as itself."""
    message = {"role": "user", "content": "Hié"}
    assert measure_messages([message] * 2).text_bytes == 2 * len(b'{"role":"user","content":"Hi\xc3\xa9"}')
    assert measure("Hié").text_bytes == SHELL + 4


@pytest.mark.parametrize("content", [7, {}, [7], [None], True])
def test_content_of_another_kind(content):
    """It is refused where it stands."""
    with pytest.raises(DownstreamError) as refused:
        measure_messages([{"content": "a"}, {"content": content}])
    assert (refused.value.code, refused.value.param) == ("invalid_type", "messages[1].content")
