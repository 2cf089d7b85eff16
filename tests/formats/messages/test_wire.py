import pytest

from ainf.formats.messages.wire import decode_events, read_frame, read_whole, visible_in
from tests.formats.messages.support import NAMES, answer_of, fixture, payloads_of, text, tool_start

HOSTILE = [
    b"null", b"[]", b"7", b'"x"', b"{}", b'{"type":null}', b'{"type":7}', b'{"type":["content_block_delta"]}',
    b'{"type":"content_block_delta"}', b'{"type":"content_block_delta","delta":null,"index":null}',
    b'{"type":"content_block_delta","index":[],"delta":[]}',
    b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":{"a":1}}}',
    b'{"type":"content_block_delta","index":2147483648,"delta":{"type":"text_delta","text":""}}',
    b'{"type":"content_block_delta","index":-1,"delta":{"type":7,"thinking":[]}}',
    b'{"type":"content_block_start","index":"0","content_block":[]}',
    b'{"type":"content_block_start","index":1e400,"content_block":{"type":[]}}',
    b'{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":{},"name":7,"input":[1]}}',
    b'{"type":"content_block_stop","index":{}}', b'{"type":"message_start"}', b'{"type":"message_start","message":[]}',
    b'{"type":"message_start","message":{"id":[],"model":{},"usage":"x"}}',
    b'{"type":"message_delta"}', b'{"type":"message_delta","delta":[],"usage":[]}',
    b'{"type":"message_delta","delta":{"stop_reason":{}},"usage":7}',
    b'{"type":"message_delta","delta":{"stop_reason":""},"usage":{"output_tokens":-1}}',
    b'{"type":"message_delta","delta":{"stop_reason":null},"usage":{"input_tokens":"\\ud83d"}}',
    b"[" * 5000, b'{"type":' + b'{"a":' * 5000, b'{"type":"x","delta":' + b"[" * 99 + b"]" * 99 + b"}",
    b'{"index":' + b"9" * 10_000 + b"}", b'{"type":"content_block_delta","delta":{"text":"\xff\xfe"}}',
    b'{"type":"content_block_delta","delta":{"text":"\\ud83d"}}', b"\xff\xfe\xfd", b'{"type":"ping"}{"type":"ping"}',
]  # fmt: skip
SMALL_HOSTILE = [payload for payload in HOSTILE if len(payload) < 500]


@pytest.mark.parametrize("name", NAMES)
def test_fixtures_are_typed(name):
    """Everything that a provider is known to send fits the typed views, alone and with the others of its read."""
    payloads = payloads_of(fixture(name))
    assert not any(read_frame(payload).is_opaque for payload in payloads)
    assert len(decode_events(payloads)) == len(payloads)


@pytest.mark.parametrize("payload", HOSTILE)
def test_hostile(payload):
    """Whatever a provider sends is a view or opaque, and counts as no more than its bytes."""
    frame = read_frame(payload)
    assert frame.output_bytes <= max(len(payload), 1)
    assert frame.is_opaque or frame.view is not None
    read_whole(payload)


@pytest.mark.parametrize(
    ("payload", "visible"),
    [
        (b'{"type":"content_block_delta","delta":{"text":"Gr\xfc\xdfe"}}', 3 + 2 * 3),
        (b'{"type":"content_block_delta","delta":{"text":"abc","thinking":7}}', 3),
        (b'{"type":"content_block_delta","delta":{"text":"a\\ud83d"}}', 4),
        (b'{"type":"content_block_delta","delta":{"text":"' + b"\xff" * 99 + b'"}}', None),
        (b'{"type":"content_block_delta","delta":{"text":["abc"]}}', None),
        (b'{"type":"content_block_delta","delta":{"text":"abc', None),
    ],
)
def test_opaque_counts_with_what_can_be_read(payload, visible):
    """A frame that is no typed view counts with what can be made out, else with all its bytes."""
    frame = read_frame(payload)
    assert (frame.output_bytes, frame.is_opaque) == (len(payload) if visible is None else visible, True)


@pytest.mark.parametrize(
    ("event", "visible"),
    [
        (text("héllo"), 6),
        (tool_start(0, "toolu_1", "find"), 4),
        (tool_start(0, "toolu_1", "find", input={"a": 1}), 4 + len('{"a": 1}')),
        (tool_start(0, "toolu_1", "find", input=None), 4),
    ],
)
def test_visible(event, visible):
    """Text, a tool's name and its input are visible; ids are not."""
    assert visible_in(payloads_of(event)[0]) == visible


def test_two_documents_in_one_payload():
    """Payloads that hold more or less than one document are not decoded together."""
    assert decode_events([b'{"type":"ping"},{"type":"ping"}', b'{"type":"ping"}']) is None
    assert decode_events([b'{"type":"ping"', b'"index":0}']) is None


def test_whole():
    """A whole answer keeps the digits of a tool's input."""
    body = answer_of().replace(b'{"type": "text", "text": "Hi"}', b'{"type":"tool_use","input":{"a": 1.00}}')
    view, is_opaque = read_whole(body)
    assert (bytes(view.content[0].input), is_opaque) == (b'{"a": 1.00}', False)
    view, is_opaque = read_whole(answer_of([7, None, {"type": "text", "text": 7}, {"type": "text", "text": "a"}]))
    assert ([block.text for block in view.content], is_opaque) == ([None, "a"], True)
