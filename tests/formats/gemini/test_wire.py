import json

import pytest

from ainf.formats.gemini.wire import (
    FunctionCallView,
    args_text,
    block_reason_of,
    decode_loosely,
    decode_view,
    decode_views,
    finish_reason_of,
    load_documents,
    usage_of,
    view_bytes,
)
from ainf.inference.errors import UpstreamError
from tests.formats.gemini.support import document_of

HOSTILE = [
    None, True, 7, 1.5, "x", [], {}, [[]], [None], [7], ["x"], [{}], {"parts": 7}, {"parts": [7, None, "x", []]},
    {"parts": [{"text": 7, "functionCall": [], "executableCode": "x", "thought": {}, "thoughtSignature": 7}]},
    {"parts": [{"functionCall": {"id": 1, "name": [], "args": "x", "partialArgs": 1, "willContinue": []}}]},
    {"parts": [{"executableCode": {"code": 7}}]},
]  # fmt: skip


def encoded(document):
    return json.dumps(document).encode()


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    "name", ["candidates", "promptFeedback", "usageMetadata", "error", "responseId", "modelVersion"]
)
def test_wrong_types_count_as_absent(name, value):
    """Whatever stands in a field, every question about a view has an answer."""
    for told in (value, [{"content": value, "finishReason": value}], {"blockReason": value}):
        for view in (decode_loosely(encoded({name: told})), decode_view(encoded({name: told}))):
            if view is not None:
                assert view_bytes(view) >= 0
                assert finish_reason_of(view) is None or value == "x"
                assert block_reason_of(view) is None or value == "x"
                assert usage_of(view) is None


def test_loose_view_reads_what_it_can():
    """A view that is read loosely says the same as a typed one, wherever the types fit."""
    document = document_of(
        {"text": "a", "thought": True, "thoughtSignature": "s"},
        {"functionCall": {"id": "i", "name": "f", "args": {"x": 1}}},
        {"executableCode": {"code": "print()", "language": "PYTHON"}},
        {"inlineData": {"mimeType": "image/png", "data": "AA=="}},
        finish="STOP",
        usageMetadata={"promptTokenCount": 1},
        promptFeedback={"blockReason": "SAFETY"},
    )
    typed, loose = decode_view(encoded(document)), decode_loosely(encoded(document))
    assert typed is not None
    assert loose == typed
    assert view_bytes(typed) == len("a" + "f" + '{"x":1}' + "print()")


@pytest.mark.parametrize("payloads", [[b"{}", b"{},{}"], [b"{}", b"7"], [b"{", b"}"], [b"[]", b"{}"], [b"{}{}"]])
def test_views_are_as_many_as_payloads(payloads):
    """A payload of two documents, or of half of one, is found though all payloads are decoded at once."""
    assert decode_views(payloads) is None


def test_views():
    """All payloads of a read come from one decode."""
    views = decode_views([encoded(document_of({"text": word})) for word in ("a", "bc")])
    assert [view_bytes(view) for view in views or ()] == [1, 2]


@pytest.mark.parametrize(
    ("body", "count"),
    [(b"{}", 1), (b"[{}]", 1), (b"[{},{}]", 2), (b"[]", 0), (b"[7]", None), (b"7", None), (b"{", None), (b"", None),
     (b"[" * 100_000, None), (b'{"a":' * 100_000, None), (b"\xff", None)],
)  # fmt: skip
def test_documents(body, count):
    """A body is one object or an array of them, however deep the nonsense is."""
    documents = load_documents(body)
    assert (None if documents is None else len(documents)) == count


def test_only_errors_are_read_from_an_array_in_a_stream():
    """An array that reports an error is read by it; any other array of several is no chunk."""
    view = decode_loosely(b'[{"a":1},{"error":{"code":500}}]')
    assert view is not None
    assert view.error == {"code": 500}
    assert decode_loosely(b"[{},{}]") is None


@pytest.mark.parametrize(
    ("reason", "found"),
    [("STOP", "STOP"), ("", None), (None, None), ("FINISH_REASON_UNSPECIFIED", None), ("NEW_WORD", "NEW_WORD")],
)
def test_finish_reason(reason, found):
    """A finish reason is evidence unless it says that it is none."""
    view = decode_view(encoded(document_of(finish=reason)))
    assert view is not None
    assert finish_reason_of(view) == found


@pytest.mark.parametrize(
    ("reason", "candidates", "found"),
    [("SAFETY", [], "SAFETY"), ("SAFETY", None, "SAFETY"), ("BLOCKED_REASON_UNSPECIFIED", [], None), ("", [], None),
     ("SAFETY", [{"index": 0}], None)],
)  # fmt: skip
def test_block_reason(reason, candidates, found):
    """A prompt was blocked where a reason stands and no candidate."""
    view = decode_view(encoded({"promptFeedback": {"blockReason": reason}, "candidates": candidates}))
    assert view is not None
    assert block_reason_of(view) == found


def test_usage_without_counts_is_none():
    """Vertex AI's chunks carry a usage object that counts nothing."""
    view = decode_view(b'{"usageMetadata":{"trafficType":"ON_DEMAND"}}')
    assert view is not None
    assert usage_of(view) is None


@pytest.mark.parametrize(
    ("args", "found"),
    [(None, "{}"), ({}, "{}"), ({"a": [1, None, "ü"]}, '{"a":[1,null,"ü"]}'), ({"a": "\ud800"}, '{"a":"\ufffd"}'),
     ({"a": "\ud83d\ude00"}, '{"a":"\U0001f600"}'), ({"a": 10**30}, '{"a":' + "1" + "0" * 30 + "}")],
)  # fmt: skip
def test_arguments(args, found):
    """Arguments become compact JSON text that can be encoded."""
    assert args_text(FunctionCallView(args=args)) == found


def test_deep_arguments():
    """Arguments that are too deep to be written end the answer as one that is not of the format."""
    args: dict = {}
    for _ in range(20_000):
        args = {"a": args}
    with pytest.raises(UpstreamError, match="upstream_protocol"):
        args_text(FunctionCallView(args=args))
    while args:  # taken apart by hand: freeing it at once is as deep
        args = args["a"]
