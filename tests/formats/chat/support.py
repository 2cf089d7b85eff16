"""What the tests of the chat format share: frames, styles, outcomes, and what a client would read."""

import json
from pathlib import Path

from ainf.formats.base import Answer, EndingStyle, Listener, PipeLimits
from ainf.formats.chat.format import CHAT
from ainf.formats.format import open_pipe
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.usage import Usage

FIXTURES = Path(__file__).parent.parent.parent / "fixtures" / "chat"
NAMES = sorted(path.stem for path in FIXTURES.glob("*.sse"))
LIMITS = PipeLimits(line=1 << 16, event=1 << 17, answer=1 << 18)
USAGE = Usage(input_tokens=12, cached_input_tokens=2, output_tokens=7, reasoning_tokens=1)
DONE = b"data: [DONE]\n\n"


def fixture(name):
    return (FIXTURES / f"{name}.sse").read_bytes()


def expected(name):
    return json.loads((FIXTURES / f"{name}.expected.json").read_text())


def frame_of(document):
    return b"data: " + json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n\n"


def chunk(delta=None, finish=None, **fields):
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1700000000, "model": "m-1"}
    return frame_of(head | {"choices": choices} | fields)


def text(content):
    return chunk({"content": content})


FINISH = chunk({}, "stop")
WIRE_USAGE = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
USAGE_CHUNK = chunk(usage=WIRE_USAGE)


def answer_of(message=None, finish="stop", **fields):
    document = {
        "id": "chatcmpl-2",
        "object": "chat.completion",
        "created": 1700000001,
        "model": "m-2",
        "choices": [
            {"index": 0, "message": message or {"role": "assistant", "content": "Hi"}, "finish_reason": finish}
        ],
        "usage": WIRE_USAGE,
    }
    return json.dumps(document | fields).encode()


def style(finish_reasons="extended", *, retryable=False):
    return EndingStyle(
        finish_reasons=finish_reasons, inference_id="inf-1", created=1800000000, model="asked-for", retryable=retryable
    )


def outcome(ending=Ending.COMPLETED, code=None, message=None, billed=0):
    return Outcome(Verdict(ending, code, message), None, USAGE, Evidence.METERED, billed)


COMPLETED = outcome()
CAPPED = outcome(Ending.SPEND_CAP_EXCEEDED, "spend_cap_exceeded", billed=1_500_000)


def listener(*, stream=True, include_usage=False, model="asked-for"):
    return Listener(stream=stream, include_usage=include_usage, model=model, inference_id="inf-1", created=1800000000)


def relay(*, include_usage=False):
    """Return the pipe between equal streams."""
    return CHAT.relay(listener(include_usage=include_usage), LIMITS, Answer())


def collected():
    """Return the pipe between equal whole answers."""
    return CHAT.collect(LIMITS, Answer())


def opened(*, is_stream, include_usage=False):
    """Return the pipe of a client that wants a stream, or a whole answer, of a provider of the same format."""
    return open_pipe(CHAT, CHAT, listener(stream=is_stream, include_usage=include_usage), LIMITS)


def feed(pipe, data, size=None):
    """Give the data, in reads of ``size`` bytes, and its clean end; return all readings."""
    parts = [data] if size is None else [data[at : at + size] for at in range(0, len(data), size)]
    return [*(pipe.receive(part) for part in parts), pipe.receive_eof()]


def shown(readings):
    return b"".join(reading.data for reading in readings)


def documents(stream):
    """Return the JSON documents of a stream that ends with [DONE], as a client would read them."""
    payloads = [line[6:] for line in stream.splitlines() if line.startswith(b"data: ")]
    assert payloads[-1] == b"[DONE]"
    assert payloads.count(b"[DONE]") == 1
    return [json.loads(payload) for payload in payloads[:-1]]
