import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.formats.format import open_pipe
from ainf.inference.conversation import ReasoningAsk
from tests.formats.responses.support import DONE, FORMAT, LIMITS, feed, fixture, listener, shown, style

SOURCES = ["text", "reasoning", "parallel_calls", "custom_call", "whole_tools"]


def client_view(data, cuts, *, is_stream):
    pipe = open_pipe(FORMAT, FORMAT, listener(stream=is_stream), LIMITS)
    readings, at = [], 0
    for cut in cuts:
        readings.append(pipe.receive(data[at : at + cut]))
        at += cut
    readings += feed(pipe, data[at:])
    size = sum(reading.output_bytes for reading in readings)
    return shown(readings), size, pipe.answer, pipe.is_wrapped, pipe.close(DONE, style())


@pytest.mark.parametrize("source", SOURCES)
@given(st.lists(st.integers(1, 300), max_size=30), st.booleans())
def test_any_cut(source, cuts, is_stream):
    """Whatever is asked for and answered, any cut gives the client the same bytes and us the same facts."""
    data = fixture(source)
    assert client_view(data, cuts, is_stream=is_stream) == client_view(data, [], is_stream=is_stream)


def test_requests():
    """Requests are read, written, and asked for their reasoning."""
    fields = {"model": "m", "input": "Hi", "reasoning": {"effort": "low"}}
    conversation = FORMAT.read_request(fields)
    assert FORMAT.write_request(conversation).fields["reasoning"] == {"effort": "low"}
    assert FORMAT.reasoning_of(fields) == conversation.reasoning == ReasoningAsk("low")
