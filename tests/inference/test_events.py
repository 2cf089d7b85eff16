"""The grammar of events: what may follow what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.inference.events import (
    BlockDelta,
    BlockEnd,
    BlockKind,
    BlockStart,
    FinishReason,
    IllegalEventError,
    MessageEnd,
    MessageStart,
    StreamGrammar,
    UsageUpdate,
)
from ainf.inference.usage import Usage

START, END, USAGE = MessageStart(), MessageEnd(FinishReason.STOP, "stop"), UsageUpdate(Usage())


def open_block(index: int) -> BlockStart:
    return BlockStart(index, BlockKind.TEXT)


LEGAL = {
    "an empty message": [START, END],
    "one block": [START, open_block(0), BlockDelta(0, "a"), BlockDelta(0, "b"), BlockEnd(0), END],
    "two at once": [START, open_block(0), open_block(5), BlockDelta(5, "a"), BlockEnd(0), BlockEnd(5), END],
    "usage anywhere": [START, USAGE, open_block(0), USAGE, BlockEnd(0), END, USAGE],
}
ILLEGAL = {
    "a block before the start": [open_block(0)],
    "usage before the start": [USAGE],
    "an end before the start": [END],
    "two starts": [START, START],
    "a delta without a block": [START, BlockDelta(0, "a")],
    "a delta behind its block": [START, open_block(0), BlockEnd(0), BlockDelta(0, "a")],
    "a block twice": [START, open_block(0), BlockEnd(0), open_block(0)],
    "a block end twice": [START, open_block(0), BlockEnd(0), BlockEnd(0)],
    "an end over an open block": [START, open_block(0), END],
    "two ends": [START, END, END],
    "content behind the end": [START, END, open_block(0)],
}


@pytest.mark.parametrize("case", LEGAL)
def test_what_may_follow(case):
    """Every step of a legal stream is taken."""
    grammar = StreamGrammar()
    for event in LEGAL[case]:
        grammar.advance(event)
    assert grammar.ended


@pytest.mark.parametrize("case", ILLEGAL)
def test_what_may_not_follow(case):
    """The last step raises, and leaves the state as it was."""
    grammar = StreamGrammar()
    *before, last = ILLEGAL[case]
    for event in before:
        grammar.advance(event)
    state = (grammar.started, grammar.ended, set(grammar._open), set(grammar._seen))
    with pytest.raises(IllegalEventError):
        grammar.advance(last)
    assert (grammar.started, grammar.ended, grammar._open, grammar._seen) == state


EVENTS = st.sampled_from([
    START,
    END,
    USAGE,
    open_block(0),
    open_block(1),
    BlockDelta(0, "a"),
    BlockEnd(0),
    BlockEnd(1),
])


@given(st.lists(EVENTS, max_size=30))
def test_a_message_ends_at_most_once_with_nothing_open(events):
    """Whatever is offered, what was taken is one start, one end, and no block left open at it."""
    grammar, taken = StreamGrammar(), []
    for event in events:
        try:
            grammar.advance(event)
        except IllegalEventError:
            continue
        taken.append(event)
    assert taken.count(START) <= 1
    assert taken.count(END) <= 1
    if grammar.ended:
        assert not grammar._open
        assert taken[0] == START
