"""Streams: what goes over the wire as ``text/event-stream``, with an example of each way to end.

OpenAPI 3.1 has no words for the events of a stream: its schema is that of all of it, a string, and ``contentSchema``
that of the JSON in each event's data. The examples are made by what makes the streams.
"""

from typing import Any, Final

from ainf.formats.base import Answer, EndingStyle, Listener, PipeLimits
from ainf.formats.registry import FORMATS
from ainf.http.openapi.shapes import ref, text
from ainf.inference.errors import CODES
from ainf.inference.events import (
    BlockDelta,
    BlockEnd,
    BlockKind,
    BlockStart,
    FinishReason,
    MessageEnd,
    MessageStart,
    StreamEvent,
)
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.usage import Usage
from ainf.sse import HEARTBEAT

_COMMON: Final = (
    f"Server-sent events. Comments (`{HEARTBEAT.decode().strip()}`) may stand between them: while there is nothing to "
    "say, one comes every `limits.heartbeat_s`. The last event comes once, and only when the exchange is settled: its "
    "receipt can be read then. A stream that ends without one was broken off."
)
_LAST: Final = {
    "chat": "The last event is `[DONE]`, which is no JSON.",
    "messages": "The last event is `message_stop`, or `error`. Each is named by its type.",
    "responses": "The last event is `response.completed`, `response.incomplete` or `response.failed`. Each is named by "
    "its type.",
}
EVENT_OF: Final = {"chat": "ChatChunk", "messages": "MessagesEvent", "responses": "ResponsesEvent"}
"""Format -> the schema of the JSON in its events' data."""

_MODEL: Final = "gpt-5-mini"
_INFERENCE_ID: Final = "inf_0654c29a57a0c45d8b8a3a2e6f1c7d90"
_CREATED: Final = 1_793_000_000
_USAGE: Final = Usage(input_tokens=9, output_tokens=2)
_ROOM: Final = PipeLimits(line=10_000, event=10_000, answer=10_000)
_SAID: Final[tuple[StreamEvent, ...]] = (
    MessageStart(), BlockStart(0, BlockKind.TEXT), BlockDelta(0, "By the"), BlockDelta(0, " river."),
)  # fmt: skip
_END: Final = (BlockEnd(0), MessageEnd(FinishReason.STOP, "stop"))


def _outcome(ending: Ending, code: str | None, finish_reason: str) -> Outcome:
    verdict = Verdict(ending, code, None if code is None else CODES[code].meaning)
    return Outcome(verdict, finish_reason, _USAGE, Evidence.METERED, billed_nusd=6_250)


_EXAMPLES: Final = {
    "completed": ("It came to its own end.", _outcome(Ending.COMPLETED, None, "stop")),
    "capped": (
        "A spend cap cut it.", _outcome(Ending.SPEND_CAP_EXCEEDED, "spend_cap_exceeded", "spend_cap_exceeded")
    ),
    "failed": ("It failed.", _outcome(Ending.UPSTREAM_ERROR, "upstream_truncated", "error")),
}  # fmt: skip


def _told(format_: str, outcome: Outcome) -> str:
    """Return a stream of a format that ends like this."""
    listener = Listener(stream=True, include_usage=True, model=_MODEL, inference_id=_INFERENCE_ID, created=_CREATED)
    style = EndingStyle("extended", _INFERENCE_ID, _CREATED, _MODEL, retryable=False)
    writer = FORMATS[format_].stream_writer(listener, Answer(), _ROOM, is_translated=True)
    events = (*_SAID, *_END) if outcome.ending is Ending.COMPLETED else _SAID
    return (writer.send(events) + writer.close(outcome, style)).decode()


def examples() -> dict[str, Any]:
    """Return the examples as components: of each format, each way to end."""
    return {
        f"{format_}-{name}": {"summary": summary, "value": _told(format_, outcome)}
        for format_ in EVENT_OF
        for name, (summary, outcome) in _EXAMPLES.items()
    }


def media(format_: str) -> dict[str, Any]:
    """Return the media type of a format's streams."""
    stream = text(
        f"{_COMMON} {_LAST[format_]}",
        contentMediaType="text/event-stream",
        contentSchema=ref(EVENT_OF[format_]),
    )
    return {
        "schema": stream,
        "examples": {name: ref(f"{format_}-{name}", kind="examples") for name in _EXAMPLES},
    }
