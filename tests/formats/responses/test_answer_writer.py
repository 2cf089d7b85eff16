import json

import pytest
from openai.types.responses import Response

from ainf.formats.base import Answer, PipeLimits, Reading
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
from ainf.inference.usage import Usage
from tests.formats.responses.support import CAPPED, DONE, FORMAT, LIMITS, fixture, listener, read, style

EVENTS = [
    MessageStart("x", "theirs"),
    BlockStart(0, BlockKind.REASONING),
    BlockEnd(0, Opaque("responses", "rs_9:gAAA")),
    BlockStart(1, BlockKind.TEXT),
    BlockDelta(1, "H"),
    BlockDelta(1, "i"),
    BlockEnd(1),
    BlockStart(2, BlockKind.TOOL_CALL, "c_1", "f"),
    BlockDelta(2, "{}"),
    BlockEnd(2),
    UsageUpdate(Usage(1, 0, 1)),
    MessageEnd(FinishReason.TOOL_CALLS, "tool_use"),
]


def writer(limits=LIMITS, **echo):
    return FORMAT.answer_writer(listener(stream=False, **echo), Answer(), limits, is_translated=True)


def test_whole():
    """Events become one response object, with the usage that was settled."""
    made = writer(instructions="Be.")
    assert made.send(EVENTS) == b""
    whole = Response.model_validate_json(made.close(DONE, style()))
    assert (whole.id, whole.model, whole.status, whole.output_text) == ("resp_inf1", "asked-for", "completed", "Hi")
    assert [item.id for item in whole.output] == ["rs_9", "msg_inf1_1", "fc_inf1_2"]
    assert (whole.output[0].encrypted_content, whole.output[2].arguments) == ("gAAA", "{}")
    assert (whole.usage.output_tokens, whole.instructions) == (7, "Be.")


def test_capped():
    """At a cap what is unfinished is incomplete."""
    made = writer()
    made.send(EVENTS[:5])
    whole = json.loads(made.close(CAPPED, style()))
    assert (whole["status"], whole["incomplete_details"]) == ("incomplete", {"reason": "spend_cap_exceeded"})
    assert [item["status"] for item in whole["output"]] == ["completed", "incomplete"]
    assert whole["output"][1]["content"][0]["text"] == "H"


def test_limit():
    """An answer over the limit is the provider's fault."""
    made = writer(PipeLimits(line=1, event=1, answer=10))
    with pytest.raises(UpstreamError, match="over the gateway's limit"):
        made.send([*EVENTS[:4], BlockDelta(1, "x" * 11)])


def test_opaque_data_counts():
    """What only its provider understands takes room too."""
    made = writer(PipeLimits(line=1, event=1, answer=10))
    with pytest.raises(UpstreamError, match="over the gateway's limit"):
        made.send([*EVENTS[:2], BlockEnd(0, Opaque("gemini", "x" * 11))])


def test_nothing_is_handed_over_before_the_end():
    """There is nothing to cut and nothing to take back."""
    made, reading = writer(), Reading(b"", 5, is_content=True, is_meaningful=True)
    piece, rest = made.split(reading, 3)
    made.rewind([])
    assert (piece.data, piece.output_bytes, rest) == (b"", 0, reading)


def test_collected_stream():
    """A stream of this format becomes a whole answer with its own names, reasoning under the id that it belongs to."""
    answer = Answer()
    made = FORMAT.answer_writer(listener(stream=False), answer, LIMITS, is_translated=False)
    made.send(read(FORMAT.stream_reader(LIMITS, answer), fixture("reasoning"), 64))
    whole = Response.model_validate_json(made.close(DONE, style()))
    assert (whole.id, whole.created_at, whole.output_text) == ("resp_0f2reason", 1767225600, "42")
    assert (whole.output[0].id, whole.output[0].encrypted_content) == ("rs_0f2", "gAAAAABo0f2whole==")
    assert whole.output[0].summary[0].text == "**Thinking** first\n\nThen again"
