"""The event-stream reader and writer, by the WHATWG rules."""

import pytest

from ainf.inference.errors import UpstreamError
from ainf.sse import HEARTBEAT, EventBatch, EventStreamReader, frame


def make_reader(*, line: int = 4096, event: int = 8192) -> EventStreamReader:
    return EventStreamReader(max_line_bytes=line, max_event_bytes=event)


def read(data: bytes) -> EventBatch:
    return make_reader().receive(data)


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
