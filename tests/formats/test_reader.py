"""The readers with a format as plain as can be: payloads are words, and a few of them mean something.

"end" is the evidence of an end, "error" an error, "half" cannot be read, "odd" is what no other format can say; every
other word is text.
"""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.formats.base import Answer, PipeLimits
from ainf.formats.observe import note_finish
from ainf.formats.reader import StreamReader, WholeReader
from ainf.inference.errors import UpstreamError
from ainf.inference.events import BlockDelta, FinishReason

LIMITS = PipeLimits(line=100, event=200, answer=8)


class Frames:
    """A format's word on a stream of words."""

    def __init__(self):
        self.answer = Answer()
        self.is_over = False
        self.read_at_all = []

    def read(self, payload, name, events):
        assert not self.is_over
        self.read_at_all.append((payload, name))
        if payload == b"odd":
            raise UpstreamError("upstream_protocol", "It is odd.")
        if payload == b"error":
            self.is_over, self.answer.error = True, UpstreamError("upstream_error", "It failed.")
        elif payload == b"end":
            note_finish(self.answer, "end", FinishReason.STOP)
        elif payload != b"half":
            events.append(BlockDelta(0, payload.decode()))
        return payload != b"half"


def words(*texts):
    return b"".join(b"data: " + text.encode() + b"\n\n" for text in texts)


def read(data, size=None):
    """Return the words of a stream that comes in reads of a size, and its answer."""
    reader = StreamReader(Frames(), LIMITS)
    parts = [data] if size is None else [data[at : at + size] for at in range(0, len(data), size)]
    events = [event for part in parts for event in reader.receive(part)]
    return [event.text for event in [*events, *reader.receive_eof()]], reader.answer


@pytest.mark.parametrize("size", [None, 1])
@pytest.mark.parametrize(
    ("texts", "said", "error"),
    [
        (["a", "end"], ["a"], None),
        (["a", "error", "b", "odd"], ["a"], "It failed."),
        (["a", "odd", "b", "end"], ["a"], "It is odd."),
        (["odd"], [], "It is odd."),
        (["a", *["half"] * 7, "b", *["half"] * 7, "end"], ["a", "b"], None),
        (["a", *["half"] * 8, "b", "end"], ["a"], "eight frames in a row"),
        (["a", "end", *["half"] * 8, "b"], ["a"], None),
        (["a", "end", "odd", "b"], ["a"], None),
    ],
)
def test_what_is_read(texts, said, error, size):
    """What came before an error is kept, nothing behind it is read, and behind the end there are no errors."""
    found, answer = read(words(*texts), size)
    assert found == said
    assert (error or "None") in str(answer.error)
    assert answer.opaque_frames == min(texts.count("half"), 8 if "end" in texts[:2] or error else 99)
    assert (answer.raw_finish_reason is not None) is (error is None)


@given(
    st.lists(st.sampled_from(["a", "b", "half", "odd", "error", "end"]), max_size=20),
    st.lists(st.integers(0, 300), max_size=8),
)
def test_any_cut(texts, cuts):
    """However the bytes are cut, the words and what is learnt are the same."""
    reader, data = StreamReader(Frames(), LIMITS), words(*texts, "last")
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    events = [event for a, b in pairwise(places) for event in reader.receive(data[a:b])]
    missing = ""
    try:
        events += reader.receive_eof()
    except UpstreamError as error:
        missing = str(error)
    whole = StreamReader(Frames(), LIMITS)
    assert events == whole.receive(data)
    found, learnt = reader.answer, whole.answer
    assert (found.raw_finish_reason, found.opaque_frames) == (learnt.raw_finish_reason, learnt.opaque_frames)
    assert str(found.error) == str(learnt.error)
    assert bool(missing) is (learnt.raw_finish_reason is None and learnt.error is None)


def test_names():
    """A format is told the name of each frame, also of those that have none."""
    frames = Frames()
    StreamReader(frames, LIMITS).receive(b"event: ping\ndata: a\n\ndata: b\n\n")
    assert frames.read_at_all == [(b"a", b"ping"), (b"b", b"message")]


def test_a_missing_end():
    """An end that is missing is raised, or noted where the last bytes still say something; nothing is no answer."""
    reader = StreamReader(Frames(), LIMITS)
    assert reader.receive(words("a")) == [BlockDelta(0, "a")]
    with pytest.raises(UpstreamError, match="upstream_truncated"):
        reader.receive_eof()
    found, answer = read(b"data: a")
    assert (found, answer.error.code) == (["a"], "upstream_truncated")
    with pytest.raises(UpstreamError, match="with nothing"):
        read(b": ping\n\n")


def test_limits():
    """A line that is too long is raised: from there on nothing can be read."""
    with pytest.raises(UpstreamError, match="over the gateway's limits"):
        read(words("x" * 101))


def test_whole_answers():
    """A whole answer is read once it is all there, within its limit."""
    answer = Answer()
    reader = WholeReader(lambda body, known: [BlockDelta(0, f"{body}{known is answer}")], LIMITS, answer)
    assert (reader.receive(b"ab"), reader.receive(b"c")) == ([], [])
    assert reader.receive_eof() == [BlockDelta(0, "b'abc'True")]
    assert (reader.answer, reader.is_whole, StreamReader.is_whole) == (answer, True, False)
    with pytest.raises(UpstreamError, match="limit"):
        reader.receive(b"123456")
