import pytest

from ainf.formats.chat.wire import (
    decode_loosely,
    decode_view,
    decode_views,
    finish_reason_of,
    is_usage_only,
    usage_of,
    view_bytes,
)

PLAIN = b'{"id":"c","model":"m","choices":[{"delta":{"content":"ab"}}]}'


def test_all_at_once():
    """The payloads of one read are decoded together, in order."""
    views = decode_views([PLAIN, b"{}", PLAIN])
    assert [view_bytes(view) for view in views] == [2, 0, 2]


@pytest.mark.parametrize(
    "payloads", [[b"{}", b"7"], [b"{},{}"], [b"{}", b""], [b'{"a":[1', b"2]}"], [b"[DONE]"], [b"[" * 5000]]
)
def test_one_misfit_spoils_the_read(payloads):
    """A payload that is no object, or not exactly one, is left to be looked at alone."""
    assert decode_views(payloads) is None


def test_loose():
    """Fields of a wrong type count as absent, broken text is replaced, the rest is read."""
    view = decode_loosely(
        b'{"id":7,"choices":[3,{"finish_reason":"stop","delta":{"content":"\xff\\ud83d","tool_calls":[1,'
        b'{"function":{"name":5,"arguments":{"a":1}}},{"custom":{"input":"x"}}],"function_call":[]}}],"usage":{"a":1}}'
    )
    (choice,) = view.choices
    assert choice.delta.content == "\ufffd\ud83d"
    assert [call.function and call.function.arguments for call in choice.delta.tool_calls] == ['{"a":1}', None]
    assert (finish_reason_of(view), usage_of(view), view.id) == ("stop", {"a": 1}, 7)
    assert view_bytes(view) == 3 + 3 + 7 + 1
    assert decode_loosely(b"[]") is None
    assert decode_loosely(b"{") is None


@pytest.mark.parametrize(
    ("payload", "is_only"),
    [(b'{"choices":[],"usage":{}}', True), (b'{"usage":{}}', True), (b'{"choices":[{}],"usage":{}}', False),
     (b'{"choices":[],"usage":null}', False), (b'{"choices":[],"usage":[1]}', False)],
)  # fmt: skip
def test_usage_only(payload, is_only):
    """A usage-only chunk has a usage object and no choice."""
    assert is_usage_only(decode_view(payload)) is is_only
