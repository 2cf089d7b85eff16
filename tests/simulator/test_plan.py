"""Each option on the wire: what the bytes are, how they end, and what the books say of it."""

import gzip
import json
import zlib

import pytest
import trio

from ainf.simulator import End, Simulator, memory_connection
from ainf.simulator.answer import words
from tests.simulator.client import TappedStream, exchange, request_bytes, take
from tests.simulator.formats import CHAT, FORMATS, GEMINI, TOOLS, ask

EVERY_FORMAT = pytest.mark.parametrize("format_", FORMATS, ids=lambda format_: format_.name)
HEAD_END = b"\r\n\r\n"


async def _run(model, **fields):
    simulator = Simulator(keep_bytes=True)
    taken = await exchange(simulator, model, **fields)
    return taken, simulator.books.entries[0]


@pytest.mark.parametrize(
    ("model", "end", "whole", "tokens", "books_end"),
    [
        ("sim-reset-before-head", "reset", None, 0, End.RESET),
        ("sim-reset-after-3", "reset", None, 3, End.RESET),
        ("sim-reset-after-100", "reset", None, 20, End.RESET),
        ("sim-close-before-head", "eof", None, 0, End.CLOSED),
        ("sim-close-after-head", "eof", False, 0, End.CLOSED),
        ("sim-close-after-3", "eof", False, 3, End.CLOSED),
        ("sim-close-after-finish", "eof", False, 20, End.CLOSED),
        ("sim-stall-before-head", "silence", None, 0, End.CANCELLED),
        ("sim-stall-after-head", "silence", False, 0, End.CANCELLED),
        ("sim-stall-after-3", "silence", False, 3, End.CANCELLED),
        ("sim-hidden-reasoning-5-stall-after-3", "silence", False, 3, End.CANCELLED),
        ("sim-stall-after-finish", "silence", False, 20, End.CANCELLED),
        ("sim-stall-after-usage", "silence", False, 20, End.CANCELLED),
        ("sim-stall-mid-after-3", "silence", False, 3, End.CANCELLED),
        ("sim-eof-after-head", "eof", True, 0, End.COMPLETED),
        ("sim-eof-after-3", "eof", True, 3, End.COMPLETED),
        ("sim-eof-after-finish", "eof", True, 20, End.COMPLETED),
        ("sim-cut-chunk-after-3", "eof", False, 3, End.CLOSED),
        ("sim-cut-json-after-3", "eof", True, 3, End.COMPLETED),
        ("sim-hidden-reasoning-5-cut-chunk-after-3", "eof", False, 3, End.CLOSED),
        ("sim-error-after-3", "eof", True, 3, End.COMPLETED),
        ("sim-cut-length", "eof", False, 20, End.CLOSED),
    ],
)
async def test_a_stream_breaks_off_where_its_name_says(model, end, whole, tokens, books_end, autojump_clock):
    """The wire ends as named, the tokens sent are those billed, and the books say how it ended."""
    taken, entry = await _run(model, stream_options={"include_usage": True})

    assert taken.end == end
    if whole is not None:
        assert taken.whole is whole
    if end != "reset":
        assert taken.raw == bytes(entry.written)
        assert entry.wire_bytes == len(taken.raw)
    assert entry.billed_output_tokens == tokens
    assert entry.end is books_end
    assert entry.finish_sent is (tokens == 20 and not model.endswith("100"))
    assert entry.usage_sent is (model in {"sim-stall-after-usage", "sim-cut-length"})
    assert entry.billed_input_tokens == (0 if "before-head" in model else 4)


@pytest.mark.parametrize(
    ("model", "end", "books_end"),
    [
        ("sim-reset-after-3", "reset", End.RESET),
        ("sim-stall-before-head", "silence", End.CANCELLED),
        ("sim-stall-after-head", "silence", End.CANCELLED),
        ("sim-stall-after-3", "silence", End.CANCELLED),
        ("sim-stall-mid-after-3", "silence", End.CANCELLED),
        ("sim-close-after-3", "eof", End.CLOSED),
        ("sim-eof-after-3", "eof", End.COMPLETED),
        ("sim-cut-chunk-after-3", "eof", End.CLOSED),
        ("sim-cut-json-after-3", "eof", End.COMPLETED),
        ("sim-cut-length", "eof", End.CLOSED),
    ],
)
async def test_a_document_breaks_off_where_its_name_says(model, end, books_end, autojump_clock):
    """A JSON answer that breaks off never arrives as one whole document."""
    taken, entry = await _run(model, stream=False)

    assert taken.end == end
    assert entry.end is books_end
    if HEAD_END in taken.raw and model != "sim-cut-length":
        with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
            json.loads(taken.body)
    assert model == "sim-cut-length" or not entry.finish_sent


@EVERY_FORMAT
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("fault", "end", "books_end"),
    [
        ("reset-before-head", "reset", End.RESET),
        ("reset-after-3", "reset", End.RESET),
        ("close-after-head", "eof", End.CLOSED),
        ("close-after-3", "eof", End.CLOSED),
        ("stall-after-3", "silence", End.CANCELLED),
        ("stall-after-finish", "silence", End.CANCELLED),
        ("stall-after-usage", "silence", End.CANCELLED),
        ("stall-mid-after-3", "silence", End.CANCELLED),
        ("eof-after-3", "eof", End.COMPLETED),
        ("eof-after-finish", "eof", End.COMPLETED),
        ("cut-chunk-after-3", "eof", End.CLOSED),
        ("cut-json-after-3", "eof", End.COMPLETED),
        ("cut-length", "eof", End.CLOSED),
    ],
)
async def test_every_format_breaks_off_as_chat_does(format_, fault, end, books_end, stream, autojump_clock):
    """The wire ends in the same way in all formats, and the same tokens are billed."""
    bills = []
    for spoken in (format_, CHAT):
        simulator = Simulator()
        taken = await ask(spoken, f"sim-{fault}", stream=stream, simulator=simulator)
        entry = simulator.books.entries[0]
        bills.append((taken.end, entry.end, entry.billed_input_tokens, entry.billed_output_tokens, entry.finish_sent))
    assert bills[0] == bills[1]
    assert bills[0][:2] == (end, books_end)


@EVERY_FORMAT
@pytest.mark.parametrize("after", [0, 3, 100])
@pytest.mark.parametrize("say", ["", "-reasoning-2", "-tools"])
async def test_a_cut_frame_is_cut_inside_its_json(format_, after, say):
    """The last event that arrives is not JSON, wherever the cut is and however many events the frame has."""
    taken = await ask(format_, f"sim{say}-cut-json-after-{after}", functions=TOOLS)
    last = taken.body.rpartition(b"\n\n")[2]

    assert taken.whole
    # A call of Gemini's that is not whole has no frame that could be cut.
    if format_ is not GEMINI or say != "-tools" or after == 100:
        assert b"data: {" in last
        with pytest.raises(ValueError, match=r"Expecting|Unterminated|Invalid"):
            json.loads(last.partition(b"data: ")[2])


async def test_a_call_that_is_not_whole_shows_nothing():
    """Of a call in Gemini broken off after three tokens these are billed, and no byte of it is visible."""
    simulator = Simulator()
    taken = await ask(GEMINI, "sim-tools-eof-after-3", functions=TOOLS, simulator=simulator)
    entry = simulator.books.entries[0]

    assert (taken.body, entry.billed_output_tokens, entry.text_bytes) == (b"", 3, 0)


@EVERY_FORMAT
@pytest.mark.parametrize(
    "odd", ["gzip", "ndjson", "crlf", "multi-data", "comments", "pings", "invalid-utf8", "broken-json-3"]
)
async def test_every_format_can_be_odd(format_, odd):
    """The oddity changes the stream's bytes, and nothing of what is billed."""
    simulator = Simulator()
    plain = await ask(format_, "sim")
    taken = await ask(format_, f"sim-{odd}", simulator=simulator)

    assert taken.whole
    assert taken.body.replace(f"sim-{odd}".encode(), b"sim") != plain.body
    assert simulator.books.entries[0].billed_output_tokens == 20
    if odd == "gzip":
        assert gzip.decompress(taken.body).replace(b"sim-gzip", b"sim") == plain.body
    if odd == "ndjson":
        lines = [json.loads(line) for line in taken.body.splitlines()]
        assert len(lines) == len(plain.chunks) - (plain.chunks[-1].get("type") == "message_stop")


@EVERY_FORMAT
async def test_the_first_token_does_not_wait_for_the_second(format_, autojump_clock):
    """Each token is written when it is made, in every format: a second apart."""
    tokens = [word.encode() for word in words(0, 1, 3)]
    written = []

    async def note(data):
        written.extend((round(trio.current_time() - began), token) for token in tokens if token in data)

    client, server = memory_connection()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Simulator().serve_connection, TappedStream(server, note))
        await client.send_all(format_.request("sim-tokens-3-pace-1s"))
        await take(client)
    assert written[:3] == list(enumerate(tokens, start=1))


@pytest.mark.parametrize("where", ["first", "after-3"])
async def test_an_error_in_the_stream_is_an_object(where):
    """The error stands as an object after the tokens named, then [DONE]."""
    taken, _ = await _run(f"sim-error-{where}")

    assert taken.chunks[-1]["error"]["code"] == "overloaded"
    assert len(taken.text) == (0 if where == "first" else 12)
    assert taken.payloads[-1] == b"[DONE]"
    assert b'finish_reason":"' not in taken.body


async def test_an_error_in_the_stream_may_be_a_string_or_an_event():
    """The other two shapes of an error."""
    string, _ = await _run("sim-error-string-after-1")
    event, _ = await _run("sim-error-event-after-1")

    assert isinstance(string.chunks[-1]["error"], str)
    assert b"\n\nevent: error\ndata: {" in event.body


async def test_an_error_in_a_document():
    """A JSON answer with status 200 may hold only an error."""
    taken, _ = await _run("sim-error-first", stream=False)

    assert taken.status == 200
    assert list(json.loads(taken.body)) == ["error"]


@pytest.mark.parametrize(
    ("model", "mark"),
    [
        ("sim-comments", b"\n\n: keep-alive\n\ndata: "),
        ("sim-pings", b"event: ping\ndata: "),
        ("sim-crlf", b"\r\n\r\ndata: "),
        ("sim-multi-data", b',\ndata: "'),
        ("sim-unknown-fields", b'"x_unknown":'),
        ("sim-invalid-utf8", b"\xff\xc3("),
        ("sim-broken-json-8", b'data: {"choices": [{"delta": {"content": \n\n' * 8),
        ("sim-finish-unheard", b'"finish_reason":"unheard"'),
    ],
)
async def test_odd_frames(model, mark):
    """The oddity is on the wire, and nothing that was produced is missing from the books."""
    taken, entry = await _run(model)

    assert mark in taken.body
    assert taken.whole
    assert entry.billed_output_tokens == 20
    assert entry.end is End.COMPLETED


async def test_broken_frames_follow_the_first_token():
    """The broken frames stand together after the first token and take the place of none."""
    taken, _ = await _run("sim-broken-json-2")

    whole = [b'"content":"' in payload for payload in taken.payloads[1:22]]
    assert whole == [True, False, False, *[True] * 18]


async def test_crlf_is_everywhere():
    """With crlf no line ends in a bare LF."""
    taken, _ = await _run("sim-crlf")
    assert b"\n" not in taken.body.replace(b"\r\n", b"")


@pytest.mark.parametrize(
    ("model", "finishes", "done", "tokens"),
    [
        ("sim", 1, 1, 20),
        ("sim-no-done", 1, 0, 20),
        ("sim-done-only", 0, 1, 20),
        ("sim-two-finishes", 2, 1, 20),
        ("sim-content-after-finish", 1, 1, 21),
        ("sim-data-after-done", 1, 1, 21),
        ("sim-finish-with-content", 1, 1, 20),
    ],
)
async def test_ends_of_a_stream(model, finishes, done, tokens):
    """Finish chunks, end markers and tokens are as many as the name says."""
    taken, entry = await _run(model)

    reasons = [chunk["choices"][0]["finish_reason"] for chunk in taken.chunks]
    assert sum(reason is not None for reason in reasons) == finishes
    assert taken.payloads.count(b"[DONE]") == done
    assert len(taken.text) == 4 * tokens == entry.text_bytes
    assert entry.billed_output_tokens == tokens
    assert (taken.chunks[-1]["choices"][0]["delta"] != {}) == (
        model in {"sim-done-only", "sim-content-after-finish", "sim-data-after-done", "sim-finish-with-content"}
    )


@pytest.mark.parametrize(
    ("model", "content_type"),
    [
        ("sim", "text/event-stream; charset=utf-8"),
        ("sim-type-json", "application/json"),
        ("sim-type-text", "text/plain"),
        ("sim-type-html", "text/html; charset=utf-8"),
        ("sim-no-type", None),
        ("sim-ndjson", "application/x-ndjson"),
    ],
)
async def test_content_types(model, content_type):
    """The content-type is the one named, or missing."""
    taken, _ = await _run(model)
    assert taken.headers.get("content-type") == content_type


async def test_ndjson_has_no_events():
    """NDJSON is one JSON object a line."""
    taken, _ = await _run("sim-ndjson")
    assert [json.loads(line)["object"] for line in taken.body.splitlines()] == ["chat.completion.chunk"] * 22


async def test_modes_can_be_swapped():
    """JSON comes for a stream, and a stream for JSON."""
    document, _ = await _run("sim-json-for-sse", stream=True)
    stream, _ = await _run("sim-sse-for-json", stream=False)

    assert json.loads(document.body)["object"] == "chat.completion"
    assert stream.payloads[-1] == b"[DONE]"


async def test_gzip_comes_unasked():
    """Both modes are compressed, each frame of a stream at once."""
    stream, _ = await _run("sim-gzip")
    document, _ = await _run("sim-gzip", stream=False)

    assert stream.headers["content-encoding"] == "gzip"
    assert gzip.decompress(stream.body).endswith(b"data: [DONE]\n\n")
    assert zlib.decompressobj(wbits=31).decompress(stream.body[:200]).startswith(b"data: {")
    assert json.loads(gzip.decompress(document.body))["object"] == "chat.completion"


@pytest.mark.parametrize("model", ["sim-endless", "sim-endless-comments", "sim-endless-line"])
async def test_endless_streams_do_not_end(model):
    """Half a megabyte comes and more would; max_tokens is ignored."""
    taken, entry = await _run(model, max_tokens=5, max_bytes=500_000)

    assert taken.end == "too much"
    assert entry.end is End.CANCELLED
    assert entry.output_tokens > 5 if model == "sim-endless" else entry.output_tokens == 1


@pytest.mark.parametrize(("model", "tokens"), [("sim-endless", 20), ("sim-unlimited", 20)])
async def test_a_document_may_pass_its_limit(model, tokens):
    """An endless JSON answer has four times the tokens asked for, an unlimited one its own number."""
    _, entry = await _run(model, stream=False, max_tokens=5)
    assert entry.output_tokens == tokens


async def test_burst_is_one_write():
    """An instant burst is one write, the head and all frames; frame by frame it is one each."""
    assert len(await _writes("sim-burst")) == 1
    assert len(await _writes("sim")) == 1 + 1 + 20 + 2 + 1
    assert len(await _writes("bench-burst")) == 1


async def test_drip_is_byte_by_byte():
    """Every write is one byte, and together they are the same answer."""
    writes = await _writes("sim-drip")

    assert {len(data) for data in writes} == {1}
    assert b"".join(writes).replace(b"sim-drip", b"sim").endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")


async def _writes(model):
    sent = []

    async def note(data):
        sent.append(data)

    client, server = memory_connection()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Simulator().serve_connection, TappedStream(server, note))
        await client.send_all(request_bytes(model))
        await take(client)
    return sent


@pytest.mark.parametrize(("stream", "model"), [(True, "sim-pace-20ms-delay-1s"), (False, "sim-pace-20ms-delay-1s")])
async def test_pace_and_delay(stream, model, autojump_clock):
    """Twenty tokens at 20 ms after a second take 1.4 seconds in either mode."""
    began = trio.current_time()
    _, entry = await _run(model, stream=stream)

    assert entry.ended_at - began == pytest.approx(1.4)
    assert entry.head_sent_at - began == pytest.approx(1.0 if stream else 1.4)


async def test_bench_answers_are_the_workloads():
    """A is about 1 KB of JSON; B and C have 200 content frames, 203 frames in all."""
    document, _ = await _run("bench-json", stream=False)
    burst, _ = await _run("bench-burst")

    assert 950 <= len(document.body) <= 1100
    assert len(burst.payloads) == 203
