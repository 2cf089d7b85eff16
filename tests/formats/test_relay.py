"""The relay with a format as plain as can be: payloads are words, and a few of them mean something.

"end" is the evidence of an end, "error" an error, "hidden" is not shown, "." says nothing; every other word is output.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.formats.base import Answer, PipeLimits, Reading
from ainf.formats.observe import note_finish
from ainf.formats.relay import StreamRelay, payloads_of, split_stream
from ainf.inference.errors import UpstreamError
from ainf.inference.events import FinishReason
from tests.formats.chat.support import COMPLETED, feed, shown, style

LIMITS = PipeLimits(line=100, event=200, answer=100)
SPECIAL = {b"end", b"error", b"hidden"}


def visible(payload):
    return 0 if payload in SPECIAL | {b"."} else len(payload)


class Judge:
    """A format's word on a stream of words."""

    def __init__(self):
        self.answer = Answer()
        self.is_over = False
        self.kept = []
        self.judged = []
        self.looks = 0
        self.rewound = None

    def measure(self, batch):
        assert not self.is_over
        self.looks += 1
        plain = 0
        names = batch.names or [b"message"] * len(batch.payloads)
        for payload, name in zip(batch.payloads, names, strict=True):
            if payload in SPECIAL or name != b"message":
                break
            plain += 1
        return sum(map(visible, batch.payloads[:plain])), plain

    def judge(self, payload, name, event):
        self.judged.append((payload, name, event))
        if self.is_over or payload == b"end":
            self.kept.append(event)
        if payload == b"end" and not self.is_over:
            self.is_over = True
            note_finish(self.answer, "end", FinishReason.STOP)
            return 0, False
        if payload == b"error" and not self.is_over:
            self.is_over = True
            self.answer.error = UpstreamError("upstream_error", "It failed.")
        return (0, False) if self.is_over else (visible(payload), payload != b"hidden")

    def is_readable(self, payload):
        return payload != b"half"

    def rewind(self, payloads):
        self.rewound = payloads

    def close(self, outcome, ending):
        return b"".join(self.kept)


def relay(judge=None):
    return StreamRelay(judge or Judge(), visible, LIMITS)


def word(text, end=b"\n\n"):
    return b"data: " + text + end


END = word(b"end")


def test_plain_reads_pass():
    """A read of plain events goes on as it came, its output counted; events without output are no content."""
    pipe, data = relay(), b": ping\n\n" + word(b"ab") + b"id: 7\n" + word(b"c")
    assert pipe.receive(data) == Reading(data, 3, is_content=True, is_meaningful=True)
    assert pipe.receive(word(b".")) == Reading(word(b"."), 0, is_content=False, is_meaningful=False)
    assert pipe.receive(b": ping\n\n") == Reading(b": ping\n\n", 0, is_content=False, is_meaningful=False)


def test_from_the_end_on_nothing_passes():
    """The evidence of an end is content, kept by the judge with all that follows it, remarks dropped."""
    judge = Judge()
    pipe = relay(judge)
    reading = pipe.receive(word(b"ab") + b": c\n\n" + END + b": d\n\n" + word(b"late"))
    assert reading == Reading(word(b"ab") + b": c\n\n", 2, is_content=True, is_meaningful=True)
    assert pipe.receive(b": e\n\n" + word(b"x")).data == b""
    assert pipe.close(COMPLETED, style()) == END + word(b"late") + word(b"x")


def test_the_end_alone_is_content():
    """The end without any output is the commit point, too."""
    assert relay().receive(END) == Reading(b"", 0, is_content=True, is_meaningful=True)


def test_an_error_is_no_content():
    """An error is noted; nothing of it or behind it is shown, and the body's end is no other one."""
    pipe = relay()
    readings = feed(pipe, word(b"ab") + word(b"error") + word(b"c"))
    assert shown(readings) == word(b"ab")
    assert (readings[0].output_bytes, pipe.answer.error.code) == (2, "upstream_error")


def test_what_the_judge_hides():
    """A single event is taken out, with what stands before and behind it left as it was."""
    data = word(b"ab") + b": c\n\n" + word(b"hidden") + b": d\n\n" + word(b"e")
    assert relay().receive(data).data == data.replace(word(b"hidden"), b"")


def test_names_and_bytes_reach_the_judge():
    """A named event is judged by its name, with its bytes as they came, less the remarks before it."""
    judge = Judge()
    event = b"event: note\r\ndata: ab\r\n\r\n"
    reading = relay(judge).receive(b": c\r\n\r\n" + event)
    assert judge.judged == [(b"ab", b"note", event)]
    assert (reading.data, reading.output_bytes) == (b": c\r\n\r\n" + event, 2)


def test_behind_the_beginning_of_an_answer_the_rest_of_its_read_is_plain_again():
    """What an answer begins and ends with is judged; the deltas between, but for the first, are measured at once."""
    judge = Judge()
    deltas = word(b"ab") + b": c\n\n" + word(b"d") + word(b".") + word(b"efg")
    reading = relay(judge).receive(word(b"hidden") + word(b"hidden") + deltas + word(b"hidden") + END)
    assert reading == Reading(deltas, 6, is_content=True, is_meaningful=True)
    assert [payload for payload, _, _ in judge.judged] == [b"hidden", b"hidden", b"ab", b"hidden", b"end"]
    assert judge.looks == 2


def test_a_read_that_never_fits_is_not_decoded_over_and_over():
    """Output that is not plain, event after event, costs a bounded number of looks at the whole read."""
    judge = Judge()
    data = (b"event: note\n" + word(b"ab")) * 100
    assert relay(judge).receive(data) == Reading(data, 200, is_content=True, is_meaningful=True)
    assert (len(judge.judged), judge.looks) == (100, 5)


PARTS = st.lists(
    st.sampled_from([
        word(b"ab"), word(b"c", b"\r\n\r\n"), word(b"d", b"\r\r"), b": e\n\n", b"\n", word(b"."), word(b"hidden"),
        b"event: note\n" + word(b"f"), b"data: g\ndata: h\n\n", b"retry: 1\r\n\r\n",
    ]),
    max_size=10,
)  # fmt: skip


@given(PARTS, st.lists(st.integers(1, 30), max_size=20))
def test_any_cut(parts, cuts):
    """Wherever the bytes are cut, the same pass, count the same, and the same are kept."""

    def client_view(reads):
        pipe = relay()
        readings = [*(pipe.receive(data) for data in reads), pipe.receive_eof()]
        return shown(readings), sum(each.output_bytes for each in readings), pipe.close(COMPLETED, style())

    data = b"".join(parts) + END + word(b"x")
    places = [0]
    for cut in cuts:
        places.append(min(places[-1] + cut, len(data)))
    whole = client_view([data])
    assert whole[0] == b"".join(parts).replace(word(b"hidden"), b"")
    assert client_view([data[a:b] for a, b in zip(places, [*places[1:], len(data)], strict=True)]) == whole
    assert client_view([data[at : at + 1] for at in range(len(data))]) == whole


@pytest.mark.parametrize(("data", "code"), [(b"", "upstream_protocol"), (b": a\n\n", "upstream_protocol"),
                                            (word(b"a"), "upstream_truncated")])  # fmt: skip
def test_no_end(data, code):
    """A body that ends without evidence is no answer, or a part of one."""
    pipe = relay()
    pipe.receive(data)
    with pytest.raises(UpstreamError) as caught:
        pipe.receive_eof()
    assert caught.value.code == code


def test_the_last_event_without_its_blank_line():
    """What the end of the body leaves unfinished counts and gets its blank line; the missing end is noted beside it."""
    pipe = relay()
    pipe.receive(word(b"ab", b""))
    reading = pipe.receive_eof()
    assert (reading.data, reading.output_bytes, pipe.answer.error.code) == (word(b"ab"), 2, "upstream_truncated")


def test_half_an_event_at_the_end():
    """A last event that is cut inside its payload is dropped and counted."""
    pipe = relay()
    pipe.receive(END + word(b"half", b""))
    assert pipe.receive_eof().data == b""
    assert pipe.answer.opaque_frames == 1


@pytest.mark.parametrize("rest", [b"e", b"event: ab", b"event: ab\n", b"event: ab\ndat", b"id: 7\n", b": note"])
def test_an_event_without_a_payload_at_the_end(rest):
    """A last event that is cut before its payload is dropped: SDKs would decode a payload that is not there."""
    pipe = relay()
    shown = pipe.receive(word(b"ab") + rest).data
    with pytest.raises(UpstreamError) as caught:
        pipe.receive_eof()
    assert (shown, caught.value.code, pipe.answer.opaque_frames) == (word(b"ab"), "upstream_truncated", 0)


@pytest.mark.parametrize(
    ("data", "shown_data", "size"),
    [
        (word(b"ab", b"\r\r"), word(b"ab", b"\r\r"), 2),
        (word(b"ab", b"\r\r") + word(b"c", b"\r"), word(b"ab", b"\r\r") + word(b"c", b"\r\n\n"), 3),
    ],
)
def test_a_carriage_return_ends_the_body(data, shown_data, size):
    """A line end that might have gone on at the end of the body is one."""
    pipe = relay()
    before, last = pipe.receive(data), pipe.receive_eof()
    assert (before.data + last.data, before.output_bytes + last.output_bytes) == (shown_data, size)
    assert pipe.answer.error.code == "upstream_truncated"


@pytest.mark.parametrize(("allowed", "passed"), [(0, 0), (1, 0), (2, 1), (4, 1), (5, 3), (6, 4), (99, 4)])
def test_split(allowed, passed):
    """A cut stands behind the last event that is allowed whole; both halves add up."""
    events = [word(b"ab"), b": x\n\n" + word(b"cde"), word(b"."), word(b"f") + b": y\n\n"]
    reading = Reading(b"".join(events), 6, is_content=True, is_meaningful=True)
    piece, rest = split_stream(reading, allowed, visible)
    assert piece.data == b"".join(events[:passed])
    assert piece.data + rest.data == reading.data
    assert piece.output_bytes + rest.output_bytes == 6
    assert piece.output_bytes <= allowed


def test_rewind():
    """What was not handed over comes back to the judge as payloads."""
    judge = Judge()
    pipe = relay(judge)
    reading = pipe.receive(word(b"ab") + word(b"cd") + word(b"e"))
    piece, rest = pipe.split(reading, 2)
    pipe.rewind(rest.data)
    assert judge.rewound == [b"cd", b"e"]
    assert payloads_of(piece.data) == [b"ab"]
    assert payloads_of(b"") == []


@pytest.mark.parametrize("data", [b"data: " + b"x" * 200, b"data: x\n" * 50])
def test_limits(data):
    """A line, or an event, over its limit ends the stream."""
    with pytest.raises(UpstreamError, match="upstream_protocol"):
        relay().receive(data)
