"""From events to the Responses wire: a stream."""

from collections.abc import Iterable
from typing import Any, Final

from ainf.formats.base import Answer, EndingStyle, Listener, Piece, PipeLimits, Reading
from ainf.formats.endings import is_told
from ainf.formats.relay import split_stream
from ainf.formats.responses.frames import (
    broken_end,
    closing_events,
    event_frame,
    first_object,
    reached_end,
)
from ainf.formats.responses.items import Namer, final_fields, item_of
from ainf.formats.responses.observe import visible_in
from ainf.formats.responses.terminal import terminal_group
from ainf.formats.responses.transcript import Transcript
from ainf.formats.responses.wire import (
    ARGUMENTS,
    CREATED,
    INPUT,
    ITEM_ADDED,
    REFUSAL,
    SUMMARY,
    TEXT,
    DeltaView,
    PartKind,
    view_of,
)
from ainf.inference.conversation import Opaque
from ainf.inference.errors import UpstreamError
from ainf.inference.events import (
    BlockDelta,
    BlockEnd,
    BlockKind,
    BlockStart,
    MessageEnd,
    MessageStart,
    StreamEvent,
    UsageUpdate,
)
from ainf.inference.outcome import Ending, Outcome

PART_KINDS: Final = {
    BlockKind.TEXT: TEXT,
    BlockKind.REFUSAL: REFUSAL,
    BlockKind.REASONING: SUMMARY,
    BlockKind.TOOL_CALL: ARGUMENTS,
    BlockKind.CUSTOM_TOOL_CALL: INPUT,
}
_IN_PROGRESS: Final = "response.in_progress"


class ResponsesStreamWriter:
    """Writes events as a Responses stream: each block is an item of its own.

    Args:
        listener: whom it is for.
        answer: what is known of the provider's answer, kept by the reader.
        limits: ``answer`` bounds what is kept: this wire says every text twice, and the whole answer at the end.
        is_translated: whether the provider's format is another one; where it is the same, the provider's names and its
            reason for being incomplete stand.
    """

    __slots__ = (
        "_answer", "_base", "_blocks", "_end", "_is_translated", "_listener", "_namer", "_opaques", "_transcript",
    )  # fmt: skip

    is_whole = False

    def __init__(self, listener: Listener, answer: Answer, limits: PipeLimits, *, is_translated: bool) -> None:
        self._listener = listener
        self._answer = answer
        self._is_translated = is_translated
        self._transcript = Transcript(limits.answer)
        self._namer = Namer(listener.inference_id)
        self._base: dict[str, Any] = {}
        self._blocks: dict[int, tuple[int, PartKind]] = {}  # block -> its item, and its kind of part
        self._opaques: dict[int, Opaque] = {}
        self._end: MessageEnd | None = None

    def send(self, events: Iterable[StreamEvent]) -> bytes:
        """Return the frames of these events. See ``EventWriter.send``.

        Raises:
            UpstreamError: ``upstream_protocol``: the answer is over its limit; then none of the events is told.
        """
        known = list(events)
        # An item is named when it begins, but its encrypted content belongs to a name that comes when it ends. A whole
        # answer's events come all at once, so that the name is known.
        self._opaques = {event.index: event.opaque for event in known if isinstance(event, BlockEnd) and event.opaque}
        transcript = self._transcript
        begun = transcript.is_created, transcript.next_number
        try:
            return b"".join([frame for event in known for frame in self._frames_of(event)])
        except UpstreamError:
            transcript.is_created, transcript.next_number = begun  # none of these frames is handed over
            raise

    def split(self, reading: Reading, output_bytes: int) -> tuple[Piece, Reading]:
        """Cut a reading between frames. See ``Pipe.split``."""
        return split_stream(reading, output_bytes, visible_in)

    def rewind(self, payloads: list[bytes]) -> None:
        """Take back frames. See ``EventWriter.rewind``."""
        self._transcript.rewind(payloads)

    def close(self, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the terminal group. See ``Pipe.close``."""
        if not is_told(outcome.ending):
            return b""
        if outcome.ending is Ending.COMPLETED:
            assert self._end is not None, "completed without evidence"
            end = reached_end(self._end, is_translated=self._is_translated)
        else:
            end = broken_end(outcome, ending)
        return terminal_group(self._transcript, self._base or self._first_object(), end, outcome.usage)

    def _first_object(self) -> dict[str, Any]:
        return first_object(self._listener, self._answer, is_translated=self._is_translated)

    def _frames_of(self, event: StreamEvent) -> list[bytes]:
        match event:
            case MessageStart():
                self._base = self._first_object()
                return [self._tell(CREATED, response=self._base), self._tell(_IN_PROGRESS, response=self._base)]
            case BlockStart():
                return self._start(event)
            case BlockDelta():
                return self._add(event)
            case BlockEnd():
                item = self._transcript.item(self._blocks[event.index][0])
                final = final_fields(event.opaque, item.id)
                return [self._tell(kind, **fields) for kind, fields in closing_events(item, is_whole=True, **final)]
            case MessageEnd():
                self._end = event
            case UsageUpdate():
                pass  # it has no event of its own: usage is said at the end
        return []

    def _start(self, event: BlockStart) -> list[bytes]:
        at, kind = len(self._blocks), PART_KINDS[event.kind]
        self._blocks[event.index] = (at, kind)
        item_id = self._namer.name(event.kind, at, self._opaques.get(event.index))
        added = self._tell(ITEM_ADDED, output_index=at, item=item_of(event, item_id, "in_progress"))
        # What is thought without being told has no part.
        return [added] if kind is SUMMARY or kind.list_stem is None else [added, self._announce_part(event.index)]

    def _add(self, event: BlockDelta) -> list[bytes]:
        at, kind = self._blocks[event.index]
        item = self._transcript.item(at)
        frames = [self._announce_part(event.index)] if kind is SUMMARY and not item.parts else []
        index = {} if kind.index_field is None else {kind.index_field: 0}
        logprobs = {"logprobs": list[Any]()} if kind is TEXT else {}
        number, name = self._transcript.next_number, f"{kind.stem}.delta"
        self._transcript.say(DeltaView(name, event.text, at, sequence_number=number), event.text)
        self._check_room()
        place = {"item_id": item.id, "output_index": at, **index, **logprobs}
        return [*frames, event_frame(name, number, **place, delta=event.text)]

    def _announce_part(self, block: int) -> bytes:
        at, kind = self._blocks[block]
        place = {"item_id": self._transcript.item(at).id, "output_index": at, kind.index_field or "": 0}
        return self._tell(f"{kind.list_stem}.added", **place, part=kind.part_of(""))

    def _tell(self, kind: str, **fields: Any) -> bytes:  # noqa: ANN401 - JSON
        """Return one event that is no delta, and keep what it tells."""
        number = self._transcript.next_number
        data = event_frame(kind, number, **fields)
        self._transcript.take(view_of({"type": kind, "sequence_number": number, **fields}), len(data))
        self._check_room()
        return data

    def _check_room(self) -> None:
        """Refuse an answer that is too long to be told: from here on nothing of it is kept."""
        if self._transcript.is_full:
            raise UpstreamError("upstream_protocol", "The provider's answer is over the gateway's limit.")
