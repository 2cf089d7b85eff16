"""Whole answer to whole answer of one format: kept to its end, checked for evidence, handed on with the same bytes."""

from typing import Protocol

from ainf.formats.base import Answer, EndingStyle, Piece, PipeLimits, Reading
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


class WholeJudge(Protocol):
    """What a format makes of a whole answer."""

    def read(self, body: bytes, answer: Answer) -> int | None:
        """Note what a whole answer says; return its visible bytes, None where it reports an error (``answer.error``).

        Raises:
            UpstreamError: ``upstream_protocol``: empty, or not of the format; ``upstream_truncated``: cut, or without
                the evidence of an end.
        """
        ...

    def capped(self, body: bytes, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return a body that was read with our finish reason in it, for a cap that was reached."""
        ...


class Collected:
    """The pipe between equal whole answers: readings are empty, the body is the terminal group.

    Args:
        judge: of the format.
        limits: ``answer`` bounds the body.
        answer: where to keep what is learnt.
    """

    __slots__ = ("_body", "_judge", "answer")

    is_wrapped = False

    def __init__(self, judge: WholeJudge, limits: PipeLimits, answer: Answer) -> None:
        self.answer = answer
        self._judge = judge
        self._body = WholeBody(limits.answer)

    def receive(self, data: bytes) -> Reading:
        """Take one read. See ``Pipe.receive``."""
        return Reading(b"", 0, is_content=False, is_meaningful=self._body.receive(data))

    def receive_eof(self) -> Reading:
        """Take the end of the body, and with it the whole answer. See ``Pipe.receive_eof``."""
        output_bytes = self._judge.read(self._body.whole(), self.answer)
        is_content = output_bytes is not None
        return Reading(b"", output_bytes or 0, is_content, is_content)

    def split(self, reading: Reading, output_bytes: int) -> tuple[Piece, Reading]:
        """Return nothing and the reading: it holds nothing that could be cut."""
        return Piece(b"", 0), reading

    def rewind(self, data: bytes) -> None:
        """Do nothing: nothing is handed over before the end. See ``Pipe.rewind``."""

    def close(self, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the body as it came; at a cap with our finish reason in it.

        Only called for ``completed`` and ``spend_cap_exceeded``: before a whole answer's head, failures are statuses.
        """
        body = self._body.whole()
        if outcome.ending is Ending.COMPLETED:
            return body
        assert outcome.ending is Ending.SPEND_CAP_EXCEEDED, outcome.ending
        return self._judge.capped(body, outcome, ending)
