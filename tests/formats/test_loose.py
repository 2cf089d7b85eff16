import math

import pytest

from ainf.formats.loose import clean, dump_loosely, is_cut, load_loosely, text_bytes, text_or_none


@pytest.mark.parametrize(
    ("payload", "document"),
    [
        (b'{"a":"\xff"}', {"a": "\ufffd"}),
        (b'{"a":"\\ud83d"}', {"a": "\ud83d"}),
        (b'{"a":-Infinity}', {"a": -math.inf}),
        (b'{"a":1e999}', {"a": math.inf}),
        (b"[]", None),
        (b"7", None),
        (b"{", None),
        (b"[" * 5000, None),
        (b'{"x":' + b"9" * 10_000 + b"}", None),
    ],
)
def test_load(payload, document):
    """Broken text is replaced, what is no JSON number stays one that is none, and what is no object at all is None."""
    assert load_loosely(payload) == document


def test_dump_writes_what_was_loaded():
    """A lone surrogate goes back as the escape that it was; all else as plain JSON."""
    assert dump_loosely({"a": "ü"}) == '{"a":"ü"}'.encode()
    assert dump_loosely({"a": "x\ud83d"}) == b'{"a":"x\\ud83d"}'


@pytest.mark.threat(3)
@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e999999999"])
def test_what_is_no_number_is_never_written(number):
    """Not even beside text that only the other writer can write."""
    document = load_loosely(b'{"a": %b, "b": "\\ud83d", "c": 1.5}' % number)
    assert dump_loosely(document) == b'{"a":null,"b":"\\ud83d","c":1.5}'


@pytest.mark.parametrize(("text", "size"), [(None, 0), ("", 0), ("ab", 2), ("ü", 2), ("\U0001f600", 4), ("\ud83d", 3)])
def test_text_bytes(text, size):
    """Text counts by its UTF-8 bytes, half a pair of surrogates too."""
    assert text_bytes(text) == size


def test_only_text_is_text():
    """A value of another type counts as absent."""
    assert [text_or_none(value) for value in ("a", 7, None, ["a"])] == ["a", None, None, None]


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [("ab", "ab"), ("ü\u2028", "ü\u2028"), ("\ud83d\ude00", "\U0001f600"), ("a\ud83db", "a\ufffdb")],
)
def test_clean(text, cleaned):
    """Pairs of surrogates are joined, lone ones replaced, so that all text can be encoded."""
    assert clean(text) == cleaned
    assert clean(text).encode()


@pytest.mark.parametrize(
    ("body", "cut"),
    [(b'{"a":', True), (b' \n{"a":"b', True), (b"{}", False), (b"[1,", False), (b"{oops", False), (b"[" * 5000, False)],
)
def test_is_cut(body, cut):
    """The beginning of a JSON object is told from what never was one."""
    assert is_cut(body) is cut
