"""A whole Gemini answer: what it says, and how it is told of a cap."""

from typing import Any

import msgspec

from ainf.formats.base import Answer, EndingStyle
from ainf.formats.gemini.frames import cap_fields, cap_reason
from ainf.formats.gemini.observe import error_in, has_calls, note_end, note_head, note_view_usage
from ainf.formats.gemini.wire import AnswerView, decode_view, load_documents, loose_view, view_bytes
from ainf.formats.loose import dump_loosely
from ainf.formats.observe import not_of_format, truncated, unreadable
from ainf.inference.outcome import Outcome

_WHAT = "a generated content"


class GeminiWholeJudge:
    """What the Gemini format makes of a whole answer."""

    def read(self, body: bytes, answer: Answer) -> int | None:
        """Note what a whole answer says. See ``WholeJudge.read``."""
        views, output_bytes = read_answer(body, answer)
        return output_bytes if views else None

    def capped(self, body: bytes, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the body with our finish reason in it. See ``WholeJudge.capped``."""
        documents = load_documents(body)
        assert documents, "an ending with an answer, and no answer"
        for document in documents:
            _cap(document, cap_reason(ending))
        documents[-1] = cap_fields(outcome, ending) | documents[-1]
        written = [dump_loosely(document) for document in documents]
        return b"[" + b",".join(written) + b"]" if body.lstrip().startswith(b"[") else written[0]


def read_answer(body: bytes, answer: Answer) -> tuple[list[AnswerView], int]:
    """Return the views of a whole answer with their visible bytes, and note what they say.

    It is one object, or an array of chunks up to that with the evidence of the end; of those behind it only the usage
    counts. There is no view where the answer reports an error (``answer.error``).

    Raises:
        UpstreamError: ``upstream_protocol``: empty, or not of the format; ``upstream_truncated``: cut, or without the
            evidence of an end.
    """
    views, is_opaque = _views_of(body)
    if views is None:
        raise unreadable(body, _WHAT)
    output_bytes, has_called = 0, False
    for number, view in enumerate(views, 1):
        note_head(answer, view)
        note_view_usage(answer, view)
        answer.error = error_in(view)
        if answer.error is not None:
            return [], 0
        output_bytes += view_bytes(view)
        has_called |= has_calls(view)
        if note_end(answer, view, has_called=has_called):
            for late in views[number:]:
                note_view_usage(answer, late)
            answer.opaque_frames += is_opaque
            return views[:number], (min(output_bytes, len(body)) or len(body)) if is_opaque else output_bytes
    raise truncated() if any(view.candidates for view in views) else not_of_format(_WHAT)


def _views_of(body: bytes) -> tuple[list[AnswerView] | None, bool]:
    """Return the views of a body, None where it is no JSON of objects, and whether they had to be read loosely."""
    view = decode_view(body)
    if view is not None:
        return [view], False
    documents = load_documents(body)
    if documents is None:
        return None, False
    try:
        return msgspec.json.decode(body, type=list[AnswerView]), False
    except (ValueError, RecursionError):
        return [loose_view(document) for document in documents], True


def _cap(document: dict[str, Any], reason: str) -> None:
    """Put our finish reason where the provider's stands."""
    candidates = document.get("candidates")
    for candidate in candidates if isinstance(candidates, list) else ():
        if isinstance(candidate, dict) and candidate.get("finishReason"):
            candidate["finishReason"] = reason
