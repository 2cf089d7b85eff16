import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.formats.base import Reading
from ainf.inference.errors import UpstreamError
from ainf.inference.events import FinishReason
from ainf.inference.usage import Usage
from tests.formats.chat.support import (
    CAPPED,
    COMPLETED,
    DONE,
    FINISH,
    LIMITS,
    NAMES,
    USAGE_CHUNK,
    WIRE_USAGE,
    chunk,
    documents,
    expected,
    feed,
    fixture,
    frame_of,
    relay,
    shown,
    style,
    text,
)


def client_view(pipe, data, size=None):
    readings = feed(pipe, data, size)
    return shown(readings), sum(reading.output_bytes for reading in readings), pipe.close(COMPLETED, style())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("include_usage", [True, False])
def test_fixture(name, include_usage):
    """A provider's stream passes as it came, its usage chunk only where it was asked for; all of it is understood."""
    want, data = expected(name), fixture(name)
    pipe = relay(include_usage=include_usage)
    prefix, size, group = client_view(pipe, data)
    answer = pipe.answer
    assert (answer.response_id, answer.model, answer.raw_finish_reason) == (
        want["response_id"],
        want["model"],
        want["finish"],
    )
    assert answer.usage == Usage(*want["usage"])
    calls = "".join(name + arguments for _, name, arguments in want["calls"])
    assert size == len((want["text"] + want["reasoning"] + calls).encode())
    assert data.startswith(prefix)
    assert prefix.count(b"data: ") == want["shown_frames"]
    if include_usage or "usage" not in want["kept"]:
        assert prefix + group == data
    else:
        assert [bool(document["choices"]) for document in documents(group)] == [True]
    assert (answer.error, answer.opaque_frames, pipe.is_wrapped) == (None, 0, False)


@pytest.mark.parametrize("name", NAMES)
def test_one_byte_at_a_time(name):
    """The smallest reads give the same client view as one read."""
    assert client_view(relay(), fixture(name), 1) == client_view(relay(), fixture(name))


delta_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
frames = st.one_of(
    delta_text.map(text),
    delta_text.map(lambda piece: chunk({"reasoning": piece, "unknown": [1, {"a": None}]})),
    st.just(b": ping\n\n"),
    st.just(b"event: message\r\nid: 7\r\ndata: {}\r\n\r\n"),
    st.just(b'data: {"choices":[{"delta":{"content":"\xff\xfe"}}]}\n\n'),
    st.just(b'data: {"choices":[{"delta":{"content":"half\n\n'),
    st.just(b"data: 17\n\n"),
    st.just(b'data: {"choices":\ndata: []}\n\n'),
    st.just(b"retry: 10\r\r"),
    st.just(USAGE_CHUNK),
    st.just(USAGE_CHUNK.replace(b"\n", b"\r\n")),
    st.just(b"\n"),
)


@given(st.lists(frames, max_size=12), st.lists(st.integers(1, 200), max_size=30), st.booleans())
def test_byte_exact_at_any_cut(parts, cuts, include_usage):
    """Whatever frames come and wherever the bytes are cut, the client gets exactly them before the terminal group."""
    before = b"".join(part for part in parts if include_usage or b'"usage": {' not in part)
    data = b"".join(parts) + FINISH + USAGE_CHUNK + DONE
    reference = client_view(relay(include_usage=include_usage), data)
    pipe, readings, at = relay(include_usage=include_usage), [], 0
    for cut in cuts:
        readings.append(pipe.receive(data[at : at + cut]))
        at += cut
    readings += [pipe.receive(data[at:]), pipe.receive_eof()]
    group = pipe.close(COMPLETED, style())
    assert shown(readings) == before
    assert (shown(readings), sum(reading.output_bytes for reading in readings), group) == reference
    assert group == FINISH + (USAGE_CHUNK if include_usage else b"") + DONE


def test_prelude_is_no_content():
    """A role chunk, empty choices and pings are data, but neither content nor meaningful."""
    pipe = relay()
    for part in (b": ping\n\n", chunk(), chunk({"role": "assistant", "content": ""}), chunk({"content": None})):
        assert pipe.receive(part) == Reading(part, 0, is_content=False, is_meaningful=False)
    assert pipe.receive(text("é")) == Reading(text("é"), 2, is_content=True, is_meaningful=True)


@pytest.mark.parametrize(
    ("delta", "size"),
    [
        ({"content": "aé"}, 3),
        ({"content": [{"type": "text", "text": "aé"}]}, 3),
        ({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "ab"}]}]}, 2),
        ({"content": [{"type": "reference", "reference_ids": [1]}]}, 0),
        ({"reasoning_content": "abc"}, 3),
        ({"reasoning": "abc"}, 3),
        ({"reasoning": "abc", "reasoning_content": "abc"}, 3),
        ({"reasoning": "abc", "reasoning_details": [{"type": "reasoning.text", "text": "abc"}]}, 3),
        ({"reasoning_details": [{"type": "reasoning.summary", "summary": "abc"}, 7, {"type": [1]}]}, 3),
        ({"reasoning_details": [{"type": "reasoning.encrypted", "data": "abc"}]}, 0),
        ({"reasoning_details": "abc"}, 0),
        ({"refusal": "no"}, 2),
        ({"tool_calls": [{"index": 0, "id": "x", "function": {"name": "fn", "arguments": "{}"}}]}, 4),
        ({"tool_calls": [{"index": 0, "function": {"arguments": "ab"}}, {"index": 1, "custom": {"input": "c"}}]}, 3),
        ({"function_call": {"name": "fn", "arguments": "{"}}, 3),
        ({"role": "assistant"}, 0),
    ],
)
def test_visible_output(delta, size):
    """Text, reasoning, refusal, tool names and arguments all count, as UTF-8 bytes."""
    reading = relay().receive(chunk(delta))
    assert (reading.output_bytes, reading.is_content) == (size, size > 0)


def test_content_beside_the_finish_reason():
    """Content in the finish chunk is kept back with it, but the reading counts it."""
    pipe, last = relay(), chunk({"content": "end"}, "length")
    reading = pipe.receive(text("a") + last)
    assert (reading.data, reading.output_bytes, reading.is_content) == (text("a"), 4, True)
    assert pipe.answer.finish is FinishReason.LENGTH
    assert pipe.close(COMPLETED, style()) == last + DONE


@pytest.mark.threat(93)
@pytest.mark.parametrize(
    "late",
    [text("more"), chunk({}, "length"), frame_of({"error": {"message": "x"}}), b"data: {broken\n\n", DONE + text("z")],
)
def test_first_finish_stands(late):
    """What comes behind the finish chunk and is more output, a second end, an error or garbage is never relayed."""
    pipe = relay(include_usage=True)
    readings = feed(pipe, text("a") + FINISH + late + USAGE_CHUNK)
    assert shown(readings) == text("a")
    assert pipe.answer.raw_finish_reason == "stop"
    assert pipe.answer.error is None
    group = pipe.close(COMPLETED, style())
    assert group.startswith(FINISH)
    assert late not in group
    assert documents(group)[-1]["usage"]["prompt_tokens"] in {5, 12}


def test_remarks_behind_the_finish_are_kept():
    """An empty chunk behind the finish chunk (Azure's filter results) belongs to the terminal group."""
    remark = chunk({}, None, content_filter_results={"hate": {"filtered": False}})
    pipe = relay()
    feed(pipe, FINISH + remark + DONE)
    assert pipe.close(COMPLETED, style()) == FINISH + remark + DONE


def test_terminal_group_is_bounded():
    """A provider that never ends its terminal group fills no memory and does not undo the end."""
    pipe = relay()
    pipe.receive(FINISH)
    for _ in range(100):
        pipe.receive(chunk({}, None, filler="x" * 10_000))
    assert len(pipe.close(COMPLETED, style())) <= LIMITS.answer + len(DONE)


def test_usage_only_chunk_hidden_anywhere():
    """A usage-only chunk before the end is hidden from a client that did not ask, and shown to one that did."""
    data = text("a") + USAGE_CHUNK + text("b") + FINISH + DONE
    assert client_view(relay(), data)[0] == text("a") + text("b")
    assert client_view(relay(include_usage=True), data)[0] == text("a") + USAGE_CHUNK + text("b")


@pytest.mark.threat(90)
def test_last_usage_wins():
    """Usage on every chunk is cumulative: the last one stands, nothing is summed."""
    parts = [chunk({"content": "a"}, usage=WIRE_USAGE | {"completion_tokens": n}) for n in (1, 2, 3)]
    pipe = relay()
    assert shown(
        feed(pipe, b"".join(parts) + chunk({}, "stop", usage=WIRE_USAGE | {"completion_tokens": 4}))
    ) == b"".join(parts)
    assert pipe.answer.usage == Usage(input_tokens=5, output_tokens=4)
    assert json.loads(pipe.answer.raw_usage)["completion_tokens"] == 4


@pytest.mark.parametrize(
    "place",
    [
        {"usage": WIRE_USAGE},
        {"x_groq": {"usage": WIRE_USAGE}},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "usage": WIRE_USAGE}]},
    ],
)
def test_places_of_usage(place):
    """Usage is read at the top level, in Groq's extension and inside the choice."""
    pipe = relay()
    feed(pipe, chunk({}, "stop", **place))
    assert pipe.answer.usage == Usage(input_tokens=5, output_tokens=3)


def test_missing_usage_is_made():
    """A client that asked for usage gets it from the settlement where the provider sent none, before [DONE]."""
    pipe = relay(include_usage=True)
    feed(pipe, FINISH + DONE)
    group = pipe.close(COMPLETED, style())
    assert group.startswith(FINISH)
    usage = documents(group)[1]
    assert (usage["choices"], usage["id"], usage["usage"]["prompt_tokens"]) == ([], "chatcmpl-1", 12)


@pytest.mark.threat(96)
def test_done_is_no_evidence():
    """[DONE] without a finish chunk is a truncated answer, and is not shown."""
    pipe = relay()
    reading = pipe.receive(text("a") + DONE + text("b"))
    assert (reading.data, pipe.answer.error.code) == (text("a"), "upstream_truncated")


@pytest.mark.threat(97, "S17")
@pytest.mark.parametrize(("data", "code"), [(b"", "upstream_protocol"), (text("a"), "upstream_truncated")])
def test_end_without_evidence(data, code):
    """A clean end without a finish chunk is an error: of nothing, or of its end missing."""
    pipe = relay()
    pipe.receive(data)
    with pytest.raises(UpstreamError) as caught:
        pipe.receive_eof()
    assert caught.value.code == code


def test_unterminated_last_event_counts():
    """At a clean end the last event counts without its blank line, as content and as evidence."""
    pipe = relay()
    pipe.receive(text("a")[:-2])
    reading = pipe.receive_eof()
    assert (reading.data, reading.output_bytes, pipe.answer.error.code) == (text("a"), 1, "upstream_truncated")
    pipe = relay()
    pipe.receive(FINISH[:-1])
    pipe.receive_eof()
    assert pipe.close(COMPLETED, style()) == FINISH + DONE


def test_an_event_cut_inside_its_json_is_dropped():
    """At a clean end half a JSON document is not relayed: the client's parser could not read the error behind it."""
    pipe = relay()
    pipe.receive(text("a") + text("b")[:-20])
    with pytest.raises(UpstreamError) as caught:
        pipe.receive_eof()
    assert (caught.value.code, pipe.answer.opaque_frames) == ("upstream_truncated", 1)


@pytest.mark.parametrize(
    "error",
    [
        frame_of({"error": {"message": "boom at 10.0.0.7", "type": "server_error", "code": None}}),
        frame_of({"error": "boom at 10.0.0.7"}),
        b'event: error\ndata: {"message":"boom at 10.0.0.7"}\n\n',
        b"event: error\ndata: boom at 10.0.0.7\n\n",
        frame_of({"object": "error", "message": "boom at 10.0.0.7", "code": 500}),
        chunk({"content": "boom"}, "error"),
        chunk({"content": "boom"}, "error", error={"code": 502, "message": "10.0.0.7"}),
    ],
)
def test_in_band_error(error):
    """An error in the stream, in any of its shapes, is noted in our words; nothing of it or behind it is relayed."""
    pipe = relay()
    readings = feed(pipe, text("a") + error + text("b") + FINISH + DONE)
    assert shown(readings) == text("a")
    assert pipe.answer.error.code == "upstream_error"
    assert "10.0.0.7" not in pipe.answer.error.message
    assert pipe.answer.raw_finish_reason is None


@pytest.mark.parametrize("error", [None, "", {}, False])
def test_falsy_error_is_none(error):
    """A falsy error field is no error, as the SDKs take it."""
    assert relay().receive(chunk({"content": "a"}, error=error)).output_bytes == 1


@pytest.mark.threat(85)
@pytest.mark.parametrize(
    ("broken", "visible"),
    [
        (b'{"choices":[{"delta":{"content":"Gr\xfc\xdfe"}}]}', 3 + 2 * 3),  # two letters of Latin 1, as U+FFFD
        (b'{"choices":[{"delta":{"content":"abc","reasoning":7}}]}', 3),
        (b'{"choices":[{"delta":{"content":"a\\ud83d"}}]}', 4),
        (b'{"choices":[{"delta":{"content":"' + b"\xff" * 99 + b'"}}]}', None),  # never more than its bytes
        (b'{"choices":[{"delta":{"content":[{"text":"abc"}]}}]}', 3),
        (b'{"choices":[{"delta":{"content":[{"type":"image","data":"aGk="}]}}]}', None),
        (b'{"choices":[{"delta":{"content":"abc', None),
        (b"\xff\xfe\xfd", None),
    ],
)
def test_opaque_frames(broken, visible):
    """A frame that cannot be decoded is relayed; it counts with what can be read of it, else with all its bytes."""
    pipe = relay()
    visible = len(broken) if visible is None else visible
    odd = b"data: " + broken + b"\n\n"
    reading = pipe.receive(text("ab") + odd + text("c"))
    assert (reading.data, reading.output_bytes) == (text("ab") + odd + text("c"), 3 + visible)
    assert pipe.answer.opaque_frames == 1
    piece, rest = pipe.split(reading, 2 + visible)
    assert (piece.data, piece.output_bytes, rest.output_bytes) == (text("ab") + odd, 2 + visible, 1)


def test_evidence_in_opaque_frames():
    """A finish reason and usage are found in a frame that cannot be decoded."""
    pipe = relay()
    pipe.receive(text("ab") + b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n')
    pipe.receive(chunk({"content": 7}, "stop", usage=WIRE_USAGE))
    assert (pipe.answer.raw_finish_reason, pipe.answer.opaque_frames) == ("stop", 2)
    assert pipe.answer.usage == Usage(input_tokens=5, output_tokens=3)


@pytest.mark.threat(83, 86, 87)
@pytest.mark.parametrize(
    "payload",
    [b"null", b"[]", b'"x"', b"{}", b'{"choices":null}', b'{"choices":[null]}', b'{"choices":[{"delta":null}]}',
     b'{"choices":7}', b"[" * 5000, b'{"x":' + b"9" * 10_000 + b"}", b'{"choices":[{"delta":{"content":"\\ud83d"}}]}',
     b'{"choices":[{}]},{"choices":[]}', b'{"usage":[1]}', b'{"choices":[{"finish_reason":{}}]}'],
)  # fmt: skip
def test_odd_frames_pass(payload):
    """Scalars, wrong types, deep and endless JSON and lone surrogates pass as they came and break nothing."""
    pipe, odd = relay(), b"data: " + payload + b"\n\n"
    assert shown(feed(pipe, text("a") + odd + text("b") + FINISH)) == text("a") + odd + text("b")
    assert pipe.answer.raw_finish_reason == "stop"


@pytest.mark.threat(84)
def test_text_that_looks_like_an_end():
    """Content that holds an end marker stays inside its JSON string."""
    tricky = text('\n\ndata: [DONE]\n\ndata: {"error":"x"}')
    assert shown(feed(relay(), tricky + FINISH)) == tricky


@pytest.mark.threat(78)
def test_limits():
    """A line over its limit ends the stream as a protocol error."""
    with pytest.raises(UpstreamError, match="upstream_protocol"):
        relay().receive(b"data: " + b"x" * (LIMITS.line + 1))


@pytest.mark.parametrize(("allowed", "frames_passed"), [(0, 1), (1, 1), (2, 2), (3, 2), (5, 3), (99, 3)])
def test_split(allowed, frames_passed):
    """A reading is cut at the last frame boundary within the allowance; both halves add up to it."""
    parts = [chunk({"role": "assistant"}), text("ab"), b": ping\n\n" + text("cde")]
    pipe = relay()
    reading = pipe.receive(b"".join(parts))
    piece, rest = pipe.split(reading, allowed)
    assert piece.data == b"".join(parts[:frames_passed])
    assert piece.data + rest.data == reading.data
    assert piece.output_bytes + rest.output_bytes == reading.output_bytes
    assert piece.output_bytes <= allowed


def test_clamped_finish_is_ours():
    """A provider that reached a clamped limit has its finish chunk rewritten, with everything else in it as it was."""
    pipe = relay()
    feed(pipe, chunk({"content": "tail"}, "length", system_fingerprint="fp") + DONE)
    (finish,) = documents(pipe.close(CAPPED, style()))
    assert finish["choices"][0] == {"index": 0, "delta": {"content": "tail"}, "finish_reason": "spend_cap_exceeded"}
    assert (finish["system_fingerprint"], finish["id"]) == ("fp", "chatcmpl-1")


def test_usage_of_a_cut_stream():
    """A provider that states usage on every chunk has stated it where its stream breaks off."""
    pipe = relay()
    pipe.receive(text("a") + chunk({"content": "b"}, usage=WIRE_USAGE))
    with pytest.raises(UpstreamError, match="upstream_truncated"):
        pipe.receive_eof()
    assert pipe.answer.usage == Usage(input_tokens=5, output_tokens=3)


@pytest.mark.parametrize("size", [None, 1])
def test_first_name_stands(size):
    """A provider that gives every chunk an id of its own is known by the first, wherever the bytes are cut."""
    pipe = relay()
    feed(
        pipe, chunk(id="", model="") + b"".join(chunk({"content": "a"}, id=f"id-{n}") for n in range(5)) + FINISH, size
    )
    assert (pipe.answer.response_id, pipe.answer.model) == ("id-0", "m-1")


@pytest.mark.parametrize("size", [None, 1])
@pytest.mark.parametrize("behind", [USAGE_CHUNK + DONE, DONE + USAGE_CHUNK])
def test_a_name_behind_the_end(behind, size):
    """A name that only a chunk behind the finish tells counts, one behind the end marker does not, at any cut."""
    pipe = relay()
    nameless = b"".join(
        chunk(delta, finish, id="", model="") for delta, finish in (({"content": "a"}, None), ({}, "stop"))
    )
    feed(pipe, nameless + behind, size)
    assert pipe.answer.model == (None if behind.startswith(DONE) else "m-1")
