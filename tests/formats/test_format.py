import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ainf.formats.chat.format import CHAT
from ainf.formats.format import open_pipe
from ainf.formats.responses.format import RESPONSES
from ainf.inference.errors import UpstreamError
from tests.formats.chat.support import (
    COMPLETED,
    LIMITS,
    NAMES,
    answer_of,
    feed,
    fixture,
    listener,
    opened,
    shown,
    style,
    text,
)

SOURCES = {name: fixture(name) for name in NAMES} | {"whole answer": b" \r\n" + answer_of()}


def client_view(data, cuts, *, is_stream, include_usage):
    pipe = opened(is_stream=is_stream, include_usage=include_usage)
    readings, at = [], 0
    for cut in cuts:
        readings.append(pipe.receive(data[at : at + cut]))
        at += cut
    readings += feed(pipe, data[at:])
    size = sum(reading.output_bytes for reading in readings)
    return shown(readings), size, pipe.answer, pipe.is_wrapped, pipe.close(COMPLETED, style())


@pytest.mark.parametrize("source", SOURCES)
@given(st.lists(st.integers(1, 120), max_size=40), st.booleans(), st.booleans())
def test_any_cut(source, cuts, is_stream, include_usage):
    """Whatever is asked for and answered, any cut gives the client the same bytes and us the same facts."""
    data = SOURCES[source]
    whole = client_view(data, [], is_stream=is_stream, include_usage=include_usage)
    assert client_view(data, cuts, is_stream=is_stream, include_usage=include_usage) == whole
    assert client_view(data, [1] * 60, is_stream=is_stream, include_usage=include_usage) == whole


def test_the_limits_reach_the_writer():
    """A stream that has to be said again at its end is bounded as a whole answer is, and no further."""
    data = text("x" * 1_000) * 9
    roomy, tight = (
        open_pipe(RESPONSES, CHAT, listener(), attrs.evolve(LIMITS, answer=room)) for room in (20_000, 5_000)
    )
    assert roomy.receive(data).output_bytes == 9_000
    with pytest.raises(UpstreamError, match="over the gateway's limit"):
        tight.receive(data)
