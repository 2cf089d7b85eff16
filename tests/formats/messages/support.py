"""What the tests of the Messages format share: frames, styles, outcomes, and what a client would read."""

import json
from pathlib import Path

from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from pydantic import TypeAdapter

from ainf.formats.base import EndingStyle, Listener, PipeLimits
from ainf.formats.relay import payloads_of
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.usage import Usage

FIXTURES = Path(__file__).parent.parent.parent / "fixtures" / "messages"
NAMES = sorted(path.stem for path in FIXTURES.glob("*.sse"))
ENDED = [name for name in NAMES if name != "overloaded"]
WHOLE_NAMES = sorted(path.stem for path in FIXTURES.glob("*.json") if ".expected" not in path.name)
LIMITS = PipeLimits(line=1 << 16, event=1 << 17, answer=1 << 18)
USAGE = Usage(input_tokens=12, cached_input_tokens=2, output_tokens=7, reasoning_tokens=1, cache_write_tokens=4)
WIRE_USAGE = {"input_tokens": 5, "output_tokens": 3}
LISTENER = Listener(stream=True, include_usage=False, model="asked-for", inference_id="inf_1", created=1800000000)

_EVENT = TypeAdapter(RawMessageStreamEvent)


def fixture(name):
    return (FIXTURES / f"{name}.sse").read_bytes()


def whole_fixture(name):
    return (FIXTURES / f"{name}.json").read_bytes()


def expected(name):
    return json.loads((FIXTURES / f"{name}.expected.json").read_text())


def event(kind, **fields):
    data = json.dumps({"type": kind} | fields, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def start(usage=WIRE_USAGE, **fields):
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m-1", "content": []}
    return event("message_start", message=message | {"stop_reason": None, "usage": usage} | fields)


def block_start(index=0, **block):
    return event("content_block_start", index=index, content_block=block or {"type": "text", "text": ""})


def tool_start(index, call_id="toolu_1", name="f", **block):
    return block_start(index, type="tool_use", id=call_id, name=name, **({"input": {}} | block))


def thinking_start(index=0):
    return block_start(index, type="thinking", thinking="", signature="")


def delta(index=0, **fields):
    return event("content_block_delta", index=index, delta=fields)


def text(content, index=0):
    return delta(index, type="text_delta", text=content)


def thinking(content, index=0):
    return delta(index, type="thinking_delta", thinking=content)


def arguments(piece, index=0):
    return delta(index, type="input_json_delta", partial_json=piece)


def stop(index=0):
    return event("content_block_stop", index=index)


def finish(reason="end_turn", usage=None, **fields):
    return event(
        "message_delta",
        delta={"stop_reason": reason, "stop_sequence": None} | fields,
        usage={"output_tokens": 7} if usage is None else usage,
    )


PING = event("ping")
STOP = event("message_stop")
HELLO = start() + block_start() + PING + text("Hi") + text(" you") + stop()
WHOLE = HELLO + finish() + STOP


def answer_of(content=None, reason="end_turn", **fields):
    document = {
        "id": "msg_2",
        "type": "message",
        "role": "assistant",
        "model": "m-2",
        "content": [{"type": "text", "text": "Hi"}] if content is None else content,
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": WIRE_USAGE,
    }
    return json.dumps(document | fields).encode()


def style(finish_reasons="extended", *, retryable=False):
    return EndingStyle(
        finish_reasons=finish_reasons, inference_id="inf_1", created=1800000000, model="asked-for", retryable=retryable
    )


def outcome(ending=Ending.COMPLETED, code=None, message=None, billed=0, usage=USAGE):
    return Outcome(Verdict(ending, code, message), None, usage, Evidence.METERED, billed)


COMPLETED = outcome()
CAPPED = outcome(Ending.SPEND_CAP_EXCEEDED, "spend_cap_exceeded", billed=1_500_000)
FAILED = outcome(Ending.UPSTREAM_ERROR, "upstream_overloaded", billed=1_500_000)


def feed(pipe, data, size=None):
    """Give the data, in reads of ``size`` bytes, and its clean end; return all readings."""
    parts = [data] if size is None else [data[at : at + size] for at in range(0, len(data), size)]
    return [*(pipe.receive(part) for part in parts), pipe.receive_eof()]


def shown(readings):
    return b"".join(reading.data for reading in readings)


def documents(stream):
    """Return the JSON documents of a stream, as a client would read them."""
    return [json.loads(payload) for payload in payloads_of(stream)]


def kinds(stream):
    return [document["type"] for document in documents(stream)]


def client_message(stream, *, is_standard=True):
    """Return what the official client makes of a stream that did not fail, every event held against its types."""
    message, buffers = None, {}
    found = documents(stream)
    assert found[-1]["type"] == "message_stop"
    for document in found:
        if document["type"] == "ping":
            continue
        if is_standard:
            _EVENT.validate_python(document, strict=True)
        message = accumulate_event(event=document, current_snapshot=message, json_bufs=buffers)
    return message
