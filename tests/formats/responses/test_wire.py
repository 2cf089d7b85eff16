import pytest

from ainf.formats.responses.wire import (
    DELTAS,
    REFUSAL,
    SUMMARY,
    TEXT,
    decode_deltas,
    decode_event,
    delta_text,
    item_bytes,
    output_of,
    read_part,
    texts_of,
    view_bytes,
    view_of,
    word_of,
)
from tests.formats.responses.support import call, message


def test_kinds():
    """The words of a kind of part are those of the wire."""
    assert sorted(DELTAS) == [
        "response.custom_tool_call_input.delta",
        "response.function_call_arguments.delta",
        "response.output_text.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta",
        "response.refusal.delta",
    ]
    assert (TEXT.index_field, SUMMARY.index_field) == ("content_index", "summary_index")
    assert REFUSAL.part_of("no") == {"type": "refusal", "refusal": "no"}


@pytest.mark.parametrize("payloads", [[b"{}", b"{},{}"], [b"{", b"}"], [b"7"], [b'{"type": 7}'], [b"[" * 9000]])
def test_deltas_that_do_not_fit(payloads):
    """A payload that is not one object makes the whole read one that is looked at event by event."""
    assert decode_deltas(payloads) is None


def test_deltas():
    """All payloads of a read are decoded at once."""
    views = decode_deltas([b'{"type":"a.delta","delta":"x"}', b'{"type":"b","delta":"x"}', b'{"delta":{"a":1}}'])
    assert [delta_text(view) for view in views] == ["x", None, None]


@pytest.mark.parametrize(
    ("payload", "found"),
    [
        (b'{"type":"x","output_index":3}', ("x", 3, False)),
        (b'{"type":"x","output_index":"3"}', ("x", 0, True)),
        (b'{"type":7,"output_index":true}', ("", 0, True)),
        (b'{"type":"\xff"}', ("�", 0, True)),
        (b'{"type":"x","delta":"\\ud83d"}', ("x", 0, True)),
    ],
)
def test_decoding(payload, found):
    """What does not fit is read loosely: fields of a wrong type count as absent."""
    view, is_opaque = decode_event(payload)
    assert (view.type, view.output_index, is_opaque) == found


@pytest.mark.parametrize("payload", [b"{", b"7", b"null", b"\xff", b"[" * 100_000])
def test_no_object(payload):
    """What is no JSON object has no view."""
    assert decode_event(payload) == (None, True)


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ({"type": "output_text", "text": "a"}, (TEXT, "a")),
        ({"type": "refusal", "text": "a"}, (REFUSAL, "")),
        ({"type": "summary_text", "text": 7}, (SUMMARY, "")),
        ({"type": []}, None),
        ({"type": "audio"}, None),
        (7, None),
    ],
)
def test_parts(part, found):
    """A part is read by its type."""
    assert read_part(part) == found


def test_items():
    """An item's texts and name are its visible output."""
    assert texts_of(message("Hé")) == [(TEXT, 0, "Hé")]
    assert item_bytes(message("Hé")) == 3
    assert item_bytes(call('{"a":1}', name="größe")) == 7 + 7
    assert item_bytes(call({"a": 1})) == 1 + 7
    assert [item_bytes(odd) for odd in (None, [], {"content": 7}, {"name": 7}, {"content": [message()]})] == [0] * 5


@pytest.mark.parametrize(
    ("document", "size"),
    [
        ({"type": "response.output_text.delta", "delta": "é"}, 2),
        ({"type": "response.output_text.done", "text": "é"}, 0),
        ({"type": "response.output_item.added", "item": call("")}, 1),
        ({"type": "response.output_item.done", "item": call("")}, 0),
        ({"type": "response.content_part.added", "part": {"type": "output_text", "text": "ab"}}, 2),
        ({"type": "response.content_part.added", "part": 7}, 0),
        ({"type": "response.content_part.done", "part": {"type": "output_text", "text": "ab"}}, 0),
        ({"type": "response.completed", "response": {"output": [message()]}}, 0),
    ],
)
def test_visible(document, size):
    """Output counts where it is brought, not where it is repeated."""
    assert view_bytes(view_of(document)) == size


def test_loose_values():
    """Values of a wrong type say nothing, and what is said can be encoded."""
    assert output_of({"output": [1, {"a": 1}]}) == [{}, {"a": 1}]
    assert [output_of(odd) for odd in (None, {}, {"output": 7})] == [[], [], []]
    assert [word_of(odd, "a") for odd in (None, {"a": 7}, {"a": "\ud800"})] == [None, None, "�"]
