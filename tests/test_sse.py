"""The event-stream reader and writer, by the WHATWG rules."""

import time
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ainf.inference.errors import UpstreamError
from ainf.sse import HEARTBEAT, EventBatch, EventStreamReader, frame


def make_reader(*, line: int = 4096, event: int = 8192) -> EventStreamReader:
    return EventStreamReader(max_line_bytes=line, max_event_bytes=event)


def read(data: bytes) -> EventBatch:
    return make_reader().receive(data)


class LineReader(EventStreamReader):
    """Recognises nothing: what the reader is compared with."""

    def receive(self, data: bytes) -> EventBatch:
        return self._read_lines(data)


class CountingReader(EventStreamReader):
    """Counts the reads that were not recognised, and the lines in them."""

    reads = 0
    lines = 0

    def _read_lines(self, data: bytes) -> EventBatch:
        self.reads += 1
        return super()._read_lines(data)

    def _read_field(self, line: bytes) -> None:
        self.lines += 1
        super()._read_field(line)


def outcomes(reader: EventStreamReader, reads: list[bytes]) -> list[object]:
    """Return all that a reader says of these reads, down to the limit that stops it."""
    said: list[object] = []
    for step in [*(partial(reader.receive, data) for data in reads), reader.receive_eof]:
        try:
            batch = step()
        except UpstreamError as error:
            return [*said, error.code]
        said.append((batch.raw, batch.payloads, batch.names, batch.ends, reader.pending))
    return said


def in_pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    return [stream[a:b] for a, b in pairwise(places)]


@pytest.mark.parametrize(
    ("stream", "payloads"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: a: b\n\n", [b"a: b"]),
        (b"data: a\r\n\r\n", [b"a"]),
        (b"data: a\r\r", [b"a"]),
        (b"data: a\r\n\rdata: b\n\r\n", [b"a", b"b"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data: a\ndata\ndata:\n\n", [b"a\n\n"]),
        (b"data\n\n", [b""]),
        (b"data: \n\n", [b""]),
        (b": comment\n\ndata: a\n\n", [b"a"]),
        (b"data: a\n: comment\n\n", [b"a"]),
        (b"\n\n\ndata: a\n\n\n\ndata: b\n\n", [b"a", b"b"]),
        (b"id: 1\nretry: 5\nunknown: x\ndata: a\n\n", [b"a"]),
        (b"id: 1\n\n", []),
        (b"Data: a\n data: b\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n", []),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a"]),
        (b"data: \xe2\x80\xa8\xc2\x85\x0b\x0c\x1c\x1d\x1e\n\n", [b"\xe2\x80\xa8\xc2\x85\x0b\x0c\x1c\x1d\x1e"]),
        (b"data: \xff\xfe\x00\n\n", [b"\xff\xfe\x00"]),
        (b'data: {"content": "\\n\\ndata: [DONE]"}\n\n', [b'{"content": "\\n\\ndata: [DONE]"}']),
    ],
)
def test_payloads_follow_the_standard_and_raw_is_untouched(stream, payloads):
    """Each stream of whole events gives the payloads that the standard says, and all of its bytes."""
    batch = read(stream)
    assert batch.payloads == payloads
    assert batch.raw == stream
    assert len(batch.ends) == len(payloads)


@pytest.mark.parametrize(
    "separator",
    [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n: c\n\n", b"\nid: 7\n\n"],
    ids=["lf", "crlf", "cr", "comment", "id"],
)
def test_raw_can_be_cut_behind_every_payload(separator):
    """Cutting raw at an end leaves exactly the events behind it."""
    batch = read(b"".join(b"data: " + text + separator for text in (b"one", b"two", b"three")))
    first, second, third = batch.ends
    assert third == len(batch.raw)
    assert read(batch.raw[first:]).payloads == [b"two", b"three"]
    assert read(batch.raw[second:]).payloads == [b"three"]


@pytest.mark.parametrize("separator", [b"\n\n", b"\r\n\r\n", b"\n: c\n\n: d\n\n"], ids=["lf", "crlf", "comments"])
def test_the_events_behind_some_are_a_batch_of_their_own(separator):
    """Payloads, names, bytes and ends are those of a read that begins behind them."""
    stream = b"".join(b"event: " + text + b"\ndata: " + text + separator for text in (b"one", b"two", b"three"))
    behind = read(stream).behind(1)
    rest = read(behind.raw)
    assert stream.endswith(behind.raw)
    assert (behind.payloads, behind.names, behind.ends) == (rest.payloads, rest.names, rest.ends)
    assert behind.names == behind.payloads == [b"two", b"three"]
    assert read(b"data: a\n\ndata: b\n\n").behind(1).names is None


def test_names_are_absent_until_an_event_is_named():
    """Without an event line there are no names; with one, every payload of the batch has its own."""
    assert read(b"data: a\n\n").names is None
    assert read(b": c\n\ndata: a\n\n").names is None
    batch = read(b"data: a\n\nevent: ping\ndata: b\n\nevent: lost\n\ndata: c\n\nevent\ndata: d\n\n")
    assert batch.names == [b"message", b"ping", b"message", b"message"]
    assert batch.payloads == [b"a", b"b", b"c", b"d"]


def test_an_unfinished_event_is_held_back_and_joined_with_what_follows():
    """Only whole events are handed out; the bytes held back are counted."""
    reader = make_reader()
    assert not reader.receive(b"data: on")
    assert reader.pending == 8
    assert not reader.receive(b"e\n")
    batch = reader.receive(b"\ndata: two\n\nda")
    assert batch.raw == b"data: one\n\ndata: two\n\n"
    assert batch.payloads == [b"one", b"two"]
    assert reader.pending == 2
    assert reader.receive(b"ta: three\n\n").raw == b"data: three\n\n"
    assert reader.pending == 0


def test_a_carriage_return_ends_an_event_at_once_and_its_line_feed_follows():
    """A stream that ends its lines with CR is not delayed by the question whether an LF follows."""
    reader = make_reader()
    batch = reader.receive(b"data: a\r\n\r")
    assert batch.payloads == [b"a"]
    assert not reader.receive(b"")
    batch = reader.receive(b"\ndata: b\n\n")
    assert batch.raw == b"\ndata: b\n\n"
    assert batch.payloads == [b"b"]
    assert batch.ends == [len(batch.raw)]


@pytest.mark.parametrize(
    ("tail", "raw", "payloads"),
    [
        (b"data: a", b"data: a\n\n", [b"a"]),
        (b"data: a\n", b"data: a\n\n", [b"a"]),
        (b"data: a\r\n", b"data: a\r\n\n", [b"a"]),
        (b"data: a\r", b"data: a\r\n\n", [b"a"]),
        (b"data: a\ndata: b", b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b": c", b": c\n\n", []),
        (b"", b"", []),
    ],
)
def test_a_clean_end_completes_the_last_event(tail, raw, payloads):
    """The last event counts without its blank line, which is added so that what we say next stands alone."""
    reader = make_reader()
    reader.receive(b"data: first\n\n" + tail)
    batch = reader.receive_eof()
    assert batch.raw == raw
    assert batch.payloads == payloads
    assert reader.pending == 0
    if payloads:
        assert read(batch.raw).payloads == payloads


@pytest.mark.parametrize(
    "reads",
    [
        [b"data: " + b"x" * 95 + b"\n\n"],
        [b"data: " + b"x" * 95],
        [b"data: ", b"x" * 40, b"x" * 60],
        [b"\n" + b"x" * 101],
        [b"data: a\n\n" * 10, b"data: a\n" * 20],
        [b"a\n"] * 76,
        [b"data: a\n" * 18, b"y" * 10],
    ],
    ids=["whole line", "read", "line in pieces", "second line", "event", "event in pieces", "open line and event"],
)
def test_a_line_or_an_event_over_its_limit_is_refused(reads):
    """Nothing of the provider's making grows without a bound, finished or not."""
    reader = make_reader(line=100, event=150)
    *before, last = reads
    for data in before:
        reader.receive(data)
    with pytest.raises(UpstreamError) as caught:
        reader.receive(last)
    assert caught.value.code == "upstream_protocol"


def test_limits_hold_one_by_one_not_for_a_read():
    """Many events that are each within the limits may arrive in one read, and lines at the limit pass."""
    reader = make_reader(line=100, event=150)
    assert len(reader.receive(b"data: a\n\n" * 1000).payloads) == 1000
    assert len(reader.receive(b"data: a\n\n" * 11 + b"data: a\ndata: " + b"b" * 94).payloads) == 11
    assert reader.receive(b"\n\n").payloads == [b"a\n" + b"b" * 94]
    reader = make_reader(line=100, event=150)
    assert not reader.receive(b"event: " + b"x" * 60 + b"\ndata: ")
    assert not reader.receive(b"y" * 60)
    assert reader.receive(b"\n\n").payloads == [b"y" * 60]


def test_frames_are_read_back():
    """What the writer makes is what the reader reads, and our heartbeat is nothing to it."""
    stream = frame(b'{"a":1}') + HEARTBEAT + frame(b"two\nlines", event=b"ping") + frame(b"")
    batch = read(stream)
    assert batch.payloads == [b'{"a":1}', b"two\nlines", b""]
    assert batch.names == [b"message", b"ping", b"message"]
    assert frame(b"x") == b"data: x\n\n"
    assert frame(b"x", event=b"e") == b"event: e\ndata: x\n\n"


# --- reads that are recognised as a whole ---

NAMED = [b"event: content_block_delta\ndata: {}\n\n", b"event: ping\ndata: two\n\n"]
SHAPES = {
    "plain": [b"data: one\n\n", b"data: \n\n"],
    "named": NAMED,
    "plain crlf": [b"data: one\r\n\r\n", b"data: \r\n\r\n"],
    "named crlf": [event.replace(b"\n", b"\r\n") for event in NAMED],
    "some named": [*NAMED, b"data: three\n\n"],
}
ODD = [
    b": comment\n\n", b": comment\r\n\r\n", b"\n", b"\r", b"\r\n", b"event: lost\n\n", b"event: lost\r\n\r\n",
    b"event: \ndata: x\n\n", b"event: \r\ndata: x\r\n\r\n",
    b"event: message\ndata: x\n\n", b"event: message\r\ndata: x\r\n\r\n",
    b"event: messages\ndata: x\n\n", b"event: a\ndata: x\ndata: \ndata: b\ndata: y\n\n", b"data: a\nevent: b\n\n",
    b"data: x\ry\r\n\r\n", b"data: x\r\r\n", b"event: a\rb\r\ndata: x\r\n\r\n", b"event: a\r\ndata: x\n\n", b"id: 1\n",
    b"data: x\n", b"event: a\n", b"data", b"event: ", b"\xef\xbb\xbf", b"x", b"data: event: a\n\n",
]  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from([b"", b" ", b"{}", b"event: x", b"message", b"[DONE]", "\u2028\x85".encode(), b"\xff"]),
    st.binary(max_size=20).map(lambda text: text.replace(b"\n", b"").replace(b"\r", b"")),
)


def shaped(event: bytes | None, payload: bytes, end: bytes) -> bytes:
    return (b"" if event is None else b"event: " + event + end) + b"data: " + payload + end + end


def streams_of(names: st.SearchStrategy[bytes | None], end: bytes) -> st.SearchStrategy[bytes]:
    return st.lists(st.builds(shaped, names, TEXTS, st.just(end)), max_size=10).map(b"".join)


REGULAR = st.one_of(*(streams_of(names, end) for names in (st.none(), TEXTS) for end in (b"\n", b"\r\n")))
MIXED = st.lists(
    st.one_of(
        REGULAR,
        st.sampled_from([*ODD, *(event for events in SHAPES.values() for event in events)]),
        st.builds(shaped, st.one_of(st.none(), TEXTS), TEXTS, st.sampled_from([b"\n", b"\r\n", b"\r"])),
    ),
    max_size=8,
).map(b"".join)


@given(
    stream=st.one_of(REGULAR, MIXED),
    cuts=st.lists(st.integers(0, 300), max_size=8),
    limits=st.sampled_from([(1000, 1000), (1000, 2000), (40, 60), (20, 200)]),
)
@example(stream=b"data: a\r\n\r\ndata: b\r\n\r\n", cuts=[22], limits=(1000, 1000))
@example(stream=b"event: a\n\nevent: \ndata: x\ndata: y\n\n", cuts=[], limits=(1000, 1000))
@example(stream=b"event: a\ndata: x\ndata: y\n\nevent: b\n\n", cuts=[], limits=(1000, 1000))
@example(stream=b": c\n\nevent: a\ndata: x\n\nevent: b\ndata: y\n\n", cuts=[33, 34], limits=(1000, 1000))
@example(stream=b": c\n\nevent: a\ndata: x\n\n: c\ndata: y\n\n", cuts=[14, 23], limits=(1000, 1000))
@example(stream=b"data: a\n\ndata: b\r\ndata: c\r\n\r\n", cuts=[17], limits=(1000, 1000))
def test_a_recognised_read_gives_what_its_lines_give(stream: bytes, cuts: list[int], limits: tuple[int, int]):
    """For any stream in any cuts: the same batches, read by read, and the same limit in the same place."""
    reads = in_pieces(stream, cuts)
    line, event = limits
    expected = outcomes(LineReader(max_line_bytes=line, max_event_bytes=event), reads)
    assert outcomes(make_reader(line=line, event=event), reads) == expected


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("events", SHAPES.values(), ids=SHAPES)
def test_one_odd_thing_in_a_regular_read_changes_nothing_else(events: list[bytes], odd: bytes):
    """Alone, before, behind or between regular events, what is not regular is read as lines are."""
    regular = b"".join(events)
    for stream in (odd, odd + regular, regular + odd, regular + odd + regular, odd + odd):
        expected = outcomes(LineReader(max_line_bytes=4096, max_event_bytes=8192), [stream])
        assert outcomes(make_reader(), [stream]) == expected


@pytest.mark.parametrize("events", SHAPES.values(), ids=SHAPES)
def test_reads_of_regular_events_are_recognised(events):
    """Whatever shape the events have, and wherever in its last line one is cut, no read goes line by line."""
    reader = CountingReader(max_line_bytes=4096, max_event_bytes=8192)
    stream = b"".join(events * 5)
    cut = stream.rindex(b"data") + 5
    batch, rest = reader.receive(stream[:cut]), reader.receive(stream[cut:] + stream)
    assert batch.raw + rest.raw == stream + stream
    assert len(batch.payloads) + len(rest.payloads) == 10 * len(events)
    assert reader.reads == 0


def test_reads_are_recognised_again_after_one_that_was_not():
    """A comment costs its own read, although the event behind it was cut between its lines."""
    reader = CountingReader(max_line_bytes=4096, max_event_bytes=8192)
    assert not reader.receive(b": hello\n\nevent: a\ndata: o").payloads
    batch = reader.receive(b"ne\n\nevent: b\ndata: two\n\n")
    assert (batch.payloads, batch.names) == ([b"one", b"two"], [b"a", b"b"])
    assert reader.reads == 1


def test_no_line_is_read_more_than_twice():
    """A provider that drips lines costs linear time, in events that end as in one that does not."""
    reader = CountingReader(max_line_bytes=4096, max_event_bytes=8192)
    for piece in [b"id: 1\n"] * 100 + [b"\nid: 2\nid: 3\n"] * 100:
        reader.receive(piece)
    assert reader.lines <= 2 * 300


def test_what_does_not_fit_is_given_up_line_by_line():
    """A line of beginnings costs one search of the line, not one from each of them: milliseconds, not half a minute."""
    data = b"event: " * 100_000 + b"\n\n" + b"data: x\n\n"
    began = time.process_time()
    assert make_reader(line=1 << 20, event=1 << 20).receive(data).payloads == [b"x"]
    assert time.process_time() - began < 5


@pytest.mark.parametrize("before", [b"data: ", b"event: x\ndata: ", b": c\r"])
def test_a_line_that_drips_costs_what_it_has_bytes(before):
    """What came of a line is not looked at again with each byte of it: a tenth of a second, not fifteen."""
    reader = make_reader(line=1 << 20, event=1 << 20)
    reader.receive(before)
    began = time.process_time()
    for _ in range(200_000):
        reader.receive(b"x")
    assert time.process_time() - began < 5
    assert reader.pending == len(before) + 200_000
