"""The blocks that an answer falls into, for the formats whose streams open, fill and close them.

Strategy: beats say only what is said next. A ``BlockVoice`` knows which block is open, closes it when something else is
said, and asks its format for the frames of each of these moments. What is billed and not shown becomes, before the
first block that is shown, a block of its own that only the provider can read.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Final

import attrs

from ainf.simulator.answer import Answer, Beat, BeatKind
from ainf.simulator.wire import ErrorBody


class BlockKind(Enum):
    """What a block holds."""

    OPAQUE = auto()
    """Reasoning that only the provider can read."""
    REASONING = auto()
    TEXT = auto()
    REFUSAL = auto()
    TOOL = auto()


_KINDS: Final[Mapping[BeatKind, BlockKind]] = MappingProxyType({
    BeatKind.REASONING: BlockKind.REASONING,
    BeatKind.TEXT: BlockKind.TEXT,
    BeatKind.FINISH: BlockKind.TEXT,
    BeatKind.REFUSAL: BlockKind.REFUSAL,
    BeatKind.TOOL_START: BlockKind.TOOL,
    BeatKind.TOOL_ARGUMENTS: BlockKind.TOOL,
})


@attrs.define
class Block:
    """A block, as far as it is said."""

    kind: BlockKind
    index: int
    name: str = ""
    """The tool's."""
    call: int = 0
    """Which tool call, from 0."""
    pieces: list[str] = attrs.field(factory=list)
    whole_call: bool = False
    """Whether a tool call's arguments are all there."""
    closed: bool = False
    cut: bool = False
    """Whether the token limit closed it."""

    @property
    def text(self) -> str:
        """What it says so far; of a tool call the arguments."""
        return "".join(self.pieces)


class BlockVoice(ABC):
    """A voice that tells an answer in blocks; a format says what each moment looks like."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.blocks: list[Block] = []
        """All that were opened."""
        self._open: Block | None = None
        self._hides = False

    def said(self, beats: Iterable[Beat]) -> list[Block]:
        """Tell all of these beats at once; return the blocks."""
        for beat in beats:
            self.frame(beat)
        return self.blocks

    def frame(self, beat: Beat) -> bytes:
        """Return a beat's frames; see ``Voice.frame``."""
        match beat.kind:
            case BeatKind.START:
                return self.starts(beat)
            case BeatKind.HIDDEN:
                self._hides = True
                return b""
            case BeatKind.FINISH:
                said = self._says(beat) if beat.text else b""
                return said + self._settle(cut=self.answer.finish_reason == "length") + self.finishes(beat)
            case BeatKind.USAGE:
                return self.tells_usage(beat)
            case BeatKind.DONE:
                return self._settle() + self.ends(beat)
            case _:
                return self._says(beat)

    def _says(self, beat: Beat) -> bytes:
        kind = _KINDS[beat.kind]
        frames = b""
        if (
            self._open is None
            or beat.kind is BeatKind.TOOL_START
            or (self._open.kind, self._open.call) != (kind, beat.call)
        ):
            frames = self._settle()
            block = self._opened(kind, beat)
            frames += self.opens(block)
        else:
            block = self._open
        if beat.kind is not BeatKind.TOOL_START:
            block.pieces.append(beat.text)
            block.whole_call = beat.ends_call
            frames += self.grows(block, beat)
        return frames

    def _opened(self, kind: BlockKind, beat: Beat) -> Block:
        name = beat.text if beat.kind is BeatKind.TOOL_START else ""
        self._open = Block(kind, len(self.blocks), name, beat.call)
        self.blocks.append(self._open)
        return self._open

    def _settle(self, *, cut: bool = False) -> bytes:
        """Close the block that is open, and bring what was not shown."""
        frames = b""
        if self._open is not None:
            self._open.cut = cut
            frames = self._closed(self._open)
            self._open = None
        if self._hides:
            self._hides = False
            block = Block(BlockKind.OPAQUE, len(self.blocks))
            self.blocks.append(block)
            frames += self.opens(block) + self._closed(block)
        return frames

    def _closed(self, block: Block) -> bytes:
        block.closed = True
        return self.closes(block)

    @abstractmethod
    def starts(self, beat: Beat) -> bytes:
        """Return the frames before everything."""

    @abstractmethod
    def opens(self, block: Block) -> bytes:
        """Return the frames that open a block."""

    @abstractmethod
    def grows(self, block: Block, beat: Beat) -> bytes:
        """Return the frames that add the beat's text to a block, which has it already."""

    @abstractmethod
    def closes(self, block: Block) -> bytes:
        """Return the frames that close a block."""

    @abstractmethod
    def finishes(self, beat: Beat) -> bytes:
        """Return the frames with the evidence of the end, once all blocks are closed."""

    @abstractmethod
    def tells_usage(self, beat: Beat) -> bytes:
        """Return the frames that tell the usage apart from the finish."""

    @abstractmethod
    def ends(self, beat: Beat) -> bytes:
        """Return the frames after everything else."""

    @abstractmethod
    def error_frame(self, error: ErrorBody, *, as_string: bool = False, as_event: bool = False) -> bytes:
        """Return an error in the stream; see ``Voice.error_frame``."""
