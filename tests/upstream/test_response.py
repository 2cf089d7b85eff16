"""What an answer means, byte for byte."""

import pytest

from ainf.upstream.response import ResponseReader

LINE = b"HTTP/1.1 200 OK\r\n"
LIMIT = 1000


def read(*pieces: bytes, eof: bool = False) -> tuple[ResponseReader, bytes]:
    """Read pieces as far as a connection would, and return the reader and the body."""
    reader = ResponseReader(header_bytes=LIMIT)
    body = b""
    for piece in pieces:
        if reader.failure is not None or reader.complete:
            break
        reader.receive(piece)
        body += reader.take_body()
    if eof:
        reader.receive_eof()
    return reader, body


@pytest.mark.threat(106)
@pytest.mark.parametrize(
    ("answer", "status", "body", "reusable"),
    [
        (LINE + b"Content-Length: 2\r\n\r\nok", 200, b"ok", True),
        (LINE + b"content-length:  2  \r\nconnection: keep-alive\r\n\r\nok", 200, b"ok", True),
        (LINE + b"Content-Length: 0\r\n\r\n", 200, b"", True),
        (LINE + b"Content-Length: 2\r\nConnection: close\r\n\r\nok", 200, b"ok", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", False),
        (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", 200, b"ok", True),
        (LINE + b"Transfer-Encoding: Chunked\r\n\r\n2;x=y\r\nok\r\n1\r\n!\r\n0\r\nT: x\r\n\r\n", 200, b"ok!", True),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nx: y\r\n\r\n" + LINE + b"content-length: 2\r\n\r\nok",
         200, b"ok", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
        (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", 304, b"", True),
        (b"HTTP/1.1 307 Go\r\nlocation: http://evil.test/\r\ncontent-length: 2\r\n\r\nno", 307, b"no", True),
        (b"HTTP/1.1 429 Slow\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nzz", 429, b"zz", True),
        (LINE + b"content-encoding: identity\r\ncontent-length: 2\r\n\r\nok", 200, b"ok", True),
        (LINE + b"content-length: 2\r\n\r\nokJUNK", 200, b"ok", False),
        (LINE + b"content-length: 2\r\n\r\nok" + LINE + b"content-length: 4\r\n\r\nevil", 200, b"ok", False),
        (LINE + b"connection: close\r\ncontent-length: 2\r\n\r\nokJUNK", 200, b"ok", False),
        (b"HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nevil", 204, b"", False),
    ],
)  # fmt: skip
def test_good_answers(answer, status, body, reusable):
    """Head, body and whether the connection lives on; the same whole and byte by byte."""
    for pieces in ([answer], [answer[at : at + 1] for at in range(len(answer))]):
        reader, got = read(*pieces)
        assert reader.failure is None
        assert reader.head is not None
        assert reader.head.status == status
        assert got == body
        assert reader.complete
        if len(pieces) == 1:
            assert reader.reusable is reusable


@pytest.mark.threat(77, 97, 103, 105, 106, "S18")
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"hello world", "upstream_protocol"),
        (b"\x16\x03\x01\x02\x00\x01", "upstream_protocol"),
        (b"<html>", "upstream_protocol"),
        (b"HTTP/2 200 OK\r\n\r\n", "upstream_protocol"),
        (b"HTTP/2.0 200 OK\r\n\r\n", "upstream_protocol"),
        (b"HTTP/0.9 200 OK\r\n\r\n", "upstream_protocol"),
        (b"HTTP/1.1 abc OK\r\n\r\n", "upstream_protocol"),
        (b"HTTP/1.1 999 OK\r\ncontent-length: 0\r\n\r\n", "upstream_protocol"),
        (b"HTTP/1.1 099 OK\r\n\r\n", "upstream_protocol"),
        (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nzzz", "upstream_protocol"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "upstream_protocol"),
        (LINE + b"content-length: 2\r\ncontent-length: 2\r\n\r\nok", "upstream_protocol"),
        (LINE + b"content-length: 2, 2\r\n\r\nok", "upstream_protocol"),
        (LINE + b"content-length: -2\r\n\r\nok", "upstream_protocol"),
        (LINE + b"content-length: +2\r\n\r\nok", "upstream_protocol"),
        (LINE + b"content-length: 99999999999999999999999\r\n\r\nok", "upstream_protocol"),
        (LINE + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", "upstream_protocol"),
        (LINE + b"transfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n", "upstream_protocol"),
        (LINE + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "upstream_protocol"),
        (LINE + b"transfer-encoding: identity\r\n\r\nok", "upstream_protocol"),
        (LINE + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\nzz", "upstream_protocol"),
        (LINE + b"content-encoding: zstd\r\ncontent-length: 2\r\n\r\nzz", "upstream_protocol"),
        (LINE + b"x: a\0b\r\n\r\n", "upstream_protocol"),
        (LINE + b"x: a\rb\r\n\r\n", "upstream_protocol"),
        (LINE + b"x: a\r\n folded\r\n\r\n", "upstream_protocol"),
        (LINE + b"x : a\r\n\r\n", "upstream_protocol"),
        (LINE + b"x: " + b"a" * LIMIT + b"\r\n\r\n", "upstream_protocol"),
        (LINE + b"x: y\r\n" * 200, "upstream_protocol"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 50, "upstream_protocol"),
        (b"\r\n" * LIMIT, "upstream_protocol"),
        (LINE + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"x: y\r\n" * 200, "upstream_protocol"),
        (LINE + b"transfer-encoding: chunked\r\n\r\n5;" + b"x" * LIMIT * 2, "upstream_protocol"),
        (LINE + b"transfer-encoding: chunked\r\n\r\nzz\r\n", "upstream_protocol"),
        (LINE + b"transfer-encoding: chunked\r\n\r\nfffffffffffffffff\r\n", "upstream_protocol"),
        (b"", "upstream_error"),
        (b"HTTP/1.1 200 O", "upstream_error"),
        (LINE + b"content-length: 5\r\n\r\nabc", "upstream_truncated"),
        (LINE + b"transfer-encoding: chunked\r\n\r\n5\r\nabc", "upstream_truncated"),
        (LINE + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", "upstream_truncated"),
        (LINE + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n", "upstream_truncated"),
    ],
)
def test_bad_answers(answer, code):
    """Each has its code, whole (its end behind it) and byte by byte, and the connection is never used again."""
    for pieces in ([answer], [answer[at : at + 1] for at in range(len(answer))]):
        reader, _ = read(*pieces, eof=True)
        assert reader.failure is not None
        assert reader.failure.code == code
        assert not reader.complete
        assert not reader.reusable


def test_the_heads_limit_holds_when_everything_comes_in_one_read():
    """A large head is refused even with its whole body behind it."""
    reader, body = read(LINE + b"x: " + b"a" * LIMIT + b"\r\ncontent-length: 2\r\n\r\nok")
    assert reader.failure is not None
    assert reader.failure.code == "upstream_protocol"
    assert body == b""


def test_headers_of_informational_answers_are_not_the_answers():
    """The head has its own headers only."""
    reader, _ = read(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + LINE + b"content-length: 0\r\n\r\n")
    assert reader.head is not None
    assert reader.head.headers == ((b"content-length", b"0"),)


def test_an_answer_without_a_declared_length_ends_with_the_connection():
    """It is complete at the end of the bytes, and the connection is spent."""
    reader, body = read(LINE + b"\r\nab", b"c", eof=True)
    assert body == b"abc"
    assert reader.complete
    assert not reader.reusable
    assert reader.failure is None


def test_body_bytes_before_a_broken_chunk_are_kept():
    """One read may bring good chunks and a bad one: the good ones are handed out first."""
    reader, body = read(LINE + b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\nzz\r\n")
    assert body == b"ok"
    assert reader.failure is not None


def test_all_chunks_of_a_read_are_joined():
    """The unit is the read."""
    reader, _ = read(LINE + b"transfer-encoding: chunked\r\n\r\n")
    reader.receive(b"2\r\nab\r\n2\r\ncd\r\n2\r\ne")
    assert reader.take_body() == b"abcde"
    assert reader.take_body() == b""


def test_long_streams_are_not_a_large_head():
    """The head's limit begins anew with every body byte."""
    reader, _ = read(LINE + b"transfer-encoding: chunked\r\n\r\n")
    for _ in range(LIMIT):
        reader.receive(b"2\r\n")
        reader.receive(b"ab\r\n")
        assert reader.take_body() == b"ab"
    assert reader.failure is None


def test_one_reader_reads_answer_after_answer():
    """Nothing of an answer is left in the next one."""
    reader, _ = read(LINE + b"a: b\r\ncontent-type: Text/Event-Stream; charset=utf-8\r\ncontent-length: 1\r\n\r\nx")
    assert reader.head is not None
    assert reader.head.content_type == b"text/event-stream"
    reader.begin()
    assert reader.head is None
    reader.receive(b"HTTP/1.1 500 Oops\r\nSet-Cookie: a\r\nset-cookie: b\r\ncontent-length: 1\r\n\r\ny")
    assert reader.take_body() == b"y"
    assert reader.head.status == 500
    assert reader.head.headers == ((b"set-cookie", b"a"), (b"set-cookie", b"b"), (b"content-length", b"1"))
    assert reader.head.get(b"set-cookie") == b"a"
    assert reader.head.get(b"a", b"none") == b"none"
    assert reader.head.content_type == b""
    assert reader.reusable


@pytest.mark.parametrize("line", [b"HTTP/1.1 200\r\n", b"HTTP/1.1 200 \r\n"])
@pytest.mark.parametrize("rest", [b"\r\n", b"x: y\r\n\r\n", b"content-length: 2\r\ncontent-length: 2\r\n\r\n"])
def test_a_status_without_a_reason(line, rest):
    """A 200 tells that the request was taken on, whether or not a reason stands behind it."""
    reader, _ = read(line + rest)
    assert reader.status == 200
