import attrs
import pytest

from ainf.formats.base import Answer, PipeLimits
from ainf.formats.collected import Collected, WholeBody
from ainf.formats.observe import no_answer
from ainf.inference.errors import UpstreamError
from ainf.inference.outcome import Ending
from tests.formats.chat.support import CAPPED, COMPLETED, outcome, style

LIMITS = PipeLimits(line=10, event=10, answer=8)


@attrs.define
class Judge:
    """A format whose answers are any bytes; one that begins with "E" is an error."""

    bodies: list[bytes] = attrs.field(factory=list)

    def read(self, body, answer):
        self.bodies.append(body)
        if not body:
            raise no_answer()
        if body.startswith(b"E"):
            answer.error = UpstreamError("upstream_error", "It failed.")
            return None
        answer.raw_finish_reason = "end"
        return len(body) - 1

    def capped(self, body, told, ending):
        assert (told, ending.finish_reasons) == (CAPPED, "strict")
        return b"capped " + body


def collected():
    return Collected(Judge(), LIMITS, Answer())


@pytest.mark.parametrize("reads", [[b"abcdefgh"], [b"a", b"bcd", b"", b"efgh"]])
def test_read_once_whole(reads):
    """The judge reads the body at its end, whole and once; nothing is handed over before."""
    judge = Judge()
    pipe = Collected(judge, LIMITS, Answer())
    readings = [pipe.receive(data) for data in reads]
    assert judge.bodies == []
    assert not any(reading.data or reading.output_bytes or reading.is_content for reading in readings)
    last = pipe.receive_eof()
    assert judge.bodies == [b"abcdefgh"]
    assert (last.data, last.output_bytes, last.is_content, last.is_meaningful) == (b"", 7, True, True)
    assert pipe.close(COMPLETED, style()) == b"abcdefgh"


def test_an_answer_without_output_is_content():
    """An answer that says nothing is an answer all the same."""
    pipe = collected()
    pipe.receive(b"a")
    last = pipe.receive_eof()
    assert (last.output_bytes, last.is_content) == (0, True)


def test_an_error_is_no_content():
    """An error object is noted in the answer and commits to nothing."""
    pipe = collected()
    pipe.receive(b"E")
    last = pipe.receive_eof()
    assert (last.output_bytes, last.is_content, pipe.answer.error.code) == (0, False, "upstream_error")


def test_what_the_judge_refuses():
    """What is no answer is raised."""
    with pytest.raises(UpstreamError, match="upstream_protocol"):
        collected().receive_eof()


def test_cap():
    """At a cap the judge writes the answer anew."""
    pipe = collected()
    pipe.receive(b"abc")
    pipe.receive_eof()
    assert pipe.close(CAPPED, style("strict")) == b"capped abc"


def test_only_answers_are_closed():
    """Before a whole answer's head a failure is a status: to be told of one here is a bug."""
    with pytest.raises(AssertionError):
        collected().close(outcome(Ending.SHUTDOWN, "shutting_down"), style())


def test_nothing_to_cut_or_take_back():
    """A reading holds no bytes, so a cut leaves it whole, and nothing was handed over that could come back."""
    pipe = collected()
    pipe.receive(b"abc")
    reading = pipe.receive_eof()
    piece, rest = pipe.split(reading, 1)
    assert (piece.data, piece.output_bytes, rest) == (b"", 0, reading)
    pipe.rewind(b"")
    assert pipe.close(COMPLETED, style()) == b"abc"
    assert not pipe.is_wrapped


def test_body():
    """A body is kept to its limit; blanks are no sign of life."""
    body = WholeBody(4)
    assert [body.receive(data) for data in (b"", b" \n", b"ab")] == [False, False, True]
    assert body.whole() == b" \nab"
    with pytest.raises(UpstreamError, match="over the gateway's limit"):
        body.receive(b"c")
