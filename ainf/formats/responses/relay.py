"""Responses stream to Responses stream: what is relayed, what is metered, and what is kept for the end."""

import attrs

from ainf.formats.base import Answer, EndingStyle
from ainf.formats.endings import is_told
from ainf.formats.loose import dump_loosely, load_loosely, text_bytes
from ainf.formats.responses.frames import base_object, broken_end
from ainf.formats.responses.observe import error_in, note_end, note_response, read_frame
from ainf.formats.responses.terminal import terminal_group
from ainf.formats.responses.transcript import Transcript
from ainf.formats.responses.wire import (
    CALL_TYPES,
    DONE,
    ENDS,
    EventView,
    decode_deltas,
    delta_text,
    item_bytes,
    output_of,
    word_of,
)
from ainf.inference.events import FinishReason
from ainf.inference.outcome import Ending, Outcome
from ainf.sse import EventBatch, frame


@attrs.frozen
class _KeptEnd:
    """The provider's terminal event."""

    raw: bytes
    payload: bytes


class ResponsesStreamJudge:
    """What the Responses format makes of a stream that is relayed.

    Text is counted once: where it is repeated (``done`` events, the final object) only what no delta brought counts.

    Args:
        limit: the most bytes of the answer that are kept, to repeat them should we have to end it.
        answer: where to keep what is learnt.
    """

    __slots__ = ("_end", "_is_rewound", "_late", "_transcript", "_visible", "answer", "is_over")

    def __init__(self, *, limit: int, answer: Answer) -> None:
        self.answer = answer
        self.is_over = False
        self._transcript = Transcript(limit)
        self._visible = 0
        # Digest of a payload -> what only its repetition brought; empty but for odd servers. A payload may be long.
        self._late: dict[int, int] = {}
        self._end: _KeptEnd | None = None
        self._is_rewound = False

    def measure(self, batch: EventBatch) -> tuple[int, int]:
        """Return the visible bytes of the leading deltas, and how many. See ``StreamJudge.measure``."""
        total, plain = 0, 0
        for view in decode_deltas(batch.payloads) or ():
            text = delta_text(view)
            if text is None:
                break
            self._transcript.say(view, text)
            total += text_bytes(text)
            plain += 1
        self._visible += total
        return total, plain

    def judge(self, payload: bytes, name: bytes, event: bytes) -> tuple[int, bool]:
        """Take one event; return its visible bytes, and whether it is relayed. See ``StreamJudge.judge``."""
        if self.is_over or payload == DONE:
            return 0, False
        read, is_error = read_frame(payload), name == b"error"
        self.answer.opaque_frames += read.is_opaque
        if read.view is None and not is_error:
            self._visible += read.output_bytes
            return read.output_bytes, True
        view = read.view or EventView()
        self.answer.error = error_in(view, is_named=is_error)
        if self.answer.error is not None:
            self.is_over = True
            note_response(self.answer, view.response)
            return 0, False
        if view.type in ENDS:
            return self._take_end(view, _KeptEnd(event, payload)), False
        size = read.output_bytes + self._follow(view, payload, is_opaque=read.is_opaque)
        self._visible += size
        return size, True

    def is_readable(self, payload: bytes) -> bool:
        """Whether a payload is whole. See ``StreamJudge.is_readable``."""
        return payload == DONE or load_loosely(payload) is not None

    def measure_one(self, payload: bytes) -> int:
        """Return the visible bytes of an event that was judged."""
        return read_frame(payload).output_bytes + self._late.get(hash(payload), 0)

    def rewind(self, payloads: list[bytes]) -> None:
        """Take back events. See ``StreamJudge.rewind``."""
        self._is_rewound = True
        self._transcript.rewind(payloads)

    def close(self, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the terminal group. See ``Pipe.close``."""
        if not is_told(outcome.ending):
            return b""
        if outcome.ending is Ending.COMPLETED:
            assert self._end is not None, "completed without evidence"
            return self._end.raw
        end = broken_end(outcome, ending)
        # The provider came to an end that was set by what the client can pay: its own event says all that was paid for.
        if self._end is not None and self.answer.finish is FinishReason.LENGTH and not self._is_rewound:
            document = load_loosely(self._end.payload)
            if document is not None and isinstance(document.get("response"), dict):
                said = document | {"type": end.kind, "response": document["response"] | end.fields}
                return frame(dump_loosely(said), event=end.kind.encode())
        base = base_object(self._transcript.base, self.answer, ending)
        return terminal_group(self._transcript, base, end, outcome.usage)

    def _follow(self, view: EventView, payload: bytes, *, is_opaque: bool) -> int:
        """Write an event into the transcript; return what only its repetition brought."""
        text = delta_text(view)
        if text is not None:
            self._transcript.say(view, text)
            return 0
        note_response(self.answer, view.response)
        # An event that comes twice, byte for byte, counts twice: cuts know events by their payloads.
        late = self._transcript.take(view, len(payload)) or self._late.get(hash(payload), 0)
        if not late or is_opaque:  # one that is opaque is counted with what it holds, or whole
            return 0
        return self._late.setdefault(hash(payload), late)

    def _take_end(self, view: EventView, end: _KeptEnd) -> int:
        """Keep the evidence of an end; return what only its object brought."""
        self.is_over = True
        self._end = end
        has_calls = any(word_of(item.fields, "type") in CALL_TYPES for item in self._transcript.items)
        note_end(self.answer, view.type, view.response, has_calls=has_calls)
        return max(0, sum(map(item_bytes, output_of(view.response))) - self._visible)
