"""What a client of the soak takes for an answer, and what for none."""

import random

import pytest
import trio

from benchmarks.soak.load import BrokenAnswerError, Load, Visit, answer_size

CHUNKED = b"HTTP/1.1 200 \r\nTransfer-Encoding: chunked\r\nx-ainf-inference-id: inf_1\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
SIZED = b"HTTP/1.1 404 \r\ncontent-length: 3\r\n\r\nabc"


@pytest.mark.parametrize("answer", [CHUNKED, SIZED])
def test_where_an_answer_ends(answer):
    """It is whole with its last byte, not before it, whatever comes behind."""
    assert [answer_size(answer[:end]) for end in range(len(answer))] == [None] * len(answer)
    assert answer_size(answer + SIZED) == len(answer)


async def read(data: bytes) -> Load:
    """Let a client read what a gateway says before it closes the connection."""
    load = Load(None, random.Random(1), 1.0)
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(data)
    await theirs.send_eof()
    await Visit(load, ours).read_to_the_end()
    return load


async def test_an_answer_is_counted():
    """By its status; its receipt may be asked for."""
    load = await read(CHUNKED)
    assert load.counts == {"status 200": 1}
    assert load.receipt_path() == "/v1/audit/inf_1"


async def test_an_answer_that_is_cut_off_is_told():
    """A connection that ends before the answer does is an answer without an end."""
    with pytest.raises(BrokenAnswerError, match="cut off"):
        await read(CHUNKED[:-3])


def test_one_idempotency_key_is_one_question():
    """Whoever uses a key asks the same; without one no two ask the same."""
    load = Load(None, random.Random(1), 1.0)
    assert load.question(keyed="a") == load.question(keyed="a")
    assert load.question() != load.question()
