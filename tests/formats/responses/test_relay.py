import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.formats.base import Answer, PipeLimits
from ainf.inference.errors import UpstreamError
from ainf.inference.events import FinishReason
from ainf.inference.outcome import Ending
from ainf.inference.usage import Usage
from ainf.sse import HEARTBEAT
from tests.formats.responses.support import (
    ADDED,
    BROKEN,
    CAPPED,
    CREATED,
    DONE,
    FORMAT,
    PART,
    STREAMS,
    call,
    completed,
    documents,
    event,
    expected,
    feed,
    fixture,
    incomplete,
    listener,
    message,
    outcome,
    relay,
    shown,
    style,
    text,
    validate,
)

FINISHED = [name for name in STREAMS if expected(name)["error"] is None]
ITEM_DONE = event("response.output_item.done", sequence_number=8, output_index=0, item=message("Hi"))


def client_view(data, size=None):
    pipe = relay()
    readings = feed(pipe, data, size)
    return shown(readings), sum(reading.output_bytes for reading in readings), pipe


@pytest.mark.parametrize("name", FINISHED)
@pytest.mark.parametrize("size", [None, 1, 50])
def test_fixture(name, size):
    """A provider's stream passes byte for byte, its end when told; every word of it is counted once."""
    want, data = expected(name), fixture(name)
    prefix, counted, pipe = client_view(data, size)
    assert prefix + pipe.close(DONE, style()) == data
    assert prefix.count(b"event: ") == data.count(b"event: ") - 1
    calls = "".join(call_name + arguments for _, call_name, arguments in want["calls"])
    reasoning = want["reasoning"].replace("\n\n", "")
    assert counted == len((want["text"] + reasoning + want["refusal"] + calls).encode())
    answer = pipe.answer
    assert (answer.response_id, answer.model, answer.raw_finish_reason) == (
        want["response_id"],
        want["model"],
        want["finish"],
    )
    assert answer.usage == Usage(*want["usage"])
    assert (answer.error, answer.opaque_frames, answer.created, pipe.is_wrapped) == (None, 0, 1767225600, False)


@pytest.mark.parametrize("name", [name for name in STREAMS if name not in FINISHED])
def test_errors(name):
    """A provider's own error is not shown; what came before is, and its usage is kept."""
    want = expected(name)
    prefix, _, pipe = client_view(fixture(name))
    assert (pipe.answer.error.code, pipe.answer.raw_finish_reason) == (want["error"], None)
    assert pipe.answer.usage == (None if want["usage"] is None else Usage(*want["usage"]))
    group = pipe.close(outcome(Ending.UPSTREAM_ERROR, want["error"]), style())
    assert validate(prefix + group)[-1]["type"] == "response.failed"
    assert b"10.0.0.7" not in group
    assert b"org-" not in group


@pytest.mark.parametrize("name", FINISHED)
@pytest.mark.parametrize("ending", [CAPPED, BROKEN])
@given(st.data())
def test_cut_anywhere(name, ending, data):
    """Wherever a stream is cut, the client is told in valid events that go on from the last one it has."""
    frames = fixture(name).split(b"\n\n")[:-2]
    at = data.draw(st.integers(0, len(frames)))
    back = data.draw(st.integers(0, at))
    pipe = relay()
    given_ = [frame + b"\n\n" for frame in frames[:at]]
    for frame in given_:
        pipe.receive(frame)
    if back:
        pipe.rewind(b"".join(given_[at - back :]))
    seen = b"".join(given_[: at - back])
    found = validate(seen + pipe.close(ending, style()))
    last = found[-1]["response"]
    assert last["status"] == ("incomplete" if ending is CAPPED else "failed")
    deltas = [one["delta"] for one in found if one["type"].endswith(".delta")]
    told = json.dumps(last["output"], ensure_ascii=False)
    assert all(json.dumps(piece, ensure_ascii=False)[1:-1] in told for piece in deltas)
    added = [one["output_index"] for one in found if one["type"] == "response.output_item.added"]
    assert sorted(one["output_index"] for one in found if one["type"] == "response.output_item.done") == sorted(added)
    assert len(last["output"]) == len(added)


def test_rewind_forgets_what_was_not_handed_over():
    """Events that were taken back are not ended, repeated or counted on from."""
    pipe, rest = relay(), text("lo", 4) + ITEM_DONE
    pipe.receive(CREATED + ADDED + PART + text("Hel") + rest)
    pipe.rewind(rest)
    group = documents(pipe.close(CAPPED, style()))
    assert [(one["type"], one["sequence_number"]) for one in group] == [
        ("response.output_text.done", 4),
        ("response.content_part.done", 5),
        ("response.output_item.done", 6),
        ("response.incomplete", 7),
    ]
    assert group[0]["text"] == "Hel"
    assert group[2]["item"] == group[3]["response"]["output"][0]
    assert (group[2]["item"]["status"], group[2]["item"]["content"][0]["text"]) == ("incomplete", "Hel")


def test_rewind_of_everything():
    """A client that was handed nothing is told of the beginning first."""
    pipe, everything = relay(), CREATED + ADDED + PART + text("Hi")
    pipe.receive(everything)
    pipe.rewind(everything)
    assert [(one["type"], one["sequence_number"]) for one in validate(pipe.close(BROKEN, style()))] == [
        ("response.created", 0),
        ("response.failed", 1),
    ]


@pytest.mark.parametrize("data", [b"", HEARTBEAT, b"data: {\n\n"])
def test_failure_before_the_beginning(data):
    """A stream that fails before it begins is begun for the SDKs, then fails."""
    pipe = relay()
    pipe.receive(data)
    created, failed = validate(pipe.close(BROKEN, style(retryable=True)))
    assert created["response"]["id"] == failed["response"]["id"] == "resp_inf1"
    assert failed["response"]["error"] == {
        "code": "upstream_truncated",
        "message": "The provider's answer broke off before its end.",
        "type": "upstream_error",
        "param": None,
        "inference_id": "inf1",
        "billed": "0.002",
        "retryable": True,
    }


@pytest.mark.parametrize(
    ("finish_reasons", "kind", "reason", "code"),
    [
        ("extended", "response.incomplete", "spend_cap_exceeded", None),
        ("strict", "response.incomplete", "max_output_tokens", None),
        ("loud", "response.failed", None, "insufficient_quota"),
    ],
)
@pytest.mark.parametrize("is_reached", [True, False])
def test_spend_cap(finish_reasons, kind, reason, code, is_reached):
    """A cap is told in the words of the setting, mid-stream and where the provider reached a clamped limit."""
    pipe = relay()
    seen = CREATED + ADDED + PART + text("Hi") + ITEM_DONE
    pipe.receive(seen + (incomplete("max_output_tokens", [message("Hi")]) if is_reached else b""))
    *_, last = documents(pipe.close(CAPPED, style(finish_reasons)))
    whole = last["response"]
    assert last["type"] == kind
    assert (whole["incomplete_details"] or {}).get("reason") == reason
    assert (whole["error"] or {}).get("code") == code
    assert whole["output"][0]["content"][0]["text"] == "Hi"
    assert whole["usage"]["output_tokens"] == (3 if is_reached else 7)
    assert last["sequence_number"] == 9


@pytest.mark.parametrize("ending", [Ending.CLIENT_DISCONNECTED, Ending.ABANDONED])
def test_nobody_is_told(ending):
    """A client that is gone is told nothing."""
    assert client_view(CREATED + completed())[2].close(outcome(ending), style()) == b""


@pytest.mark.parametrize(
    "end", [completed([message("Hisecret")]), incomplete("max_output_tokens", [message("Hisecret")])]
)
def test_an_unpaid_end_is_not_handed_over(end):
    """A cap that cuts before the provider's end does not hand over the output in it."""
    pipe = relay()
    rest = text("secret", 4)
    pipe.receive(CREATED + ADDED + PART + text("Hi") + rest + end)
    pipe.rewind(rest)
    group = pipe.close(CAPPED, style())
    assert b"secret" not in group
    assert documents(group)[-1]["response"]["output"][0]["content"][0]["text"] == "Hi"


@pytest.mark.parametrize(
    "frames",
    [
        [ITEM_DONE],
        [event("response.output_text.done", output_index=0, content_index=0, text="Hi"), ITEM_DONE],
        [ADDED, PART, text("H"), event("response.output_text.done", output_index=0, content_index=0, text="Hi")],
        [event("response.content_part.done", output_index=0, part={"type": "output_text", "text": "Hi"})],
        [],
    ],
)  # fmt: skip
def test_servers_without_deltas(frames):
    """What no delta brought counts where it comes first, in cuts too, and never again."""
    _, counted, pipe = client_view(CREATED + b"".join(frames) + completed([message("Hi")]))
    assert counted == 2
    pipe = relay()
    piece, _ = pipe.split(pipe.receive(CREATED + b"".join(frames)), 1)
    assert piece.output_bytes <= 1
    assert b"Hi" not in piece.data


def test_an_event_that_comes_twice():
    """Two events that are the same byte for byte count the same, so that cuts agree with readings."""
    pipe = relay()
    reading = pipe.receive(ITEM_DONE + ITEM_DONE)
    assert reading.output_bytes == pipe.split(reading, 100)[0].output_bytes == 4


def test_what_came_late_is_kept_by_its_size():
    """Of payloads whose text no delta brought only the sizes are kept, however long the payloads are."""
    pipe = relay()
    pipe.receive(CREATED + ADDED)
    tracemalloc.start()
    try:
        for number in range(1, 41):
            late = event("response.output_text.done", output_index=0, content_index=0, text="x" * number, pad="y" * 800)
            assert pipe.receive(late).output_bytes == 1
        grown = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert grown < 40 * 600


def test_split():
    """A reading is cut between events, at what has been paid for."""
    pipe = relay()
    reading = pipe.receive(CREATED + ADDED + PART + text("abc") + text("def", 4))
    piece, rest = pipe.split(reading, 4)
    assert (piece.data, piece.output_bytes) == (CREATED + ADDED + PART + text("abc"), 3)
    assert (rest.data, rest.output_bytes) == (text("def", 4), 3)


def test_calls_that_are_cut():
    """A call whose arguments are cut is incomplete, and never said to be done with them."""
    pipe = relay()
    added = event("response.output_item.added", sequence_number=1, output_index=0, item=call("", status="in_progress"))
    delta = event("response.function_call_arguments.delta", sequence_number=2, output_index=0, delta='{"a"')
    pipe.receive(CREATED + added + delta)
    done, failed = documents(pipe.close(BROKEN, style()))
    assert done["item"] == failed["response"]["output"][0] == call('{"a"', status="incomplete")


@pytest.mark.parametrize(
    "frame",
    [
        b"data: {\n\n",
        b"data: 7\n\n",
        b'data: {"type": "response.output_text.delta", "delta": "\xff"}\n\n',
        b'data: {"type": "response.output_text.delta", "delta": "\\ud83d"}\n\n',
        b"data: " + b"[" * 5000 + b"\n\n",
        event("response.output_text.delta", output_index="0", delta="x"),
        event("response.output_item.done", output_index=None, item=7),
    ],
)  # fmt: skip
def test_opaque_frames(frame):
    """What cannot be decoded is relayed and counted, and no cut of it raises."""
    seen, counted, pipe = client_view(CREATED + frame + completed())
    assert seen == CREATED + frame
    assert pipe.answer.opaque_frames == 1
    assert 0 < counted <= len(frame)
    reading = relay().receive(frame)
    assert pipe.split(reading, 1 << 20)[0].output_bytes == reading.output_bytes == counted


def test_full():
    """An answer too long to be repeated is relayed and counted all the same, and ended without repeating it."""
    limits = PipeLimits(line=1 << 16, event=1 << 16, answer=4096)
    pipe = FORMAT.relay(listener(), limits, Answer())
    data = CREATED + ADDED + PART + b"".join(text("x" * 100, number) for number in range(3, 53))
    done = event("response.output_text.done", output_index=0, content_index=0, text="x" * 5000)
    assert [pipe.receive(data).output_bytes, pipe.receive(done).output_bytes] == [5000, 0]
    (last,) = documents(pipe.close(CAPPED, style()))
    assert (last["response"]["output"], last["response"]["id"]) == ([], "resp_1")


def test_end_marker_of_another_format():
    """An end marker is not shown: SDKs would stop reading before the end."""
    assert client_view(CREATED + b"data: [DONE]\n\n" + text("a") + completed())[0] == CREATED + text("a")


def test_tool_names_count():
    """A call's name is visible output."""
    added = event("response.output_item.added", output_index=0, item=call("", name="größe"))
    assert client_view(CREATED + added + completed([call("", name="größe")]))[1] == len("größe".encode())


def test_unknown_deltas_count():
    """What a provider's own tools are told is output too."""
    delta = event("response.mcp_call_arguments.delta", output_index=0, delta='{"a":1}')
    assert client_view(CREATED + delta + completed())[1] == 7


def test_ends():
    """The evidence of an end is noted as the provider says it."""
    for data, raw, finish in [
        (incomplete("steered"), "incomplete:steered", FinishReason.OTHER),
        (completed([call()]), "completed", FinishReason.TOOL_CALLS),
        (event("response.output_item.added", output_index=0, item=call()) + completed(), "completed",
         FinishReason.TOOL_CALLS),
    ]:  # fmt: skip
        answer = client_view(CREATED + data)[2].answer
        assert (answer.raw_finish_reason, answer.finish) == (raw, finish)


def test_truncated():
    """A stream without its end is an error, and an end in the middle of an event says nothing."""
    pipe = relay()
    pipe.receive(CREATED + text("a"))
    with pytest.raises(UpstreamError, match="broke off"):
        pipe.receive_eof()
    pipe = relay()
    pipe.receive(CREATED + b'event: response.completed\ndata: {"type": "response.comp')
    with pytest.raises(UpstreamError, match="broke off"):
        pipe.receive_eof()
    assert pipe.answer.opaque_frames == 1


hostile = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(
        ["type", "text", "content", "output", "id", "name", "arguments", "error", "usage", "status", "summary"]
    ), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
kinds = st.sampled_from([
    "response.created", "response.output_item.added", "response.output_item.done", "response.content_part.added",
    "response.content_part.done", "response.output_text.delta", "response.output_text.done",
    "response.reasoning_summary_part.done", "response.function_call_arguments.done", "response.completed",
    "response.incomplete", "response.failed", "error", "x",
])  # fmt: skip
fields = st.dictionaries(
    st.sampled_from(["delta", "item", "part", "response", "output_index", "content_index", "sequence_number", "text",
                     "error", "arguments", "code"]), hostile, max_size=5,
)  # fmt: skip


@given(st.lists(st.tuples(kinds, fields), max_size=8), st.integers(0, 8))
def test_hostile_json(events, back):
    """Nothing that a provider sends raises anything but its own fault, in relay and reader, nor when it is ended."""
    frames = [event(kind, **said) for kind, said in events]
    pipe = relay()
    reading = pipe.receive(b"".join(frames))
    assert pipe.split(reading, 1 << 30)[0].output_bytes <= reading.output_bytes
    shown_frames = reading.data.split(b"\n\n")[:-1]
    pipe.rewind(b"".join(frame + b"\n\n" for frame in shown_frames[max(0, len(shown_frames) - back) :]))
    terminal = documents(pipe.close(BROKEN, style()))
    assert terminal[-1]["type"] == "response.failed"
    reader = FORMAT.stream_reader(PipeLimits(1 << 16, 1 << 16, 1 << 16), Answer())
    try:
        reader.receive(b"".join(frames))
        reader.receive_eof()
    except UpstreamError:
        pass
