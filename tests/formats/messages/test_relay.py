import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.formats.base import Answer
from ainf.formats.messages.format import MESSAGES
from ainf.formats.messages.frames import STOP_FRAME
from ainf.inference.errors import UpstreamError
from ainf.inference.events import FinishReason
from ainf.inference.outcome import Ending
from ainf.inference.usage import Usage
from tests.formats.messages.support import (
    CAPPED,
    COMPLETED,
    ENDED,
    FAILED,
    HELLO,
    LIMITS,
    LISTENER,
    PING,
    STOP,
    WHOLE,
    arguments,
    block_start,
    client_message,
    documents,
    event,
    expected,
    feed,
    finish,
    fixture,
    kinds,
    outcome,
    shown,
    start,
    stop,
    style,
    text,
    thinking,
    thinking_start,
    tool_start,
)
from tests.formats.messages.test_wire import HOSTILE, SMALL_HOSTILE


def relay(limits=LIMITS):
    return MESSAGES.relay(LISTENER, limits, Answer())


def client_view(pipe, data, size=None):
    readings = feed(pipe, data, size)
    return shown(readings), sum(reading.output_bytes for reading in readings), pipe.close(COMPLETED, style())


@pytest.mark.parametrize("name", ENDED)
def test_fixture(name):
    """A provider's stream passes as it came; all of it is understood."""
    want, data = expected(name), fixture(name)
    pipe = relay()
    prefix, size, group = client_view(pipe, data)
    answer = pipe.answer
    assert (answer.response_id, answer.model, answer.raw_finish_reason) == (
        want["response_id"],
        want["model"],
        want["finish"],
    )
    assert answer.usage == Usage(*want["usage"])
    if name == "citations":
        assert size > len(want["text"].encode())  # the provider's own tools write, too
    else:
        said = want["text"] + want["reasoning"] + "".join(call[1] + call[2] for call in want["calls"])
        assert size == len(said.encode()) - 2 * sum(call[2] == "{}" for call in want["calls"])
    assert len(documents(prefix)) == want["shown_frames"]
    assert prefix + group == data + (STOP_FRAME if name == "compatible" else b"")
    assert (answer.error, answer.opaque_frames, pipe.is_wrapped) == (None, 0, False)


@pytest.mark.parametrize("name", ENDED)
def test_the_client_understands(name):
    """What the official client makes of a relayed stream is what the provider said."""
    want = expected(name)
    prefix, _, group = client_view(relay(), fixture(name))
    message = client_message(prefix + group)
    assert "".join(block.text for block in message.content if block.type == "text") == want["text"]
    assert (message.stop_reason, message.stop_sequence) == (want["finish"], want["stop_sequence"])


@pytest.mark.parametrize("name", ENDED)
@pytest.mark.parametrize("size", [1, 7, 100])
def test_small_reads(name, size):
    """The smallest reads give the same client view as one read."""
    assert client_view(relay(), fixture(name), size) == client_view(relay(), fixture(name))


delta_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
frames = st.one_of(
    st.builds(text, delta_text, st.integers(0, 2)),
    st.builds(thinking, delta_text),
    st.builds(arguments, delta_text),
    st.sampled_from([PING, block_start(1), stop(1), thinking_start(2), tool_start(3), finish(None), start(), finish()]),
    st.sampled_from([STOP, event("error", error={"type": "overloaded_error"}), event("something_new", x=[1])]),
    st.sampled_from([b": remark\n\n", b"retry: 10\r\r", text("a").replace(b"\n", b"\r\n"), b"event: ping\n\n"]),
    st.sampled_from(SMALL_HOSTILE).map(lambda payload: b"data: " + payload + b"\n\n"),
)


@given(st.lists(frames, max_size=12), st.lists(st.integers(1, 60), max_size=30))
def test_any_cut(parts, cuts):
    """Any cut of any bytes gives the client the same bytes and us the same facts."""
    data = b"".join(parts) + finish() + STOP

    def view(cuts):
        pipe, readings, at = relay(), [], 0
        for cut in cuts:
            readings.append(pipe.receive(data[at : at + cut]))
            at += cut
        readings += [pipe.receive(data[at:]), pipe.receive_eof()]
        group = pipe.close(COMPLETED if pipe.answer.raw_finish_reason else FAILED, style())
        return shown(readings), sum(reading.output_bytes for reading in readings), repr(pipe.answer), group

    def attempt(cuts):
        try:
            return view(cuts)
        except UpstreamError as error:
            return str(error)

    assert attempt(cuts) == attempt([])


@pytest.mark.parametrize("payload", HOSTILE)
def test_hostile(payload):
    """Scalars, wrong types, deep and endless JSON and lone surrogates pass as they came and break nothing."""
    pipe, odd = relay(), b"event: x\ndata: " + payload + b"\n\n"
    assert shown(feed(pipe, HELLO + odd + PING + finish() + STOP)) == HELLO + odd + PING
    assert pipe.answer.raw_finish_reason == "end_turn"
    assert kinds(pipe.close(CAPPED, style()))[-2:] == ["message_delta", "message_stop"]


def test_evidence_in_opaque_frames():
    """A stop reason and usage are found in a frame that cannot be decoded."""
    pipe = relay()
    pipe.receive(HELLO + finish("max_tokens", stop_sequence=7, usage={"output_tokens": 9}))
    assert (pipe.answer.raw_finish_reason, pipe.answer.finish) == ("max_tokens", FinishReason.LENGTH)
    assert (pipe.answer.opaque_frames, pipe.answer.usage) == (1, Usage(5, 0, 9))


@pytest.mark.parametrize(
    "frame",
    [
        event("error", error={"type": "overloaded_error", "message": "Overloaded"}),
        b'data: {"type":"error","error":{"type":"overloaded_error"}}\n\n',
        b'data: {"error":{"type":"overloaded_error"}}\n\n',
        b'event: error\ndata: {"error":{"type":"overloaded_error"},"type":"content_block_stop","index":0}\n\n',
    ],
)
def test_in_band_error(frame):
    """An error is not relayed, and nothing behind it; the end is told in our own words, with the open block ended."""
    pipe = relay()
    begun = start() + block_start() + text("a")
    assert pipe.receive(begun).data == begun
    assert shown([pipe.receive(frame + text("b") + stop()), pipe.receive(finish() + STOP)]) == b""
    assert (pipe.answer.error.code, pipe.answer.raw_finish_reason) == ("upstream_overloaded", None)
    pipe.receive_eof()
    block_end, error = documents(pipe.close(FAILED, style(retryable=True)))
    assert block_end == {"type": "content_block_stop", "index": 0}
    assert (error["type"], error["error"]["type"], error["error"]["retryable"]) == ("error", "overloaded_error", True)


def test_too_many_open_blocks():
    """A block too many is the provider's error; the client is told the ends of those that it saw, and of no others."""
    pipe = relay()
    begun = start() + b"".join(block_start(index) for index in range(1024))
    assert pipe.receive(start()).data == start()
    assert shown([pipe.receive(begun[len(start()) :] + block_start(1024) + text("a"))]) == begun[len(start()) :]
    assert pipe.answer.error.code == "upstream_protocol"
    *ends, error = documents(pipe.close(FAILED, style()))
    assert [end["index"] for end in ends] == list(range(1024))
    assert error["type"] == "error"


def test_overloaded_fixture():
    """A provider that is overloaded in the middle has told its input, and no end."""
    want, pipe = expected("overloaded"), relay()
    assert len(documents(shown(feed(pipe, fixture("overloaded"))))) == want["shown_frames"]
    assert (pipe.answer.error.code, pipe.answer.usage) == (want["error"], Usage(*want["usage"]))
    assert pipe.answer.raw_finish_reason is None


@pytest.mark.parametrize("tail", [b"", PING, STOP, text("half")[:-9], b"data: [DONE]\n\n"])
def test_truncated(tail):
    """A stream without a stop reason is cut, whatever ends it."""
    pipe = relay()
    pipe.receive(HELLO + tail)
    if pipe.answer.error is None:
        with pytest.raises(UpstreamError, match="upstream_truncated"):
            pipe.receive_eof()
    else:
        pipe.receive_eof()
        assert pipe.answer.error.code == "upstream_truncated"
    assert pipe.answer.usage == Usage(5, 0, 3)


def test_stop_without_a_reason():
    """message_stop without a stop reason is known to be no end at once, whatever still comes."""
    pipe = relay()
    assert pipe.receive(HELLO + STOP + finish()).data == HELLO
    assert (pipe.answer.error.code, pipe.answer.raw_finish_reason) == ("upstream_truncated", None)


def test_nothing():
    """A stream without any event is no answer."""
    with pytest.raises(UpstreamError, match="upstream_protocol"):
        feed(relay(), b": ping\n\n")


def test_behind_the_end():
    """Behind the stop reason usage joins the group; output, pings, errors and a second reason do not."""
    pipe, usage = relay(), event("message_delta", delta={}, usage={"output_tokens": 90})
    late = text("late") + PING + finish("max_tokens") + event("error", error={}) + b"data: {oops\n\n"
    assert shown(feed(pipe, HELLO + finish() + late + usage + STOP + usage + STOP)) == HELLO
    assert pipe.close(COMPLETED, style()) == finish() + usage + STOP
    assert (pipe.answer.raw_finish_reason, pipe.answer.usage, pipe.answer.error) == ("end_turn", Usage(5, 0, 90), None)


def test_missing_stop_is_added():
    """A stream whose provider forgot message_stop ends with one."""
    pipe = relay()
    feed(pipe, HELLO + finish())
    assert pipe.close(COMPLETED, style()) == finish() + STOP_FRAME


def test_group_is_bounded():
    """What follows the end does not grow without a bound."""
    pipe = relay()
    pipe.receive(HELLO + finish())
    for _ in range(20):
        pipe.receive(event("message_delta", delta={}, usage={"output_tokens": 9}, x="x" * 60_000))
    assert len(pipe.close(COMPLETED, style())) <= LIMITS.answer + len(STOP)


@pytest.mark.parametrize("mode", ["extended", "strict", "loud"])
@pytest.mark.parametrize(
    "begun",
    [b"", start(), start() + block_start() + text("a"), HELLO, start() + thinking_start() + thinking("a") + stop()
     + tool_start(1) + arguments('{"a"', 1)],
)  # fmt: skip
def test_cap(begun, mode):
    """A cap ends what is open and tells its reason and usage, however far the stream was."""
    pipe = relay()
    assert pipe.receive(begun + b": x\n\n").data == begun + b": x\n\n"
    group = pipe.close(CAPPED, style(mode))
    if mode == "loud":
        *rest, error = documents(group)
        assert (error["type"], error["error"]["code"]) == ("error", "spend_cap_exceeded")
        assert rest[-1]["delta"]["stop_reason"] == "spend_cap_exceeded"
        assert b"message_stop" not in group
        return
    message = client_message(begun + group, is_standard=mode == "strict")
    assert message.stop_reason == ("max_tokens" if mode == "strict" else "spend_cap_exceeded")
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (6, 2)
    opened = [document["index"] for document in documents(begun + group) if document["type"] == "content_block_start"]
    ended = [document["index"] for document in documents(begun + group) if document["type"] == "content_block_stop"]
    assert sorted(opened) == sorted(ended)


@pytest.mark.parametrize("begun", [b"", start(), HELLO])
def test_failure(begun):
    """A failure is one error event behind what was open."""
    pipe = relay()
    pipe.receive(begun + block_start(1) if begun else b"")
    assert kinds(pipe.close(FAILED, style())) == [*(["content_block_stop"] if begun else []), "error"]


@pytest.mark.parametrize("ending", [Ending.CLIENT_DISCONNECTED, Ending.ABANDONED])
def test_nobody_is_told(ending):
    """A client that left gets nothing."""
    pipe = relay()
    pipe.receive(HELLO)
    assert pipe.close(outcome(ending), style()) == b""


def test_clamped_finish_is_ours():
    """A provider that reached a clamped limit has its stop reason rewritten, with everything else in it as it was."""
    pipe = relay()
    feed(pipe, HELLO + finish("max_tokens", usage={"output_tokens": 7, "x": 1}, container=None) + STOP)
    delta, _ = documents(pipe.close(CAPPED, style()))
    assert delta["delta"] == {"stop_reason": "spend_cap_exceeded", "stop_sequence": None, "container": None}
    assert delta["usage"] == {"output_tokens": 7, "x": 1}


def test_clamped_finish_without_usage():
    """A rewritten end tells the usage that was settled where the provider told none."""
    pipe = relay()
    feed(pipe, HELLO + event("message_delta", delta={"stop_reason": "max_tokens"}) + STOP)
    delta, _ = documents(pipe.close(CAPPED, style()))
    assert delta["usage"]["output_tokens"] == CAPPED.usage.output_tokens


@pytest.mark.parametrize(("allowed", "passed"), [(0, 3), (1, 3), (2, 4), (5, 6), (6, 7), (99, 8)])
def test_split_and_rewind(allowed, passed):
    """A reading is cut between events; the end then closes only what the client saw begin."""
    parts = [start(), block_start(), PING, text("Hi"), text(" yo"), stop(), tool_start(1), arguments("{}", 1)]
    pipe = relay()
    reading = pipe.receive(b"".join(parts))
    piece, rest = pipe.split(reading, allowed)
    assert piece.data == b"".join(parts[:passed])
    assert piece.data + rest.data == reading.data
    assert piece.output_bytes + rest.output_bytes == reading.output_bytes
    assert piece.output_bytes <= allowed
    pipe.rewind(rest.data)
    client_message(piece.data + pipe.close(CAPPED, style("strict")))


@given(st.integers(0, 12))
def test_rewind_anywhere(cut):
    """Wherever the newest events are taken back, the client sees every block that began end once."""
    parts = [start(), block_start(), text("a"), stop(), thinking_start(1), thinking("b", 1), tool_start(2),
             arguments("{", 2), stop(1), arguments("}", 2), stop(2), PING]  # fmt: skip
    pipe = relay()
    pipe.receive(b"".join(parts))
    pipe.rewind(b"".join(parts[cut:]))
    seen = documents(b"".join(parts[:cut]) + pipe.close(CAPPED, style("strict")))
    opened = [document["index"] for document in seen if document["type"] == "content_block_start"]
    ended = [document["index"] for document in seen if document["type"] == "content_block_stop"]
    assert (sorted(opened), [document["type"] for document in seen].count("message_start")) == (sorted(ended), 1)


def test_limits():
    """A line over its limit ends the stream as a protocol error."""
    with pytest.raises(UpstreamError, match="upstream_protocol"):
        relay().receive(b"data: " + b"x" * (LIMITS.line + 1))


def test_meaning():
    """Pings, empty deltas and the prelude are no content; text is, and so is the end."""
    pipe = relay()
    assert not any(pipe.receive(frame).is_meaningful for frame in (start(), block_start(), PING, text("")))
    assert pipe.receive(text("a")).is_content
    assert pipe.receive(finish()).is_content
    assert WHOLE.endswith(STOP)
