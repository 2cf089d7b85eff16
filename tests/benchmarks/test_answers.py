"""The end of an answer is found whatever the reads are, and a failure is never counted as a success."""

import pytest

from benchmarks.answers import AnswerReader
from benchmarks.dialects import CHAT, MESSAGES, RESPONSES

BODY = b'{"data: ": 1}'
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
FRAMES = b'data: {"n":1}\n\ndata: {"n":2}\n\n'


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


STREAM = HEAD + chunk(FRAMES) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
DIALECTS = [
    (CHAT, FRAMES + b"data: [DONE]\n\n"),
    (MESSAGES, FRAMES + b'event: message_stop\ndata: {"type": "message_stop"}\n\n'),
    (RESPONSES, FRAMES + b'event: response.completed\ndata: {"text": "' + b"x" * 200 + b'"}\n\n'),
]


def ends(reader, data, size):
    """Return after how many bytes the answer was over, in reads of ``size``."""
    for at in range(0, len(data), size):
        if reader.receive(data[at : at + size]):
            return min(at + size, len(data))
    return None


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 1000])
@pytest.mark.parametrize("answer", [WHOLE, STREAM])
def test_an_answer_is_over_with_its_last_byte_and_not_before(answer, size):
    """In reads of any size, the end is found at the last byte, and it is a good end."""
    reader = AnswerReader(CHAT.end)
    assert ends(reader, answer, size) == len(answer)
    assert reader.ended_well
    assert reader.status == 200
    assert reader.size == len(answer)


@pytest.mark.parametrize("size", range(1, len(STREAM)))
def test_every_frame_is_counted_once_whatever_the_cut(size):
    """A frame's marker that two reads share is one frame."""
    reader = AnswerReader(CHAT.end)
    ends(reader, STREAM, size)
    assert reader.frames == 3


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 1000])
@pytest.mark.parametrize(("dialect", "frames"), DIALECTS, ids=["chat", "messages", "responses"])
def test_a_stream_ends_well_with_the_last_event_of_its_dialect(dialect, frames, size):
    """Wherever reads cut it, the mark of the last event is found; without that event the end is none."""
    reader = AnswerReader(dialect.end)
    stream = HEAD + chunk(frames) + b"0\r\n\r\n"
    assert ends(reader, stream, size) == len(stream)
    assert reader.ended_well
    reader.clear()
    broken = HEAD + chunk(FRAMES) + b"0\r\n\r\n"
    assert ends(reader, broken, size) == len(broken)
    assert not reader.ended_well
    reader.clear()
    cut = HEAD + chunk(frames[:-2]) + b"0\r\n\r\n"
    assert ends(reader, cut, size) == len(cut)
    assert not reader.ended_well


def test_a_json_answer_has_no_frames():
    """A body of known length is bytes, whatever it says."""
    reader = AnswerReader(CHAT.end)
    assert reader.receive(WHOLE)
    assert reader.frames == 0


@pytest.mark.parametrize(
    "answer",
    [
        WHOLE.replace(b"200 OK", b"402 Payment Required"),
        STREAM.replace(b"200 OK", b"503 Service Unavailable"),
        HEAD + chunk(FRAMES) + b"0\r\n\r\n",
        HEAD + b"0\r\n\r\n",
    ],
)
def test_an_error_or_a_stream_without_its_end_is_over_but_not_well(answer):
    """A status other than 200, and a stream that ends without [DONE], are failures."""
    reader = AnswerReader(CHAT.end)
    assert reader.receive(answer)
    assert not reader.ended_well


def test_an_empty_body_is_over_with_its_head():
    """A content-length of 0 waits for nothing."""
    assert AnswerReader(CHAT.end).receive(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


def test_the_next_answer_owes_nothing_to_the_last():
    """After ``clear`` the same reader reads a new answer of the other kind."""
    reader = AnswerReader(CHAT.end)
    reader.receive(STREAM)
    reader.clear()
    assert ends(reader, WHOLE, 4) == len(WHOLE)
    assert (reader.frames, reader.size) == (0, len(WHOLE))


def test_what_is_not_http_is_refused():
    """An answer of another protocol raises instead of being waited for."""
    with pytest.raises(ValueError, match="not an HTTP answer"):
        AnswerReader(CHAT.end).receive(b"SSH-2.0-OpenSSH\r\n\r\n")
