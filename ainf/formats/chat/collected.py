"""A whole chat answer: what it says, and how it is told of a cap."""

from ainf.formats.base import Answer, EndingStyle
from ainf.formats.chat.frames import cap_fields, cap_reason
from ainf.formats.chat.observe import error_in, note_end, note_head, note_view_usage, read_frame
from ainf.formats.chat.wire import HeadedView, finish_reason_of
from ainf.formats.loose import dump_loosely, load_loosely
from ainf.formats.observe import not_of_format, truncated, unreadable
from ainf.inference.outcome import Outcome

_WHAT = "a chat completion"


class ChatWholeJudge:
    """What the chat format makes of a whole answer."""

    def read(self, body: bytes, answer: Answer) -> int | None:
        """Note what a whole answer says. See ``WholeJudge.read``."""
        view, output_bytes = read_answer(body, answer)
        return None if view is None else output_bytes

    def capped(self, body: bytes, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the body with our finish reason in it. See ``WholeJudge.capped``."""
        document = load_loosely(body)
        assert document is not None, "an ending with an answer, and no answer"
        for choice in document["choices"]:
            if isinstance(choice, dict):
                choice["finish_reason"] = cap_reason(ending)
        return dump_loosely(document | cap_fields(outcome, ending))


def read_answer(body: bytes, answer: Answer) -> tuple[HeadedView | None, int]:
    """Return the view of a whole answer with its visible bytes, and note what it says.

    There is no view where the answer reports an error (``answer.error``).

    Raises:
        UpstreamError: ``upstream_protocol``: empty, or not a chat completion; ``upstream_truncated``: cut, or without
            the evidence of an end.
    """
    frame = read_frame(body)
    view = frame.view
    if view is None:
        raise unreadable(body, _WHAT)
    note_head(answer, view)
    note_view_usage(answer, view)
    answer.error = error_in(view)
    if answer.error is not None:
        return None, 0
    if not view.choices:
        raise not_of_format(_WHAT)
    reason = finish_reason_of(view)
    if reason is None:
        raise truncated()
    answer.opaque_frames += frame.is_opaque
    note_end(answer, reason)
    return view, frame.output_bytes
