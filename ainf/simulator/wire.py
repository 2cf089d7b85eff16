"""What a wire format must give the simulator: one class per format, nothing of behaviour in it.

``read`` says what a request asks for; the rest turn the beats of an answer (``ainf.simulator.answer``) into bytes.
A new format is one file with such a class and one line in ``ainf.simulator.server``.
"""

from typing import Protocol

import attrs

from ainf.simulator.answer import Answer, Ask, Beat


@attrs.frozen
class ErrorBody:
    """What a provider says of a failure, free of the format."""

    message: str
    type: str
    code: str | None = None
    param: str | None = None


class RefusedError(Exception):
    """A request that a provider would refuse, with its status."""

    def __init__(self, status: int, body: ErrorBody) -> None:
        super().__init__(status, body)
        self.status = status
        self.body = body


class Wire(Protocol):
    """One wire format, as a provider speaks it."""

    path: str
    """Where its requests are posted."""
    done_frame: bytes
    """The frame that ends a stream after everything else; empty where the format has none."""

    def read(self, fields: object) -> Ask:
        """Return what a request's JSON asks for.

        Raises:
            RefusedError: the provider would refuse it.
        """

    def frame(self, beat: Beat, answer: Answer) -> bytes:
        """Return a beat's frames as an event stream with LF line ends; empty if the beat is not shown."""

    def document(self, answer: Answer) -> bytes:
        """Return the whole answer as one JSON document."""

    def error_document(self, error: ErrorBody) -> bytes:
        """Return the body of an error answer."""

    def error_frame(self, error: ErrorBody, *, as_string: bool = False, as_event: bool = False) -> bytes:
        """Return an error inside a stream; its usual shape, a bare string, or a named event."""
