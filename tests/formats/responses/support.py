"""What the tests of the Responses format share: events, fixtures, endings, and what a client of OpenAI's SDK reads."""

import json
from pathlib import Path

from openai import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from ainf.formats.base import Answer, EndingStyle, Listener, PipeLimits
from ainf.formats.responses.format import RESPONSES as FORMAT
from ainf.inference.events import BlockDelta, BlockEnd, BlockKind, BlockStart, StreamGrammar
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.usage import Usage
from ainf.sse import EventStreamReader

FIXTURES = Path(__file__).parent.parent.parent / "fixtures" / "responses"
STREAMS = sorted(path.stem for path in FIXTURES.glob("*.sse"))
WHOLE = sorted(path.stem for path in FIXTURES.glob("whole_*[a-z].json") if not path.stem.endswith("expected"))
LIMITS = PipeLimits(line=1 << 16, event=1 << 17, answer=1 << 18)
USAGE = Usage(input_tokens=12, cached_input_tokens=2, output_tokens=7, reasoning_tokens=1)
WIRE_USAGE = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}
EVENT = TypeAdapter(ResponseStreamEvent)


def fixture(name):
    path = FIXTURES / f"{name}.sse"
    return path.read_bytes() if path.exists() else (FIXTURES / f"{name}.json").read_bytes()


def expected(name):
    return json.loads((FIXTURES / f"{name}.expected.json").read_text())


def event(kind, **fields):
    """Return one event as a provider sends it."""
    body = json.dumps({"type": kind, **fields}, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return b"event: " + kind.encode() + b"\ndata: " + body + b"\n\n"


def response(status="in_progress", output=(), **fields):
    head = {"id": "resp_1", "object": "response", "created_at": 1700000000, "model": "m-1"}
    rest = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": []}
    return head | {"status": status, "output": list(output)} | rest | fields


def message(text="Hi", item_id="msg_1", status="completed"):
    part = {"type": "output_text", "text": text, "annotations": []}
    return {"id": item_id, "type": "message", "role": "assistant", "status": status, "content": [part]}


def call(arguments="{}", name="f", call_id="c_1", **fields):
    item = {"id": "fc_1", "type": "function_call", "call_id": call_id, "name": name, "arguments": arguments}
    return item | {"status": "completed"} | fields


CREATED = event("response.created", sequence_number=0, response=response())
ADDED = event(
    "response.output_item.added",
    sequence_number=1,
    output_index=0,
    item={"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []},
)
PART = event(
    "response.content_part.added",
    sequence_number=2,
    item_id="msg_1",
    output_index=0,
    content_index=0,
    part={"type": "output_text", "text": "", "annotations": []},
)


def text(piece, number=3):
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0, "logprobs": []}
    return event("response.output_text.delta", sequence_number=number, **place, delta=piece)


def completed(output=(), number=9, **fields):
    whole = response("completed", output, usage=WIRE_USAGE, **fields)
    return event("response.completed", sequence_number=number, response=whole)


def incomplete(reason, output=(), number=9):
    whole = response("incomplete", output, usage=WIRE_USAGE, incomplete_details={"reason": reason})
    return event("response.incomplete", sequence_number=number, response=whole)


def listener(*, stream=True, **echo):
    return Listener(
        stream=stream, include_usage=False, model="asked-for", inference_id="inf1", created=1800000000, echo=echo
    )


def style(finish_reasons="extended", *, retryable=False):
    return EndingStyle(
        finish_reasons=finish_reasons, inference_id="inf1", created=1800000000, model="asked-for", retryable=retryable
    )


def outcome(ending=Ending.COMPLETED, code=None, message=None, billed=0, usage=USAGE):
    return Outcome(Verdict(ending, code, message), None, usage, Evidence.METERED, billed)


DONE = outcome()
CAPPED = outcome(Ending.SPEND_CAP_EXCEEDED, "spend_cap_exceeded", billed=1_500_000)
BROKEN = outcome(Ending.UPSTREAM_ERROR, "upstream_truncated", billed=2_000_000)


def cut(data, size):
    return [data] if size is None else [data[at : at + size] for at in range(0, len(data), size)]


def relay():
    return FORMAT.relay(listener(), LIMITS, Answer())


def feed(pipe, data, size=None):
    """Give the data, in reads of ``size`` bytes, and its clean end; return all readings."""
    return [*(pipe.receive(part) for part in cut(data, size)), pipe.receive_eof()]


def shown(readings):
    return b"".join(reading.data for reading in readings)


def read(reader, data, size=None):
    """Return all events of an answer, held against the grammar."""
    events = [one for part in cut(data, size) for one in reader.receive(part)] + reader.receive_eof()
    grammar = StreamGrammar()
    for one in events:
        grammar.advance(one)
    return events


def blocks_of(events):
    """Return what the blocks of a stream hold, in the order of their starts."""
    starts = [one for one in events if isinstance(one, BlockStart)]
    found = []
    for start in starts:
        said = "".join(one.text for one in events if isinstance(one, BlockDelta) and one.index == start.index)
        opaque = [one.opaque for one in events if isinstance(one, BlockEnd) and one.index == start.index]
        found.append((start.kind, start.call_id, start.name, said, opaque[0] if opaque else None))
    return found


def summary(events):
    """Return blocks as the expectations of the fixtures put them."""
    told = {"text": "", "reasoning": "", "refusal": "", "calls": [], "opaque": []}
    for kind, call_id, name, said, opaque in blocks_of(events):
        if kind in {BlockKind.TOOL_CALL, BlockKind.CUSTOM_TOOL_CALL}:
            told["calls"].append([call_id, name, said])
        else:
            told[kind.value] += said
        if opaque is not None:
            told["opaque"].append(opaque.data)
    return told


def documents(stream):
    """Return the events of a stream as a client reads them; each is named by its type."""
    batch = EventStreamReader(max_line_bytes=1 << 20, max_event_bytes=1 << 20).receive(stream)
    found = [json.loads(payload) for payload in batch.payloads]
    assert [one["type"].encode() for one in found] == (batch.names or [])
    return found


OUR_WORDS = ("spend_cap_exceeded", "other")


def validate(stream):
    """Hold a stream against OpenAI's types, and let the SDK add it up; return its events.

    Codes and reasons of our own are the only words that the types do not know.
    """
    found = documents(stream)
    state = ResponseStreamState(input_tools=omit, text_format=omit)
    for number, one in enumerate(found):
        assert one["sequence_number"] == found[0]["sequence_number"] + number
        known = json.loads(json.dumps(one))
        whole = known.get("response") or {}
        if whole.get("error"):
            whole["error"]["code"] = "server_error"
        if (whole.get("incomplete_details") or {}).get("reason") in OUR_WORDS:
            whole["incomplete_details"]["reason"] = "max_output_tokens"
        state.handle_event(EVENT.validate_python(known))
        if whole:
            Response.model_validate(whole)
    terminal = [one["type"] for one in found if one["type"] in {f"response.{status}" for status in ENDED}]
    assert len(terminal) <= 1
    assert not terminal or found[-1]["type"] == terminal[0]
    return found


ENDED = ("completed", "incomplete", "failed")
