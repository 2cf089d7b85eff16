import pytest

from ainf.formats.base import Answer
from ainf.formats.messages.observe import MessageNotes, error_in, note_end, stop_reason_of
from ainf.formats.messages.wire import read_frame
from ainf.inference.events import FinishReason
from ainf.inference.usage import Usage
from tests.formats.messages.support import event, finish, payloads_of, start, text


def view_of(frame):
    return read_frame(payloads_of(frame)[0]).view


@pytest.mark.parametrize(
    ("raw", "ours"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("tool_use", FinishReason.TOOL_CALLS),
        ("refusal", FinishReason.CONTENT_FILTER),
        ("pause_turn", FinishReason.OTHER),
        ("compaction", FinishReason.OTHER),
        ("stop", FinishReason.OTHER),
    ],
)
def test_stop_reasons(raw, ours):
    """Each stop reason has its meaning; an unknown one is never a normal end."""
    answer = Answer()
    note_end(answer, raw)
    assert (answer.raw_finish_reason, answer.finish) == (raw, ours)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (finish("max_tokens"), "max_tokens"),
        (finish(None), None),
        (finish(""), None),
        (event("message_delta"), None),
        (event("content_block_delta", delta={"stop_reason": "end_turn"}), None),
        (start(stop_reason="end_turn"), None),
        (event("message_stop"), None),
    ],
)
def test_evidence(frame, reason):
    """Only a message_delta with a stop reason is evidence of an end."""
    assert stop_reason_of(view_of(frame)) == reason


@pytest.mark.parametrize(
    ("frame", "name", "code"),
    [
        (event("error", error={"type": "overloaded_error", "message": "x"}), b"message", "upstream_overloaded"),
        (event("error", error={"type": "rate_limit_error", "message": "x"}), b"error", "upstream_overloaded"),
        (event("error", error={"type": "authentication_error"}), b"error", "upstream_auth"),
        (event("error", error={"type": "permission_error"}), b"error", "upstream_auth"),
        (event("error", error={"type": "api_error", "message": "secret host"}), b"error", "upstream_error"),
        (event("error"), b"error", "upstream_error"),
        (event("error", error="text"), b"error", "upstream_error"),
        (text("a"), b"error", "upstream_error"),
        (text("a"), b"content_block_delta", None),
        (event("message_delta", error=None), b"message", None),
    ],
)  # fmt: skip
def test_errors(frame, name, code):
    """An error is known by the event's name or its type, and told in our own words."""
    error = error_in(view_of(frame), name)
    assert (error and error.code) == code
    assert "secret" not in str(error)


def test_error_without_json():
    """An error event is an error whatever it holds."""
    assert error_in(None, b"error").code == "upstream_error"
    assert error_in(None, b"message") is None


def test_error_without_a_type():
    """An ``error`` in an event of no type is one too; null, and one beside a type, say nothing."""
    assert error_in(read_frame(b'{"error":{"message":"x"}}').view, b"message").code == "upstream_error"
    assert error_in(read_frame(b'{"error":null}').view, b"message") is None
    assert error_in(read_frame(b'{"type":"ping","error":"x"}').view, b"message") is None


def test_notes():
    """The input is known from the start, the output from the end; what cannot be true is not told."""
    answer = Answer()
    notes = MessageNotes(answer)
    assert notes.take(view_of(start({"input_tokens": 9, "cache_read_input_tokens": 1, "output_tokens": 2})))
    assert (answer.response_id, answer.model, answer.usage) == ("msg_1", "m-1", Usage(10, 1, 2))
    assert not notes.take(view_of(text("a")))
    assert not notes.take(view_of(event("message_delta", delta={})))
    assert answer.is_usage_partial
    assert notes.take(view_of(finish(usage={"output_tokens": 0})))
    assert answer.is_usage_partial, "nothing was counted yet"
    assert notes.take(view_of(finish(usage={"output_tokens": 40})))
    assert answer.usage == Usage(10, 1, 40)
    assert not answer.is_usage_partial
    assert not notes.take(view_of(finish(usage={"output_tokens": -1})))
    assert answer.is_usage_rejected
    assert answer.usage == Usage(10, 1, 40)
