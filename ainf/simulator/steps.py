r"""The steps that an answer is made of: what goes over the wire, and when.

Every answer of the simulator, well formed or broken, is a sequence of steps that one performer plays on one
connection. Behaviours write such sequences from a model's name; a ``Script`` gives them by hand, byte by byte::

    Script(
        [head(), chunk(b"data: {}\n\n"), Wait(5.0), Reset()],   # the first request
        [Send(b"HTTP/1.1 200 OK\r\n"), Stall()],                # the second
    )

When the steps run out the connection is kept for the next request, so a sequence that breaks the framing of HTTP
should end with ``Close`` or ``Reset``.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import attrs

from ainf.simulator.http import LAST_CHUNK, as_chunk, response_head


@attrs.frozen
class Send:
    """Write bytes; what they stand for is entered in the books as the write begins."""

    data: bytes
    tokens: int = 0
    """Output tokens produced with this step; a step without bytes is a token that is not shown."""
    text_bytes: int = 0
    """Bytes of visible output (text, reasoning, tool arguments) in ``data``."""
    status: int | None = None
    """The status, if ``data`` begins an HTTP answer."""
    finish: bool = False
    """Whether ``data`` holds the evidence of an end."""
    usage: bool = False
    """Whether ``data`` holds the final usage."""


@attrs.frozen
class Wait:
    """Let seconds pass, counted from when the previous wait was due, so that a pace does not drift."""

    seconds: float


@attrs.frozen
class Stall:
    """Do nothing until the client goes away."""


@attrs.frozen
class Reset:
    """Reset the connection (RST): what is unread at the client is lost."""


@attrs.frozen
class Close:
    """Close the connection (FIN), whatever the framing promised."""


Step: TypeAlias = Send | Wait | Stall | Reset | Close

_EVENT_STREAM = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}


def head(status: int = 200, headers: Mapping[str, str] | None = None) -> Send:
    """Return the step that sends a response head; without ``headers``, that of a chunked event stream."""
    fields = _EVENT_STREAM if headers is None else headers
    return Send(response_head(status, fields.items()), status=status)


def chunk(data: bytes, *, tokens: int = 0, finish: bool = False, usage: bool = False) -> Send:
    """Return the step that sends ``data`` as one HTTP chunk."""
    return Send(as_chunk(data), tokens=tokens, finish=finish, usage=usage)


def last_chunk() -> Send:
    """Return the step that ends a chunked body."""
    return Send(LAST_CHUNK)


def whole(status: int, content_type: str, body: bytes, headers: Mapping[str, str] | None = None) -> Send:
    """Return the step that sends a whole answer with a content-length."""
    fields = {"content-type": content_type, "content-length": str(len(body)), **(headers or {})}
    return Send(response_head(status, fields.items()) + body, status=status)


class Script:
    """Exact answers, one sequence of steps per inference request, in the order in which the requests come.

    A sequence may be endless if it is an iterator. When all are used, model names decide again.
    """

    def __init__(self, *answers: Iterable[Step]) -> None:
        self._answers = deque(answers)

    def next_answer(self) -> Iterable[Step] | None:
        """Return the steps for the next request, None when the script is at its end."""
        return self._answers.popleft() if self._answers else None


def script_from_json(document: object) -> Script:
    """Return the script that a JSON document spells: ``{"answers": [[step, ...], ...]}``.

    A step is an object with one key: ``{"send": "text"}`` (one byte a character, U+0000 to U+00FF),
    ``{"wait": seconds}``, ``{"stall": true}``, ``{"reset": true}`` or ``{"close": true}``.

    Raises:
        ValueError: the document says something else.
    """
    match document:
        case {"answers": [*answers]}:
            return Script(*(_steps_from_json(answer) for answer in answers))
        case _:
            raise ValueError('a script is {"answers": [[step, ...], ...]}')


def _steps_from_json(answer: object) -> Sequence[Step]:
    match answer:
        case [*steps]:
            return [_step_from_json(step) for step in steps]
        case _:
            raise ValueError("an answer is a list of steps")


def _step_from_json(step: object) -> Step:
    match step:
        case {"send": str(text)}:
            return Send(text.encode("latin-1"))
        case {"wait": int(seconds) | float(seconds)}:
            return Wait(float(seconds))
        case {"stall": True}:
            return Stall()
        case {"reset": True}:
            return Reset()
        case {"close": True}:
            return Close()
        case _:
            raise ValueError(f"not a step: {str(step)[:80]}")


def coalesced(steps: Iterable[Step]) -> Iterator[Step]:
    """Yield the steps with neighbouring sends made one write each."""
    pending: list[Send] = []
    for step in steps:
        if isinstance(step, Send):
            pending.append(step)
            continue
        if pending:
            yield _merged(pending)
            pending = []
        yield step
    if pending:
        yield _merged(pending)


def _merged(sends: Sequence[Send]) -> Send:
    return Send(
        b"".join(send.data for send in sends),
        tokens=sum(send.tokens for send in sends),
        text_bytes=sum(send.text_bytes for send in sends),
        status=next((send.status for send in sends if send.status is not None), None),
        finish=any(send.finish for send in sends),
        usage=any(send.usage for send in sends),
    )


def dripped(steps: Iterable[Step], interval_s: float) -> Iterator[Step]:
    """Yield the steps with every byte a write of its own, ``interval_s`` apart; the last byte carries the facts."""
    for step in steps:
        if not isinstance(step, Send):
            yield step
            continue
        for at in range(len(step.data) - 1):
            yield Send(step.data[at : at + 1])
            if interval_s:
                yield Wait(interval_s)
        yield attrs.evolve(step, data=step.data[-1:])
