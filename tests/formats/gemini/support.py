"""What the tests of the Gemini format share: frames, styles, outcomes, and what a client would read."""

import json
import warnings
from pathlib import Path

from google.genai.types import GenerateContentResponse

from ainf.formats.base import Answer, EndingStyle, Listener, PipeLimits
from ainf.formats.gemini.reader import GeminiFrameReader, read_events
from ainf.formats.reader import StreamReader, WholeReader
from ainf.inference.events import BlockDelta, BlockKind, BlockStart, StreamGrammar
from ainf.inference.outcome import Ending, Evidence, Outcome, Verdict
from ainf.inference.usage import Usage

FIXTURES = Path(__file__).parent.parent.parent / "fixtures" / "gemini"
NAMES = sorted(path.stem for path in FIXTURES.glob("*.sse"))
LIMITS = PipeLimits(line=1 << 16, event=1 << 17, answer=1 << 18)
USAGE = Usage(input_tokens=12, cached_input_tokens=2, output_tokens=7, reasoning_tokens=1)
LISTENER = Listener(stream=True, include_usage=True, model="asked-for", inference_id="inf-1", created=1800000000)
WIRE_USAGE = {"promptTokenCount": 5, "candidatesTokenCount": 2, "thoughtsTokenCount": 1, "totalTokenCount": 8}


def fixture(name):
    return (FIXTURES / f"{name}.sse").read_bytes()


def expected(name):
    return json.loads((FIXTURES / f"{name}.expected.json").read_text())


def is_ended(name):
    return "finish" in expected(name)


def frame_of(document):
    return b"data: " + json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\r\n\r\n"


def document_of(*parts, finish=None, **fields):
    candidate = {"content": {"parts": list(parts), "role": "model"}, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "m-1", "responseId": "r-1"} | fields


def chunk(*parts, finish=None, **fields):
    return frame_of(document_of(*parts, finish=finish, **fields))


def text(content, **fields):
    return chunk({"text": content}, **fields)


FINISH = chunk({"text": ""}, finish="STOP", usageMetadata=WIRE_USAGE)
ERROR = frame_of({"error": {"code": 429, "message": "Quota of 10.0.0.7.", "status": "RESOURCE_EXHAUSTED"}})


def answer_of(*parts, finish="STOP", **fields):
    document = document_of(*(parts or ({"text": "Hi"},)), finish=finish, usageMetadata=WIRE_USAGE)
    return json.dumps(document | fields).encode()


def style(finish_reasons="extended", *, retryable=False):
    return EndingStyle(
        finish_reasons=finish_reasons, inference_id="inf-1", created=1800000000, model="asked-for", retryable=retryable
    )


def outcome(ending=Ending.COMPLETED, code=None, message=None, billed=0):
    return Outcome(Verdict(ending, code, message), None, USAGE, Evidence.METERED, billed)


COMPLETED = outcome()
CAPPED = outcome(Ending.SPEND_CAP_EXCEEDED, "spend_cap_exceeded", billed=1_500_000)


def pieces(data, size):
    return [data] if size is None else [data[at : at + size] for at in range(0, len(data), size)]


def feed(pipe, data, size=None):
    """Give the data, in reads of ``size`` bytes, and its clean end; return all readings."""
    return [*(pipe.receive(part) for part in pieces(data, size)), pipe.receive_eof()]


def shown(readings):
    return b"".join(reading.data for reading in readings)


def read(reader, data, size=None):
    """Return all events of an answer, held against the grammar."""
    events = [event for part in pieces(data, size) for event in reader.receive(part)]
    events += reader.receive_eof()
    grammar = StreamGrammar()
    for event in events:
        grammar.advance(event)
    return events


def stream_reader():
    return StreamReader(GeminiFrameReader(Answer()), LIMITS)


def answer_reader():
    return WholeReader(read_events, LIMITS, Answer())


def texts_of(events):
    """Return all text by kind of block."""
    texts = dict.fromkeys(BlockKind, "")
    kinds = {event.index: event.kind for event in events if isinstance(event, BlockStart)}
    for event in events:
        if isinstance(event, BlockDelta):
            texts[kinds[event.index]] += event.text
    return texts


def calls_of(events):
    """Return id, name and arguments of each call."""
    starts = [event for event in events if isinstance(event, BlockStart) and event.kind is BlockKind.TOOL_CALL]
    deltas = [event for event in events if isinstance(event, BlockDelta)]
    return [
        (start.call_id, start.name, "".join(delta.text for delta in deltas if delta.index == start.index))
        for start in starts
    ]


def documents(stream):
    """Return the JSON documents of a stream."""
    return [json.loads(line[6:]) for line in stream.splitlines() if line.startswith(b"data: ")]


def check_types(document):
    """Hold a chunk or an answer against the SDK's type; our own finish reason is the only word that it does not know.

    As the SDK does it: what is no field of the answer (the error) is looked at before.
    """
    told = {name: value for name, value in document.items() if name != "error"}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="SPEND_CAP_EXCEEDED is not a valid FinishReason")
        return GenerateContentResponse.model_validate_json(json.dumps(told))
