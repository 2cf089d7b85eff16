import pytest

from ainf.simulator import Close, Reset, Send, Stall, Wait, head, whole
from ainf.simulator.steps import coalesced, dripped, script_from_json

STEPS = [
    Send(b"head", status=200),
    Send(b"one", tokens=1, text_bytes=3),
    Wait(1.0),
    Send(b"two", tokens=2, finish=True),
    Send(b"", tokens=4, usage=True),
    Stall(),
]


def test_neighbours_become_one_write():
    """Sends between two waits are joined, with their facts."""
    assert list(coalesced(STEPS)) == [
        Send(b"headone", tokens=1, text_bytes=3, status=200),
        Wait(1.0),
        Send(b"two", tokens=6, finish=True, usage=True),
        Stall(),
    ]
    assert list(coalesced(STEPS[:2])) == [Send(b"headone", tokens=1, text_bytes=3, status=200)]


def test_bytes_become_writes():
    """Each byte is a send, the last one has the facts, and a pause may stand between."""
    assert list(dripped([Send(b"ab", tokens=1)], 0.5)) == [Send(b"a"), Wait(0.5), Send(b"b", tokens=1)]
    assert list(dripped([Send(b"", tokens=1), Reset()], 0.5)) == [Send(b"", tokens=1), Reset()]


def test_endless_steps_stay_lazy():
    """Joining and dripping walk no further than they must."""

    def endless():
        while True:
            yield Send(b"xy")
            yield Wait(1.0)

    assert next(iter(coalesced(endless()))) == Send(b"xy")
    assert next(iter(dripped(endless(), 0.0))) == Send(b"x")


def test_a_script_can_be_json():
    """Each kind of step has its word; bytes are characters up to U+00FF."""
    script = script_from_json({
        "answers": [[{"send": "a\xff"}, {"wait": 1}, {"stall": True}], [{"reset": True}], [{"close": True}]]
    })

    assert script.next_answer() == [Send(b"a\xff"), Wait(1.0), Stall()]
    assert script.next_answer() == [Reset()]
    assert script.next_answer() == [Close()]
    assert script.next_answer() is None


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {"answers": 1},
        {"answers": [1]},
        {"answers": [["x"]]},
        {"answers": [[{"wait": "x"}]]},
        {"answers": [[{"send": "\u20ac"}]]},
        {"answers": [[{"explode": True}]]},
    ],
)
def test_what_is_no_script_is_refused(document):
    """Anything else raises ValueError."""
    with pytest.raises(ValueError, match=r"script|answer|step|codec"):
        script_from_json(document)


def test_heads_and_whole_answers():
    """A head is an event stream's unless told; a whole answer has its length."""
    assert b"text/event-stream" in head().data
    assert head(500, {"a": "b"}) == Send(b"HTTP/1.1 500 Internal Server Error\r\na: b\r\n\r\n", status=500)
    assert whole(200, "x/y", b"12").data == b"HTTP/1.1 200 OK\r\ncontent-type: x/y\r\ncontent-length: 2\r\n\r\n12"
