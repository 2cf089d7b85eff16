"""Any cut of the bytes, down to one by one, gives the same events."""

from itertools import pairwise

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ainf.formats.base import Answer
from ainf.formats.format import open_pipe
from ainf.formats.registry import FORMATS
from ainf.inference.errors import UpstreamError
from ainf.inference.events import BlockDelta, BlockKind, BlockStart, MessageStart
from ainf.sse import EventStreamReader
from tests.event_streams import ANSWERS, LIMITS, STYLE, completed, listener, read_plainly

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
TEXTS = st.one_of(
    st.sampled_from([
        b"",
        b"a",
        b": x",
        b"{}",
        "ü\u2028\U0001f600\u0085".encode(),
        b"\xff\xfe",
        b"\xef\xbb\xbf",
        b"[DONE]",
    ]),
    st.binary(max_size=12).map(lambda data: data.replace(b"\n", b"").replace(b"\r", b"")),
)
FIELDS = st.builds(
    lambda name, colon, text: name + colon + text,
    st.sampled_from([b"data", b"event", b"id", b"retry", b"", b"x", b"\xef\xbb\xbfdata"]),
    st.sampled_from([b":", b": ", b":  ", b""]),
    TEXTS,
)
LINES = st.builds(lambda field, end: field + end, st.one_of(FIELDS, st.just(b"")), LINE_ENDS)
PLAIN = TEXTS.map(lambda text: b"data: " + text + b"\n\n")
STREAMS = st.lists(st.one_of(LINES, PLAIN, FIELDS), max_size=12).map(b"".join)
Reading = tuple[bytes, list[bytes], list[bytes]]


def read(pieces: list[bytes]) -> Reading:
    """Read a stream in these pieces; each payload's end must stand right behind a line end of its batch."""
    reader = EventStreamReader(max_line_bytes=1000, max_event_bytes=1000)
    raw, payloads, names = b"", [], []
    for batch in [*(reader.receive(piece) for piece in pieces), reader.receive_eof()]:
        assert len(batch.ends) == len(batch.payloads)
        assert all(batch.raw[end - 1] in b"\r\n" for end in batch.ends)
        assert batch.ends == sorted(batch.ends)
        raw += batch.raw
        payloads += batch.payloads
        names += batch.names or [b"message"] * len(batch.payloads)
    assert reader.pending == 0
    return raw, payloads, names


@given(stream=STREAMS, cuts=st.lists(st.integers(0, 200), max_size=8))
@example(stream=b"data: a\r\n\r\ndata: b\r\n\r\n", cuts=[8, 10, 11])
@example(stream=b"data: a\r\r\n\ndata: b", cuts=[9])
@example(stream=b"data: a\n\n\xef\xbb\xbfdata: b\n\n", cuts=[9])
def test_any_cut_gives_the_same_events(stream: bytes, cuts: list[int]):
    """Whole, cut anywhere, or byte by byte: the same bytes and payloads come out, and they are the standard's."""
    places = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    whole = read([stream])
    raw, *events = whole
    assert raw[: len(stream)] == stream
    assert raw[len(stream) :] in {b"", b"\n", b"\n\n"}
    assert tuple(events) == read_plainly(stream)
    assert read([stream[a:b] for a, b in pairwise(places)]) == whole
    assert read([stream[at : at + 1] for at in range(len(stream))]) == whole


def client_view(client: str, case: tuple[str, str], stream: bool, cuts: list[int]) -> tuple[object, ...]:
    """Return all that a client and we see of a provider's answer in these cuts."""
    return view_of(client, case[0], ANSWERS[case], stream, cuts)


def view_of(client: str, provider: str, data: bytes, stream: bool, cuts: list[int]) -> tuple[object, ...]:
    pipe = open_pipe(FORMATS[client], FORMATS[provider], listener(stream=stream), LIMITS)
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    readings, failure = [], None
    for a, b in pairwise(places):
        readings.append(pipe.receive(data[a:b]))
    try:
        readings.append(pipe.receive_eof())
    except UpstreamError as error:
        failure = error
    answer = attrs.asdict(pipe.answer) | {"error": str(pipe.answer.error or failure or "")}
    ended = pipe.answer.raw_finish_reason is not None
    group = pipe.close(completed(pipe.answer.usage), STYLE) if ended else b""
    size = sum(reading.output_bytes for reading in readings)
    return b"".join(reading.data for reading in readings), size, group, pipe.is_wrapped, answer


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("client", FORMATS)
@pytest.mark.parametrize(
    "case", [case for case, data in ANSWERS.items() if b'"custom_tool_call"' not in data], ids="-".join
)
@settings(max_examples=12)
@given(cuts=st.lists(st.integers(0, 4_000), max_size=30))
def test_any_cut_of_an_answer(client: str, case: tuple[str, str], stream: bool, cuts: list[int]):
    """However a provider's answer is cut, each client gets the same bytes, and we learn the same."""
    whole = client_view(client, case, stream, [])
    assert client_view(client, case, stream, cuts) == whole


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("client", FORMATS)
@pytest.mark.parametrize(
    "case", [case for case, data in ANSWERS.items() if b'"custom_tool_call"' not in data], ids="-".join
)
def test_one_byte_at_a_time(client: str, case: tuple[str, str], stream: bool):
    """The smallest reads give each client the same bytes as one read."""
    assert client_view(client, case, stream, list(range(len(ANSWERS[case])))) == client_view(client, case, stream, [])


@pytest.mark.parametrize(("client", "provider"), [(a, b) for a in FORMATS for b in FORMATS if a != b])
@settings(max_examples=12)
@given(cuts=st.lists(st.integers(0, 4_000), max_size=30))
def test_any_cut_of_a_stream_that_breaks(client: str, provider: str, cuts: list[int]):
    """What came before a stream cannot be read any more is handed over and metered, however it was cut."""
    writer = FORMATS[provider].stream_writer(listener(stream=True), Answer(), LIMITS, is_translated=True)
    begun = writer.send([MessageStart("id-1", "m-1"), BlockStart(0, BlockKind.TEXT), BlockDelta(0, "said")])
    broken = begun + b"data: {oops\n\n" * 8 + begun
    data, size, group, _, answer = whole = view_of(client, provider, broken, True, [])
    assert b"said" in data
    assert (size, group) == (len("said"), b"")
    assert "eight frames in a row" in answer["error"]
    assert view_of(client, provider, broken, True, cuts) == whole
