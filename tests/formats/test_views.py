import msgspec
import pytest

from ainf.formats.views import Frame, frame_of, view_decoder, views_decoder


class Word(msgspec.Struct, gc=False):
    text: str = ""


decode_one, decode_all = view_decoder(Word), views_decoder(Word)
DEEP = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"


@pytest.mark.parametrize("payload", [b"", b"[DONE]", b"{", b'{"text":1}', b'"\xff"', b"[1]", DEEP])
def test_what_does_not_fit(payload):
    """What is no view is none, alone and among others, and never an exception."""
    assert decode_one(payload) is None
    assert decode_all([payload]) is None
    assert decode_all([b"{}", payload]) is None


def test_what_fits():
    """Payloads are decoded in order, however many."""
    payloads = [b'{"text":"a"}', b'{"other":1}', b' {"text":"c"}']
    assert [decode_one(payload).text for payload in payloads] == ["a", "", "c"]
    assert [[view.text for view in decode_all(payloads[:count])] for count in range(4)] == [
        [],
        ["a"],
        ["a", ""],
        ["a", "", "c"],
    ]


@pytest.mark.parametrize("payloads", [[b"{},{}", b"{}"], [b"{", b"}"], [b'{"text":"a', b'b"}']])
def test_one_payload_one_view(payloads):
    """No payload holds two documents, and none half of one, although all together may be a list."""
    assert decode_all(payloads) is None


@pytest.mark.parametrize(
    ("text", "is_opaque", "size"),
    [("abc", False, 3), ("", False, 0), ("abc", True, 3), ("", True, 5), ("x" * 99, True, 5), (None, True, 5)],
)
def test_frames(text, is_opaque, size):
    """A view counts with its output; an opaque one with what can be read, never over its size, or else whole."""
    view = None if text is None else Word(text)
    frame = frame_of(b"12345", view, lambda word: len(word.text), is_opaque=is_opaque)
    assert frame == Frame(view, size, is_opaque)
