"""What a wire format must give the simulator: one class per endpoint, nothing of behaviour in it.

``read`` says what a request asks for; a ``Voice`` turns the beats of one answer (``ainf.simulator.answer``) into the
frames of a stream, ``document`` turns all of them into one. A new format is one file with such a class and one line in
``ainf.simulator.wires.routes``.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import attrs

from ainf.simulator.answer import Answer, Ask, Beat
from ainf.simulator.http import Request


@attrs.frozen
class ErrorBody:
    """What a provider says of a failure, free of the format."""

    status: int
    """The HTTP status; inside a stream the one that it would have had."""
    message: str
    type: str
    """In OpenAI's words; formats that have words of their own take them from the status."""
    code: str | None = None
    param: str | None = None


class RefusedError(Exception):
    """A request that a provider would refuse."""

    def __init__(self, body: ErrorBody) -> None:
        super().__init__(body)
        self.body = body


class Voice(Protocol):
    """Tells one answer as a stream; asked for each beat once, in order."""

    def frame(self, beat: Beat) -> bytes:
        """Return a beat's frames as an event stream with LF line ends; empty if the beat is not shown (yet)."""

    def error_frame(self, error: ErrorBody, *, as_string: bool = False, as_event: bool = False) -> bytes:
        """Return an error inside the stream; its usual shape, a bare string, or a named event."""


class Wire(Protocol):
    """One endpoint of a wire format, as a provider speaks it."""

    request_id_header: str
    """The header that names an answer."""
    overloaded_status: int
    done_frame: bytes
    """The frame that ends a stream after everything else, also an error; empty where the format has none."""
    broken_frame: bytes
    """A frame that is cut inside its JSON."""
    key_refused: ErrorBody
    """What is said to a wrong key."""

    @property
    def paths(self) -> Sequence[str]:
        """Where its requests are posted; ``{model}`` stands for any model's name."""

    def key(self, headers: Mapping[str, str]) -> str | None:
        """Return the key that a request presents in this format's header, None if it presents none."""

    def read(self, request: Request, fields: object) -> Ask:
        """Return what a request asks for; ``fields`` is its JSON.

        Raises:
            RefusedError: the provider would refuse it.
        """

    def voice(self, answer: Answer) -> Voice:
        """Return what tells the answer as a stream."""

    def document(self, answer: Answer) -> bytes:
        """Return the whole answer as one JSON document."""

    def failed_document(self, answer: Answer, error: ErrorBody) -> bytes:
        """Return the document, sent with status 200, of an answer that failed underway."""

    def error_document(self, error: ErrorBody) -> bytes:
        """Return the body of an error answer."""
