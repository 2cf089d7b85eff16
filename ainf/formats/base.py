"""What stands between a provider's bytes and a client's: the pipe, and what it says of each read.

The unit is the read, not the frame. Whatever arrived in one read gives one ``Reading``: the bytes that the client may
get, how much visible output they hold, and where they may be cut. The terminal group (finish, usage, end marker) is
never in a reading: the pipe keeps it until ``close`` is told how the exchange really ended (settle, then speak).
"""

from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from ainf.inference.errors import AinfError
from ainf.inference.events import FinishReason
from ainf.inference.outcome import Outcome
from ainf.inference.usage import Usage


@attrs.frozen
class Piece:
    """A part of a reading that may be handed over alone: whole frames, and the visible output bytes in them."""

    data: bytes
    output_bytes: int


@attrs.define(slots=True)
class Reading:
    """What one read of a provider's answer holds for the client.

    Attributes:
        data: the bytes for the client, whole frames, without the terminal group; may be empty.
        output_bytes: visible output that this read brought (text, reasoning, refusal, tool names and arguments, as
            UTF-8 bytes; a frame that cannot be decoded counts with all its bytes): in ``data``, or kept back with the
            end (content beside a finish reason, a whole answer for a client that wants no stream).
        is_content: ``data`` holds the first visible output, or the evidence of an end was seen: the commit point.
        is_meaningful: something of the model arrived (comments, pings and empty deltas do not count).
    """

    data: bytes
    output_bytes: int
    is_content: bool
    is_meaningful: bool


@attrs.define
class Answer:
    """What a pipe has learnt of the provider's answer so far; read by settlement and receipts."""

    response_id: str | None = None
    model: str | None = None
    created: int | None = None
    """Seconds since 1970, as the provider says."""
    raw_finish_reason: str | None = None
    """The evidence of an end; None until it was seen."""
    finish: FinishReason | None = None
    """The same in our words."""
    usage: Usage | None = None
    """The last usage object whose every number is a non-negative integer; not yet believed."""
    raw_usage: str | None = None
    """The last usage object as JSON text (at most 2,000 characters), whatever it says."""
    is_usage_rejected: bool = False
    """The last usage object was not believed: a number in it is no count of tokens, or a part is over its whole."""
    is_usage_partial: bool = False
    """The output in ``usage`` is not the provider's count of it (Messages streams begin with a placeholder)."""
    error: AinfError | None = None
    """An error that the provider reported in its stream or body, sanitised."""
    opaque_frames: int = 0
    """Frames that could not be decoded: relayed, counted."""


class Pipe(Protocol):
    """From the bytes of one provider's answer to the bytes of one client's answer. No I/O; any cut gives the same.

    Strategy: ``receive`` per read until the body ends or the exchange does; then ``close`` once. After evidence of an
    end was seen (``answer.raw_finish_reason``) readings are empty: what still comes belongs to the terminal group.
    """

    answer: Answer

    @property
    def is_wrapped(self) -> bool:
        """Whether a stream is being made of a provider's whole answer (known with the first reading)."""
        ...

    def receive(self, data: bytes) -> Reading:
        """Take one read.

        Raises:
            UpstreamError: ``upstream_protocol``: over a limit, or not of the format beyond repair.
        """
        ...

    def receive_eof(self) -> Reading:
        """Take the clean end of the body (an unterminated last event counts). Not called after a reset.

        An end that is missing is an error in ``answer.error`` where the last bytes still hold something for the
        client, and raised where they do not.

        Raises:
            UpstreamError: ``upstream_protocol``, ``upstream_truncated``: what came was no answer, or not its end.
        """
        ...

    def split(self, reading: Reading, output_bytes: int) -> tuple[Piece, Reading]:
        """Cut a reading at the last frame boundary at which at most ``output_bytes`` visible bytes have passed."""
        ...

    def rewind(self, data: bytes) -> None:
        """Take back the bytes of readings, or of the rest of one, that were not handed over, before ``close``.

        The client knows nothing of them: what they began need not be ended, what they ended is still open.
        """
        ...

    def close(self, outcome: Outcome, ending: "EndingStyle") -> bytes:
        """Return the terminal group for the client: exactly one terminal frame, whatever the outcome.

        Everything before it was handed over in order, or taken back by ``rewind``. What is open is ended first.
        """
        ...


@attrs.frozen
class EndingStyle:
    """How the client wants to be told of an ending."""

    finish_reasons: str
    """"extended", "strict" or "loud" (the key's or model's setting)."""
    inference_id: str
    created: int
    """Seconds since 1970, for frames that we make ourselves."""
    model: str
    """The model name for frames that we make ourselves, where the provider named none."""
    retryable: bool
    """The retry verdict: the cause is transient and nothing was charged."""
    tells_cost: bool = False
    """Whether what it cost stands in the usage that the client is told; ``formats.cost`` sees to it."""


@attrs.frozen
class PipeLimits:
    """Bounds of what a pipe keeps, in bytes."""

    line: int
    event: int
    answer: int
    """A whole JSON answer, the terminal group, or what is kept of a stream to be said again at its end."""


@attrs.frozen
class Listener:
    """The client of an answer: what it asked for, and what names the frames that we make for it."""

    stream: bool
    include_usage: bool
    """Whether it asked for the usage chunk (chat format)."""
    model: str
    """The model as the client named it."""
    inference_id: str
    created: int
    """Seconds since 1970."""
    echo: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    """Fields of its request that its protocol's answers repeat (responses format); bounded by the protocol."""
