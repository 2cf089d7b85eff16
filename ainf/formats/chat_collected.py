"""Whole chat answer to whole chat answer: kept to its end, checked for evidence, handed on with the same bytes."""

import msgspec

from ainf.formats.base import Answer, EndingStyle, Piece, PipeLimits, Reading
from ainf.formats.chat_frames import cap_fields, cap_reason
from ainf.formats.chat_observe import (
    error_in,
    no_answer,
    not_chat,
    note_finish,
    note_head,
    note_view_usage,
    read_frame,
    truncated,
)
from ainf.formats.chat_wire import HeadedView, dump_loosely, finish_reason_of, load_loosely
from ainf.inference.errors import UpstreamError
from ainf.inference.outcome import Ending, Outcome


class WholeBody:
    """A body that is kept to its end, within a limit."""

    __slots__ = ("_limit", "_parts", "_size")

    def __init__(self, limit: int) -> None:
        self._parts: list[bytes] = []
        self._size = 0
        self._limit = limit

    def receive(self, data: bytes) -> bool:
        """Take one read; return whether it holds more than blanks, which some providers send to keep a line alive.

        Raises:
            UpstreamError: ``upstream_protocol``: the body is over its limit.
        """
        self._size += len(data)
        if self._size > self._limit:
            raise UpstreamError("upstream_protocol", "The provider's answer is over the gateway's limit.")
        self._parts.append(data)
        return bool(data) and not data.isspace()

    def whole(self) -> bytes:
        """Return all that came."""
        return b"".join(self._parts)


class ChatCollected:
    """The pipe between equal whole answers: readings are empty, the body is the terminal group.

    Args:
        limits: ``answer`` bounds the body.
        answer: where to keep what is learnt.
    """

    __slots__ = ("_body", "answer")

    is_wrapped = False

    def __init__(self, *, limits: PipeLimits, answer: Answer | None = None) -> None:
        self.answer = Answer() if answer is None else answer
        self._body = WholeBody(limits.answer)

    def receive(self, data: bytes) -> Reading:
        """Take one read. See ``Pipe.receive``."""
        return Reading(b"", 0, is_content=False, is_meaningful=self._body.receive(data))

    def receive_eof(self) -> Reading:
        """Take the end of the body, and with it the whole answer. See ``Pipe.receive_eof``."""
        view, output_bytes = read_answer(self._body.whole(), self.answer)
        is_content = view is not None
        return Reading(b"", output_bytes, is_content, is_content)

    def split(self, reading: Reading, output_bytes: int) -> tuple[Piece, Reading]:
        """Return nothing and the reading: it holds nothing that could be cut."""
        return Piece(b"", 0), reading

    def close(self, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the body as it came; at a cap with our finish reason in it.

        Only called for ``completed`` and ``spend_cap_exceeded``: before a whole answer's head, failures are statuses.
        """
        body = self._body.whole()
        if outcome.ending is Ending.COMPLETED:
            return body
        assert outcome.ending is Ending.SPEND_CAP_EXCEEDED, outcome.ending
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
    if not body or body.isspace():
        raise no_answer()
    frame = read_frame(body)
    view = frame.view
    if view is None:
        raise truncated() if _is_cut(body) else not_chat()
    note_head(answer, view)
    note_view_usage(answer, view)
    answer.error = error_in(view)
    if answer.error is not None:
        return None, 0
    if not view.choices:
        raise not_chat()
    reason = finish_reason_of(view)
    if reason is None:
        raise truncated()
    answer.opaque_frames += frame.is_opaque
    note_finish(answer, reason)
    return view, frame.output_bytes


def _is_cut(body: bytes) -> bool:
    """Whether a body is the beginning of a JSON object."""
    try:
        msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        return body.lstrip().startswith(b"{") and "truncated" in str(error)
    except (ValueError, RecursionError):
        return False
    return False
