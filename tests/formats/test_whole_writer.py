"""The writers of whole answers with a format as plain as can be: the answer is what was kept, as it is."""

import json

import pytest

from ainf.formats.base import Answer, PipeLimits, Reading
from ainf.formats.whole_writer import BlocksWriter, KeptBlock
from ainf.inference.conversation import Opaque
from ainf.inference.errors import UpstreamError
from ainf.inference.events import (
    BlockDelta,
    BlockEnd,
    BlockKind,
    BlockStart,
    FinishReason,
    MessageEnd,
    MessageStart,
    UsageUpdate,
)
from ainf.inference.outcome import Ending
from ainf.inference.usage import Usage
from tests.formats.chat.support import CAPPED, COMPLETED, listener, outcome, style

FIRST, SECOND = BlockStart(4, BlockKind.REASONING), BlockStart(2, BlockKind.TEXT)
SECRET = Opaque("chat", "12345")
EVENTS = [
    MessageStart("id-1", "m-1"), FIRST, BlockDelta(4, "a"), SECOND, BlockDelta(2, "b"), BlockDelta(4, "c"),
    BlockEnd(4, SECRET), UsageUpdate(Usage(1, 0, 1)), BlockDelta(2, "d"),
]  # fmt: skip
END = MessageEnd(FinishReason.LENGTH, "length")


class Writer(BlocksWriter):
    """Says which blocks it kept, and how it ended."""

    def _document(self, end, outcome, style):
        blocks = [
            [block.start.index, block.text, block.opaque and block.opaque.data, block.is_done] for block in self._blocks
        ]
        return {"blocks": blocks, "end": end and end.raw_reason, "billed": outcome.billed_nusd}


def writer(limit=100):
    return Writer(listener(stream=False), Answer(), PipeLimits(line=1, event=1, answer=limit), is_translated=True)


def test_what_is_kept():
    """Blocks are kept in the order in which they began, each with its own pieces; nothing is said before the end."""
    made = writer()
    assert [made.send([event]) for event in [*EVENTS, END]] == [b""] * 10
    blocks = [[4, "ac", "12345", True], [2, "bd", None, False]]
    assert json.loads(made.close(COMPLETED, style())) == {"blocks": blocks, "end": "length", "billed": 0}
    assert KeptBlock(FIRST).text == ""


def test_a_cap():
    """A cap ends what there is, whatever the provider's own end was."""
    made = writer()
    made.send([*EVENTS, END])
    told = json.loads(made.close(CAPPED, style()))
    assert (len(told["blocks"]), told["end"], told["billed"]) == (2, None, CAPPED.billed_nusd)


@pytest.mark.parametrize("ended", [outcome(Ending.UPSTREAM_ERROR, "upstream_error"), COMPLETED])
def test_no_other_end(ended):
    """A failure is never told by a whole answer, and none is completed without evidence."""
    with pytest.raises(AssertionError):
        writer().close(ended, style())


@pytest.mark.parametrize(("limit", "is_too_much"), [(9, False), (8, True)])
def test_the_limit(limit, is_too_much):
    """Text and opaque data are bounded together."""
    made = writer(limit)
    if not is_too_much:
        assert made.send(EVENTS) == b""
        return
    with pytest.raises(UpstreamError, match="over the gateway's limit"):
        made.send(EVENTS)


def test_nothing_to_cut():
    """Nothing of a whole answer is handed over early, so nothing is cut or taken back."""
    made, reading = writer(), Reading(b"", 3, is_content=False, is_meaningful=True)
    made.send([*EVENTS, END])
    before = made.close(COMPLETED, style())
    made.rewind([b"{}"])
    piece, rest = made.split(reading, 1)
    assert (made.is_whole, piece.data, piece.output_bytes, rest) == (True, b"", 0, reading)
    assert made.close(COMPLETED, style()) == before
