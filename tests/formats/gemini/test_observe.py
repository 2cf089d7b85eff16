import json

import pytest

from ainf.formats.base import Answer
from ainf.formats.gemini.observe import (
    FINISH_REASONS,
    error_in,
    has_calls,
    note_end,
    note_head,
    note_view_usage,
    read_frame,
)
from ainf.formats.gemini.wire import AnswerView, decode_view
from ainf.inference.events import FinishReason
from ainf.inference.usage import Usage
from tests.formats.gemini.support import WIRE_USAGE, document_of


def view_of(document):
    view = decode_view(json.dumps(document).encode())
    assert view is not None
    return view


@pytest.mark.parametrize(
    ("payload", "size", "is_opaque"),
    [
        (b'{"candidates":[{"content":{"parts":[{"text":"abc"},{"text":"d","thought":true}]}}]}', 4, False),
        (b'{"candidates":[{"content":{"parts":[{"text":"ab\xff"}]}}]}', 2 + 3, True),
        (b'{"candidates":[{"content":{"parts":[{"text":"ab","thoughtSignature":7}]}}]}', 2, True),
        (b'{"candidates":[{"content":{"parts":{"text":"ab"}}}]}', 52, True),
        (b"{broken", 7, True),
        (b"[1]", 3, True),
    ],
)
def test_frame(payload, size, is_opaque):
    """What fits counts with its text; what does not, with what can be read of it, else with all its bytes."""
    frame = read_frame(payload)
    assert (frame.output_bytes, frame.is_opaque) == (size, is_opaque)


@pytest.mark.parametrize(
    ("reason", "has_called", "finish"),
    [
        ("STOP", False, FinishReason.STOP),
        ("STOP", True, FinishReason.TOOL_CALLS),
        ("MAX_TOKENS", True, FinishReason.LENGTH),
        *((reason, False, FinishReason.CONTENT_FILTER) for reason in (
            "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "MODEL_ARMOR",
        )),
        *((reason, False, FinishReason.OTHER) for reason in (
            "OTHER", "LANGUAGE", "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "A_NEW_ONE", "stop",
        )),
    ],
)  # fmt: skip
def test_ends(reason, has_called, finish):
    """Each reason has its word; what is not known is never a stop."""
    answer = Answer()
    assert note_end(answer, view_of(document_of(finish=reason)), has_called=has_called)
    assert (answer.raw_finish_reason, answer.finish) == (reason, finish)


def test_every_reason_is_the_sdks():
    """The table names only words that Google's types know."""
    from google.genai.types import FinishReason as Theirs

    assert FINISH_REASONS.keys() <= {reason.value for reason in Theirs}


def test_blocked_prompt():
    """A blocked prompt is an end, and says so."""
    answer = Answer()
    assert note_end(answer, view_of({"promptFeedback": {"blockReason": "JAILBREAK"}}), has_called=False)
    assert (answer.raw_finish_reason, answer.finish) == ("promptFeedback:JAILBREAK", FinishReason.CONTENT_FILTER)


def test_no_end():
    """Neither a chunk without a reason nor feedback beside a candidate is an end."""
    answer = Answer()
    for document in (document_of({"text": "a"}), document_of({"text": "a"}, promptFeedback={"blockReason": "SAFETY"})):
        assert not note_end(answer, view_of(document), has_called=True)
    assert answer == Answer()


def test_head_and_usage():
    """The first names stand, the last usage does; one that cannot be true is flagged and changes nothing."""
    answer = Answer()
    for number in (1, 2):
        view = view_of(
            document_of(usageMetadata=WIRE_USAGE | {"candidatesTokenCount": number}, responseId=f"r{number}")
        )
        note_head(answer, view)
        assert note_view_usage(answer, view)
    assert not note_view_usage(answer, view_of(document_of()))
    assert not note_view_usage(answer, view_of(document_of(usageMetadata={"promptTokenCount": -1})))
    assert (answer.response_id, answer.model) == ("r1", "m-1")
    assert (answer.usage, answer.is_usage_rejected) == (Usage(5, 0, 3, 1), True)


def test_calls():
    """A call is found in any candidate's content."""
    assert has_calls(view_of(document_of({"text": "a"}, {"functionCall": {"name": "f"}})))
    assert not has_calls(view_of(document_of({"text": "a"})))


def test_errors():
    """An error is what stands in ``error`` or under an event's name; nothing of its host is told."""
    assert error_in(view_of(document_of({"text": "a"}))) is None
    assert error_in(AnswerView(), is_named=True) is not None
    error = error_in(view_of({"error": {"code": 429, "message": "at 10.0.0.7", "status": "RESOURCE_EXHAUSTED"}}))
    assert error is not None
    assert error.code == "upstream_overloaded"
    assert "10.0.0.7" not in error.message
