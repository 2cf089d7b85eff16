import pytest

from ainf.formats.messages.blocks import SentBlocks
from ainf.inference.errors import UpstreamError
from tests.formats.messages.support import PING, block_start, documents, payloads_of, start, stop, text


def ends(blocks):
    return [document["index"] for document in documents(blocks.end())]


def test_ends():
    """What began and did not end is ended, once, in order; nonsense opens nothing."""
    blocks = SentBlocks()
    for index in (7, 2, 0, "x", None, True, [1]):
        blocks.start(index)
    blocks.stop(2)
    blocks.stop(5)
    blocks.stop({})
    assert ends(blocks) == [0, 7]
    assert ends(blocks) == []


def test_rewind():
    """What the client was not handed is undone: what began need not end, what ended is open, the message unbegun."""
    blocks = SentBlocks()
    blocks.is_started = True
    blocks.start(1)
    sent = stop(0) + block_start(1) + text("a", 1) + PING + b"data: {broken\n\n"
    blocks.rewind(payloads_of(sent))
    assert blocks.is_started
    assert ends(blocks) == [0]
    blocks.rewind(payloads_of(start() + block_start(0)))
    assert not blocks.is_started


def test_rewind_runs_backwards():
    """A block that began and ended within what is undone leaves nothing."""
    blocks = SentBlocks()
    blocks.rewind(payloads_of(block_start(3) + stop(3)))
    assert ends(blocks) == []


def test_limit():
    """No provider may open blocks without end."""
    blocks = SentBlocks()
    for index in range(1024):
        blocks.start(2**31 + index)
    with pytest.raises(UpstreamError, match="upstream_protocol"):
        blocks.start(0)
    assert len(ends(blocks)) == 1024, "the one too many was not taken"
