import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.formats.base import Answer, Reading
from ainf.inference.conversation import Opaque
from ainf.inference.errors import UpstreamError
from ainf.inference.events import (
    BlockDelta,
    BlockEnd,
    BlockKind,
    BlockStart,
    FinishReason,
    MessageEnd,
    MessageStart,
    UsageUpdate,
)
from ainf.inference.outcome import Ending
from ainf.inference.usage import Usage
from tests.formats.responses.support import (
    BROKEN,
    CAPPED,
    DONE,
    FORMAT,
    LIMITS,
    WHOLE,
    blocks_of,
    documents,
    expected,
    fixture,
    listener,
    outcome,
    read,
    style,
    validate,
)

START = MessageStart("chatcmpl-1", "theirs")
END = MessageEnd(FinishReason.STOP, "stop")


def writer(*, is_translated=True, answer=None, room=LIMITS.answer, **echo):
    limits = attrs.evolve(LIMITS, answer=room)
    return FORMAT.stream_writer(listener(**echo), answer or Answer(), limits, is_translated=is_translated)


def write(events, ending=DONE, made=None):
    made = made or writer()
    return made.send(events) + made.close(ending, style())


def test_transcript():
    """Text and interleaved calls are told in the events of the API, with gapless numbers and derived names."""
    events = [
        START,
        BlockStart(0, BlockKind.TEXT),
        BlockDelta(0, "Hi"),
        BlockEnd(0),
        BlockStart(1, BlockKind.TOOL_CALL, "c_1", "f"),
        BlockStart(2, BlockKind.CUSTOM_TOOL_CALL, "c_2", "g"),
        BlockDelta(1, "{"),
        BlockDelta(2, "x"),
        BlockDelta(1, "}"),
        BlockEnd(2),
        BlockEnd(1),
        MessageEnd(FinishReason.TOOL_CALLS, "tool_use"),
    ]
    found = validate(write(events))
    assert [one["type"].removeprefix("response.") for one in found] == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done", "output_item.added", "output_item.added",
        "function_call_arguments.delta", "custom_tool_call_input.delta", "function_call_arguments.delta",
        "custom_tool_call_input.done", "output_item.done", "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    last = found[-1]["response"]
    assert [item["id"] for item in last["output"]] == ["msg_inf1_0", "fc_inf1_1", "ctc_inf1_2"]
    assert [item["status"] for item in last["output"]] == ["completed"] * 3
    assert (last["id"], last["model"], last["status"], last["created_at"]) == (
        "resp_inf1",
        "asked-for",
        "completed",
        1800000000,
    )
    assert last["usage"]["output_tokens_details"] == {"reasoning_tokens": 1}
    assert found[0]["sequence_number"] == 0
    assert found[0]["response"]["status"] == "in_progress"


def test_reasoning():
    """What was thought is a summary; what another format's provider hid travels sealed, also where nothing is told."""
    events = [
        START,
        BlockStart(0, BlockKind.REASONING),
        BlockDelta(0, "hm"),
        BlockEnd(0, Opaque("messages.signature", "s")),
        BlockStart(1, BlockKind.REASONING),
        BlockEnd(1, Opaque("messages.redacted", "r")),
        END,
    ]
    found = validate(write(events))
    first, second = found[-1]["response"]["output"]
    assert first["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert first["encrypted_content"] == "ainf.messages.signature:s"
    assert (second["summary"], second["encrypted_content"]) == ([], "ainf.messages.redacted:r")


def test_own_reasoning_keeps_its_name():
    """What this format's provider hid goes back under the name that it belongs to, never another one."""
    own = Opaque("responses", "rs_9:gAAA")
    whole = [START, BlockStart(0, BlockKind.REASONING), BlockEnd(0, own), END]
    item = documents(write(whole))[-1]["response"]["output"][0]
    assert (item["id"], item["encrypted_content"]) == ("rs_9", "gAAA")
    made = writer()
    parts = b"".join(made.send([one]) for one in whole)
    item = documents(parts + made.close(DONE, style()))[-1]["response"]["output"][0]
    assert (item["id"], item["encrypted_content"]) == ("rs_inf1_0", own.sealed())


@pytest.mark.parametrize(
    ("end", "kind", "reason"),
    [
        (FinishReason.STOP, "response.completed", None),
        (FinishReason.TOOL_CALLS, "response.completed", None),
        (FinishReason.LENGTH, "response.incomplete", "max_output_tokens"),
        (FinishReason.CONTENT_FILTER, "response.incomplete", "content_filter"),
        (FinishReason.OTHER, "response.incomplete", "other"),
    ],
)
def test_ends(end, kind, reason):
    """Each end is told in the API's words; what it has no word for is never completed."""
    last = validate(write([START, MessageEnd(end, "theirs")]))[-1]
    assert (last["type"], (last["response"]["incomplete_details"] or {}).get("reason")) == (kind, reason)


def test_same_format():
    """Where the provider's format is this one, its names and its reason stand."""
    answer = Answer(response_id="resp_9", model="m-9", created=17)
    made = writer(is_translated=False, answer=answer)
    last = validate(write([START, MessageEnd(FinishReason.OTHER, "incomplete:steered")], made=made))[-1]["response"]
    assert (last["id"], last["model"], last["created_at"]) == ("resp_9", "m-9", 17)
    assert last["incomplete_details"] == {"reason": "steered"}


def test_echo():
    """What the request said is repeated; the rest has the API's defaults."""
    tools = [{"type": "function", "name": "f", "parameters": {}, "strict": False}]
    found = validate(write([START, END], made=writer(instructions="Be.", tools=tools, temperature=0.5, user=None)))
    for one in found:
        whole = one["response"]
        assert (whole["instructions"], whole["tools"], whole["temperature"]) == ("Be.", tools, 0.5)
        assert (whole["parallel_tool_calls"], whole["tool_choice"], whole["store"]) == (True, "auto", False)


@pytest.mark.parametrize("ending", [Ending.CLIENT_DISCONNECTED, Ending.ABANDONED])
def test_nobody_is_told(ending):
    """A client that is gone is told nothing."""
    assert writer().close(outcome(ending), style()) == b""


def test_nothing_sent():
    """A failure before the beginning makes the beginning first."""
    assert [one["type"] for one in validate(writer().close(BROKEN, style()))] == ["response.created", "response.failed"]


def test_limit():
    """An answer that cannot be repeated at its end is over the limit."""
    made = writer(room=4096)
    with pytest.raises(UpstreamError, match="over the gateway's limit"):
        made.send([START, BlockStart(0, BlockKind.TEXT), *[BlockDelta(0, "x" * 100)] * 50])


@pytest.mark.parametrize("room", range(1_000, 8_000, 250))
def test_limit_anywhere(room):
    """Wherever the room ends, in whichever event of many in one read, the client's numbers go on without a gap."""
    made, shown = writer(room=room), list[bytes]()
    events = [START, *[event for number in range(9) for event in _text_block(number)]]

    def send_all():
        for at in range(0, len(events), 4):
            shown.append(made.send(events[at : at + 4]))

    with pytest.raises(UpstreamError, match="over the gateway's limit"):
        send_all()
    found = documents(b"".join(shown) + made.close(BROKEN, style()))
    assert [document["sequence_number"] for document in found] == list(range(len(found)))
    assert [document["type"] for document in found].count("response.created") == 1


def _text_block(number):
    return [BlockStart(number, BlockKind.TEXT), BlockDelta(number, "x" * 100), BlockEnd(number)]


@pytest.mark.parametrize("name", [name for name in WHOLE if expected(name)["error"] is None])
def test_wrapped(name):
    """A whole answer of this format becomes a valid stream with the same items."""
    answer = Answer()
    reader = FORMAT.answer_reader(LIMITS, answer)
    events = read(reader, fixture(name))
    last = validate(write(events, made=writer(is_translated=False, answer=answer)))[-1]["response"]
    whole = json.loads(fixture(name))
    assert [last["id"], last["status"], last["incomplete_details"]] == [
        whole["id"],
        whole["status"],
        whole["incomplete_details"],
    ]
    said = ("type", "content", "summary", "encrypted_content", "call_id", "name", "arguments")
    keep = [{name: item[name] for name in said if name in item} for item in whole["output"]]
    assert [{name: item[name] for name in said if name in item} for item in last["output"]] == keep


words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
opaques = st.one_of(st.none(), words.map(lambda data: Opaque("messages.signature", data)))


@st.composite
def streams(draw):
    """Any grammatical stream, blocks interleaved."""
    events, waiting = [START], []
    for index in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(BlockKind))
        is_call = kind in {BlockKind.TOOL_CALL, BlockKind.CUSTOM_TOOL_CALL}
        start = BlockStart(index, kind, f"c_{index}", draw(words)) if is_call else BlockStart(index, kind)
        deltas = [BlockDelta(index, piece) for piece in draw(st.lists(words, max_size=3))]
        opaque = draw(opaques) if kind is BlockKind.REASONING else None
        if kind is BlockKind.REASONING and not deltas and opaque is None:
            deltas = [BlockDelta(index, "hm")]  # one without a word or a secret is none on this wire
        waiting.append([start, *deltas, BlockEnd(index, opaque)])
    while waiting:
        at = draw(st.integers(0, min(1, len(waiting) - 1)))
        events.append(waiting[at].pop(0))
        if not waiting[at]:
            waiting.pop(at)
    has_calls = any(isinstance(one, BlockStart) and one.call_id for one in events)
    reasons = [FinishReason.LENGTH, FinishReason.CONTENT_FILTER, FinishReason.OTHER]
    reason = draw(st.sampled_from([*reasons, FinishReason.TOOL_CALLS if has_calls else FinishReason.STOP]))
    return [*events, MessageEnd(reason, reason.value)]


counts = st.integers(0, 1000)


@st.composite
def usages(draw):
    cached, short, long, reasoning = (draw(counts) for _ in range(4))
    return Usage(cached + short + long + draw(counts), cached, reasoning + draw(counts), reasoning, short + long, long)


def content(events):
    return sorted(
        (
            (kind, call_id, name, said, opaque and opaque.data)
            for kind, call_id, name, said, opaque in blocks_of(events)
        ),
        key=repr,
    )


@given(streams(), usages())
def test_round_trip(events, usage):
    """What is written is read again as the same blocks, end and usage, from a stream and from a whole answer."""
    data = write(events, outcome(usage=usage))
    validate(data)
    answer = Answer()
    back = read(FORMAT.stream_reader(LIMITS, answer), data)
    sealed = [
        BlockEnd(one.index, Opaque("responses", f"rs_inf1_{at}:{one.opaque.sealed()}"))
        if isinstance(one, BlockEnd) and one.opaque
        else one
        for one in events
        for at in [position(events, one)]
    ]
    assert content(back) == content(sealed)
    assert back[-2:] == [UsageUpdate(usage), MessageEnd(events[-1].reason, answer.raw_finish_reason)]
    whole = FORMAT.answer_writer(listener(stream=False), Answer(), LIMITS, is_translated=True)
    whole.send(events)
    body = whole.close(outcome(usage=usage), style())
    again = read(FORMAT.answer_reader(LIMITS, Answer()), body)
    assert content(again) == content(back)
    assert again[-2:] == back[-2:]


def position(events, end):
    """Return the output index of a block: its place among the starts."""
    order = [one.index for one in events if isinstance(one, BlockStart)]
    return order.index(end.index) if isinstance(end, BlockEnd) else None


@given(streams(), st.data())
def test_cut_anywhere(events, data):
    """Wherever a written stream is cut, what is open is ended, and every frame is valid."""
    made = writer()
    at = data.draw(st.integers(0, len(events) - 1))
    sent = made.send(events[:at])
    frames = [frame + b"\n\n" for frame in sent.split(b"\n\n")[:-1]]
    back = data.draw(st.integers(0, len(frames)))
    if back:
        made.rewind([frame.split(b"\n")[1].removeprefix(b"data: ") for frame in frames[len(frames) - back :]])
    found = validate(b"".join(frames[: len(frames) - back]) + made.close(CAPPED, style()))
    added = [one["output_index"] for one in found if one["type"] == "response.output_item.added"]
    assert sorted(one["output_index"] for one in found if one["type"] == "response.output_item.done") == added
    assert len(found[-1]["response"]["output"]) == len(added)
    assert all(item["status"] in {"completed", "incomplete"} for item in found[-1]["response"]["output"])


@given(streams(), st.integers(0, 60))
def test_split(events, most):
    """A cut is between frames, at no more than was paid for, and counts what a client sees."""
    made = writer()
    data = made.send(events)
    size = sum(len(one.text.encode()) for one in events if isinstance(one, BlockDelta))
    size += sum(len((one.name or "").encode()) for one in events if isinstance(one, BlockStart))
    piece, rest = made.split(Reading(data, size, is_content=True, is_meaningful=True), most)
    assert piece.data + rest.data == data
    assert piece.output_bytes <= most
    assert made.split(Reading(data, size, is_content=True, is_meaningful=True), size)[1].output_bytes == 0
