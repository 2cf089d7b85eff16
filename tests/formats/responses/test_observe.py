import pytest

from ainf.formats.base import Answer
from ainf.formats.responses.observe import (
    error_in,
    failure_of,
    kind_of,
    note_end,
    note_response,
    read_frame,
    visible_in,
)
from ainf.formats.responses.wire import COMPLETED, FAILED, INCOMPLETE, view_of
from ainf.inference.events import FinishReason
from ainf.inference.usage import Usage
from tests.formats.responses.support import WIRE_USAGE, call, response


@pytest.mark.parametrize(
    ("payload", "size", "is_opaque"),
    [
        (b'{"type":"response.output_text.delta","delta":"ab"}', 2, False),
        (b'{"type":"response.output_text.delta","delta":"\xff\xff"}', 6, True),
        (b'{"type":"response.output_text.done","output_index":"x"}', 55, True),
        (b"{", 1, True),
    ],
)
def test_frames(payload, size, is_opaque):
    """What cannot be decoded counts with what can be read of it, or whole."""
    frame = read_frame(payload)
    assert (frame.output_bytes, frame.is_opaque) == (size, is_opaque)
    assert visible_in(payload) == size


def test_heads_and_usage():
    """The first names stand, the last usage does; what is no object says nothing."""
    answer = Answer()
    for document in (None, 7, response(), response(usage=WIRE_USAGE, id="resp_2")):
        note_response(answer, document)
    assert (answer.response_id, answer.model, answer.created) == ("resp_1", "m-1", 1700000000)
    assert answer.usage == Usage(5, 0, 3)


@pytest.mark.parametrize(
    ("kind", "document", "has_calls", "raw", "finish"),
    [
        (COMPLETED, response("completed"), False, "completed", FinishReason.STOP),
        (COMPLETED, None, True, "completed", FinishReason.TOOL_CALLS),
        (COMPLETED, response(output=[call()]), False, "completed", FinishReason.TOOL_CALLS),
        (COMPLETED, response(output=[{"type": []}, 7]), False, "completed", FinishReason.STOP),
        (INCOMPLETE, response(incomplete_details={"reason": "max_output_tokens"}), True, "incomplete:max_output_tokens",
         FinishReason.LENGTH),
        (INCOMPLETE, response(incomplete_details={"reason": "content_filter"}), False, "incomplete:content_filter",
         FinishReason.CONTENT_FILTER),
        (INCOMPLETE, response(incomplete_details={"reason": 7}), False, "incomplete", FinishReason.OTHER),
        (INCOMPLETE, None, False, "incomplete", FinishReason.OTHER),
    ],
)  # fmt: skip
def test_ends(kind, document, has_calls, raw, finish):
    """The evidence of an end is kept in the provider's words and ours."""
    answer = Answer()
    note_end(answer, kind, document, has_calls=has_calls)
    assert (answer.raw_finish_reason, answer.finish) == (raw, finish)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("completed", COMPLETED),
        ("incomplete", INCOMPLETE),
        ("failed", FAILED),
        ("queued", None),
        (None, None),
        ([], None),
    ],
)
def test_kinds_of_whole_answers(status, kind):
    """A whole answer's status is its end, or none."""
    assert kind_of({"status": status}) == kind


@pytest.mark.parametrize(
    ("document", "is_named", "code"),
    [
        ({"type": "response.failed", "response": {"error": {"code": "rate_limit_exceeded"}}}, False,
         "upstream_overloaded"),
        ({"type": "error", "code": "insufficient_quota"}, False, "upstream_auth"),
        ({"type": "error", "error": {"type": "overloaded_error"}}, True, "upstream_overloaded"),
        ({"error": "no"}, False, "upstream_error"),
        ({}, True, "upstream_error"),
        ({}, False, None),
        ({"type": "response.output_text.delta", "error": {"code": "x"}}, True, None),
    ],
)  # fmt: skip
def test_errors(document, is_named, code):
    """An error is known by its type, its name, or its object."""
    error = error_in(view_of(document), is_named=is_named)
    assert (None if error is None else error.code) == code


@pytest.mark.parametrize("document", [None, {}, {"error": None}])
def test_failures_without_a_word(document):
    """A response that failed without a reason failed."""
    assert failure_of(document).code == "upstream_error"
