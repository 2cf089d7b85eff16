"""The events that every wire format's stream is read into and written from, and what may follow what.

A stream is ``MessageStart``, then blocks (``BlockStart``, ``BlockDelta`` ..., ``BlockEnd``; several may be open at
once, told apart by index), ``UsageUpdate`` anywhere, and one ``MessageEnd``. Only translation makes these objects; a
relay between equal formats passes bytes.
"""

from enum import StrEnum
from typing import Final, TypeAlias

import attrs

from ainf.inference.conversation import Opaque
from ainf.inference.usage import Usage


class BlockKind(StrEnum):
    """What a block of an answer holds."""

    TEXT = "text"
    REASONING = "reasoning"
    REFUSAL = "refusal"
    TOOL_CALL = "tool_call"
    """A call of a function; its text is JSON arguments."""
    CUSTOM_TOOL_CALL = "custom_tool_call"
    """A call of a tool that takes free-form input; its text is that input."""


TOOL_KINDS: Final = frozenset({BlockKind.TOOL_CALL, BlockKind.CUSTOM_TOOL_CALL})


class FinishReason(StrEnum):
    """Why a model stopped, in our words; the provider's raw reason stands beside it."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    OTHER = "other"


@attrs.frozen
class MessageStart:
    """The answer begins; ``model`` and ``response_id`` are the provider's words."""

    response_id: str | None = None
    model: str | None = None


@attrs.frozen
class BlockStart:
    """A block begins. ``call_id`` and ``name`` belong to tool calls."""

    index: int
    kind: BlockKind
    call_id: str | None = None
    name: str | None = None


@attrs.frozen
class BlockDelta:
    """More of a block: text, reasoning, or a piece of a tool call's arguments or input."""

    index: int
    text: str


@attrs.frozen
class BlockEnd:
    """A block is whole."""

    index: int
    opaque: Opaque | None = None
    """What its provider wants back when the conversation goes on. Only reasoning has it: a signature that belongs to
    another block is a reasoning block of its own, without text, right before that block."""


@attrs.frozen
class UsageUpdate:
    """The provider's usage so far; a later one replaces an earlier one, never adds to it."""

    usage: Usage


@attrs.frozen
class MessageEnd:
    """The provider's evidence of an end."""

    reason: FinishReason
    raw_reason: str
    stop_sequence: str | None = None
    """Which of the request's stop sequences ended it, where the provider says so."""


StreamEvent: TypeAlias = MessageStart | BlockStart | BlockDelta | BlockEnd | UsageUpdate | MessageEnd


class IllegalEventError(AssertionError):
    """A reader made a sequence that the grammar forbids: a bug of ours, not the provider's."""


class StreamGrammar:
    """Checks a sequence of events against the grammar; an illegal one raises and leaves the state as it was."""

    __slots__ = ("_open", "_seen", "ended", "started")

    def __init__(self) -> None:
        self.started = False
        self.ended = False
        self._open: set[int] = set()
        self._seen: set[int] = set()

    def advance(self, event: StreamEvent) -> None:
        """Take one event.

        Raises:
            IllegalEventError: the event may not stand here.
        """
        match event:
            case MessageStart():
                self._require(not self.started, event)
                self.started = True
            case BlockStart(index=index):
                self._require(self._running and index not in self._seen, event)
                self._seen.add(index)
                self._open.add(index)
            case BlockDelta(index=index):
                self._require(self._running and index in self._open, event)
            case BlockEnd(index=index):
                self._require(self._running and index in self._open, event)
                self._open.discard(index)
            case MessageEnd():
                self._require(self._running and not self._open, event)
                self.ended = True
            case UsageUpdate():
                self._require(self.started, event)

    @property
    def _running(self) -> bool:
        return self.started and not self.ended

    @staticmethod
    def _require(allowed: bool, event: StreamEvent) -> None:  # noqa: FBT001 - the condition is the argument
        if not allowed:
            raise IllegalEventError(f"{event!r} may not stand here")
