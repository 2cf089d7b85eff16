import json

import pytest

from ainf.formats.chat.content import ReferencePart, TextPart, ThinkingPart, loose_content, parts_bytes, pieces_of
from ainf.formats.chat.wire import decode_view
from ainf.inference.events import BlockKind

THOUGHT = ThinkingPart([TextPart("h"), ReferencePart(), TextPart("é")])


def test_pieces():
    """A text is one piece; of parts the texts and thoughts are, in order."""
    assert list(pieces_of("a")) == [(BlockKind.TEXT, "a")]
    assert list(pieces_of([THOUGHT, ReferencePart(), TextPart("a")])) == [
        (BlockKind.REASONING, "hé"),
        (BlockKind.TEXT, "a"),
    ]


def test_bytes():
    """Thoughts and texts count, as UTF-8; references do not."""
    assert parts_bytes([THOUGHT, ReferencePart(), TextPart("é")]) == 5


@pytest.mark.parametrize(
    "part",
    [{}, {"type": "image"}, {"type": "text"}, {"type": "text", "text": 7}, {"type": 7}, {"text": "a"}, "a", 7, None,
     {"type": "thinking", "thinking": "a"}, {"type": "thinking", "thinking": [{"type": "thinking", "thinking": []}]}],
)  # fmt: skip
def test_unknown_parts(part):
    """A part of another type or shape makes its frame opaque, since there may be output in it."""
    payload = json.dumps({"choices": [{"delta": {"content": [part]}}]}).encode()
    assert decode_view(payload) is None


@pytest.mark.parametrize(
    ("value", "content"),
    [
        ("a", "a"),
        (7, None),
        ({"text": "a"}, None),
        (["a", {"text": "b"}, 7, None, [], {"text": 7}, {"type": ["x"]}], [TextPart("a"), TextPart("b")]),
        ([{"type": "thinking", "thinking": "a"}], [ThinkingPart([TextPart("a")])]),
        ([{"type": "thinking", "thinking": ["a", {"text": "b"}, 7]}], [ThinkingPart([TextPart("a"), TextPart("b")])]),
        ([{"type": "thinking", "thinking": 7, "text": "a"}], [TextPart("a")]),
    ],
)
def test_loose(value, content):
    """Of broken content what has text is read; everything else counts as absent."""
    assert loose_content(value) == content
