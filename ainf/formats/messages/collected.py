"""A whole Messages answer: what it says, and how it is told of a cap."""

from ainf.formats.base import Answer, EndingStyle
from ainf.formats.errors import in_band_error
from ainf.formats.loose import dump_loosely, load_loosely
from ainf.formats.messages.frames import cap_reason, ending_document
from ainf.formats.messages.observe import note_end
from ainf.formats.messages.usage import read_usage
from ainf.formats.messages.wire import AnswerView, block_bytes, read_whole
from ainf.formats.observe import not_of_format, note_names, note_usage, truncated, unreadable
from ainf.inference.outcome import Outcome

_WHAT = "a message"


class MessagesWholeJudge:
    """What the Messages format makes of a whole answer."""

    def read(self, body: bytes, answer: Answer) -> int | None:
        """Note what a whole answer says. See ``WholeJudge.read``."""
        view, output_bytes = read_answer(body, answer)
        return None if view is None else output_bytes

    def capped(self, body: bytes, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the body with our stop reason in it. See ``WholeJudge.capped``."""
        document = load_loosely(body)
        assert document is not None, "an ending with an answer, and no answer"
        said = {"stop_reason": cap_reason(ending), "stop_sequence": None}
        return dump_loosely(document | said | loud_fields(outcome, ending))


def loud_fields(outcome: Outcome, style: EndingStyle) -> dict[str, object]:
    """Return what stands beside the stop reason of a cap: the error object, for clients that are told loudly."""
    return {"error": ending_document(outcome, style)["error"]} if style.finish_reasons == "loud" else {}


def read_answer(body: bytes, answer: Answer) -> tuple[AnswerView | None, int]:
    """Return the view of a whole answer with its visible bytes, and note what it says.

    There is no view where the answer reports an error (``answer.error``).

    Raises:
        UpstreamError: ``upstream_protocol``: empty, or not a message; ``upstream_truncated``: cut, or without the
            evidence of an end.
    """
    view, is_opaque = read_whole(body)
    if view is None:
        raise unreadable(body, _WHAT)
    note_names(answer, view.id, view.model)
    if view.usage is not None:
        note_usage(answer, view.usage, read_usage(view.usage))
    if view.error or view.type == "error":
        answer.error = in_band_error(view.error or {})
        return None, 0
    if view.content is None:
        raise not_of_format(_WHAT)
    if not view.stop_reason:
        raise truncated()
    readable = min(sum(map(block_bytes, view.content)), len(body))
    answer.opaque_frames += is_opaque
    note_end(answer, view.stop_reason)
    return view, readable or (len(body) if is_opaque else 0)
