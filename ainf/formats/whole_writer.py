"""From events to a whole answer, as far as it is the same for every format: what is kept, how much, and until when."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import attrs
import msgspec

from ainf.formats.base import Answer, EndingStyle, Listener, Piece, PipeLimits, Reading
from ainf.inference.conversation import Opaque
from ainf.inference.errors import UpstreamError
from ainf.inference.events import (
    BlockDelta,
    BlockEnd,
    BlockStart,
    MessageEnd,
    MessageStart,
    StreamEvent,
    UsageUpdate,
)
from ainf.inference.outcome import Ending, Outcome


class WholeWriter(ABC):
    """Writes events as one whole answer, given at the end.

    Args:
        listener: whom it is for.
        answer: what is known of the provider's answer, kept by the reader.
        limits: ``answer`` bounds the characters of text and of opaque data that are kept.
        is_translated: whether the provider's format is another one; where it is the same, the provider's names and its
            raw reasons stand.
    """

    __slots__ = ("_answer", "_end", "_is_translated", "_listener", "_room")

    is_whole = True

    def __init__(self, listener: Listener, answer: Answer, limits: PipeLimits, *, is_translated: bool) -> None:
        self._listener = listener
        self._answer = answer
        self._room = limits.answer
        self._is_translated = is_translated
        self._end: MessageEnd | None = None

    def send(self, events: Iterable[StreamEvent]) -> bytes:
        """Keep what these events hold. See ``EventWriter.send``."""
        for event in events:
            match event:
                case BlockStart() | BlockDelta() | BlockEnd():
                    self._room -= _size_of(event)
                    self._keep(event)
                case MessageEnd():
                    self._keep_end(event)
                case MessageStart() | UsageUpdate():
                    pass  # the answer's names and usage are said at the end
        if self._room < 0:
            raise UpstreamError("upstream_protocol", "The provider's answer is over the gateway's limit.")
        return b""

    def split(self, reading: Reading, output_bytes: int) -> tuple[Piece, Reading]:
        """Return nothing and the reading: it holds nothing that could be cut."""
        return Piece(b"", 0), reading

    def rewind(self, payloads: list[bytes]) -> None:  # noqa: B027 - there is nothing to do in any format
        """Do nothing: nothing is handed over before the end. See ``EventWriter.rewind``."""

    def close(self, outcome: Outcome, ending: EndingStyle) -> bytes:
        """Return the whole answer; only called for ``completed`` and ``spend_cap_exceeded``."""
        if outcome.ending is Ending.COMPLETED:
            assert self._end is not None, "completed without evidence"
            return msgspec.json.encode(self._document(self._end, outcome, ending))
        assert outcome.ending is Ending.SPEND_CAP_EXCEEDED, outcome.ending
        return msgspec.json.encode(self._document(None, outcome, ending))

    def _keep_end(self, end: MessageEnd) -> None:
        """Keep how the provider's answer ended."""
        self._end = end

    @abstractmethod
    def _keep(self, event: BlockStart | BlockDelta | BlockEnd) -> None:
        """Keep what an event of a block holds."""

    @abstractmethod
    def _document(self, end: MessageEnd | None, outcome: Outcome, style: EndingStyle) -> dict[str, Any]:
        """Return the answer; ``end`` is how it ended, None where a cap ended it."""


@attrs.define
class KeptBlock:
    """A block, as far as it came."""

    start: BlockStart
    texts: list[str] = attrs.field(factory=list)
    opaque: Opaque | None = None
    is_done: bool = False

    @property
    def text(self) -> str:
        """All of its text."""
        return "".join(self.texts)


class BlocksWriter(WholeWriter):
    """A writer of formats whose answers are made of whole blocks, in the order in which these began."""

    __slots__ = ("_kept",)

    def __init__(self, listener: Listener, answer: Answer, limits: PipeLimits, *, is_translated: bool) -> None:
        super().__init__(listener, answer, limits, is_translated=is_translated)
        self._kept: dict[int, KeptBlock] = {}

    @property
    def _blocks(self) -> list[KeptBlock]:
        return list(self._kept.values())

    def _keep(self, event: BlockStart | BlockDelta | BlockEnd) -> None:
        match event:
            case BlockStart():
                self._kept[event.index] = KeptBlock(event)
            case BlockDelta():
                self._kept[event.index].texts.append(event.text)
            case BlockEnd():
                block = self._kept[event.index]
                block.opaque, block.is_done = event.opaque, True


def _size_of(event: BlockStart | BlockDelta | BlockEnd) -> int:
    """Return how many characters an event has to be kept with."""
    match event:
        case BlockDelta(text=text):
            return len(text)
        case BlockEnd(opaque=Opaque(data=data)):
            return len(data)
        case _:
            return 0
