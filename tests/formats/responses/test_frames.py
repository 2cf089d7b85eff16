import pytest
from openai.types.responses import Response

from ainf.formats.base import Answer
from ainf.formats.endings import CAP_CODE
from ainf.formats.responses.frames import (
    End,
    base_object,
    broken_end,
    closing_events,
    event_frame,
    first_object,
    reached_end,
)
from ainf.formats.responses.transcript import Transcript
from ainf.formats.responses.wire import COMPLETED, FAILED, INCOMPLETE, view_of
from ainf.inference.events import FinishReason, MessageEnd
from tests.formats.responses.support import BROKEN, CAPPED, call, documents, listener, message, response, style


def test_event_frame():
    """An event is named by its type, and what cannot be encoded is escaped."""
    assert event_frame("x", 3, a="\ud800") == b'event: x\ndata: {"type":"x","sequence_number":3,"a":"\\ud800"}\n\n'


def test_first_object():
    """A response object that we make is valid; names are ours where the format is another's."""
    answer = Answer(response_id="resp_9", model="m-9", created=17)
    ours = first_object(listener(metadata={"a": "b"}), answer, is_translated=True)
    theirs = first_object(listener(), answer, is_translated=False)
    assert Response.model_validate(ours).metadata == {"a": "b"}
    assert [(each["id"], each["model"], each["created_at"]) for each in (ours, theirs)] == [
        ("resp_inf1", "asked-for", 17),
        ("resp_9", "m-9", 17),
    ]


@pytest.mark.parametrize("base", [{}, response(), response("in_progress", [message()], instructions="Be.")])
def test_base_object(base):
    """What is known of a relayed answer's beginning is repeated; the rest is made valid."""
    made = base_object(base, Answer(), style())
    assert Response.model_validate(made).output == []
    assert made["id"] == base.get("id", "resp_inf1")
    assert made["instructions"] == base.get("instructions")


@pytest.mark.parametrize(
    ("end", "is_translated", "found"),
    [
        (MessageEnd(FinishReason.STOP, "end_turn"), True, End(COMPLETED)),
        (MessageEnd(FinishReason.TOOL_CALLS, "completed"), False, End(COMPLETED)),
        (MessageEnd(FinishReason.LENGTH, "max_tokens"), True, End(INCOMPLETE, "max_output_tokens")),
        (MessageEnd(FinishReason.OTHER, "incomplete:steered"), True, End(INCOMPLETE, "other")),
        (MessageEnd(FinishReason.OTHER, "incomplete:steered"), False, End(INCOMPLETE, "steered")),
        (MessageEnd(FinishReason.OTHER, "incomplete"), False, End(INCOMPLETE, "other")),
    ],
)
def test_reached_end(end, is_translated, found):
    """An end is told in this format's words, or in the provider's own."""
    assert reached_end(end, is_translated=is_translated) == found


@pytest.mark.parametrize(
    ("finish_reasons", "kind", "reason"),
    [("extended", INCOMPLETE, CAP_CODE), ("strict", INCOMPLETE, "max_output_tokens"), ("loud", FAILED, None)],
)
def test_broken_end(finish_reasons, kind, reason):
    """A cap is told by the setting; a failure always fails."""
    capped = broken_end(CAPPED, style(finish_reasons))
    assert (capped.kind, capped.reason, capped.error is None) == (kind, reason, kind == INCOMPLETE)
    failed = broken_end(BROKEN, style(finish_reasons))
    assert (failed.kind, failed.error["code"], failed.error["billed"]) == (FAILED, "upstream_truncated", "0.002")


@pytest.mark.parametrize("is_whole", [True, False])
def test_closing_events(is_whole):
    """What is open is ended once; a call that is cut is not said to be done with its arguments."""
    transcript = Transcript(1 << 16)
    transcript.take(view_of({"type": "response.output_item.added", "item": call("")}), 1)
    transcript.say(view_of({"type": "response.function_call_arguments.delta"}), "{}")
    kinds = [kind for kind, _ in closing_events(transcript.item(0), is_whole=is_whole)]
    done = ["response.function_call_arguments.done"] if is_whole else []
    assert kinds == [*done, "response.output_item.done"]
    frames = b"".join(event_frame(kind, 0, **said) for kind, said in closing_events(transcript.item(0), is_whole=True))
    assert documents(frames)[-1]["item"]["arguments"] == "{}"
