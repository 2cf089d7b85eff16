"""Threats that come from providers, through every protocol: no connection, odd heads, what is no answer, odd ends."""

import errno
import itertools
import json
import socket
import ssl
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import trio

from ainf.simulator import Send, Stall, Step, Wait, chunk, head, last_chunk, whole
from ainf.simulator.steps import Script
from tests.gateway.dialects import CHAT, DIALECTS, MESSAGES, RESPONSES
from tests.gateway.grammar import check_grammar
from tests.gateway.hostile_rows import BEGIN, TAIL, TOLD, TRACE, lying
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.leaks import check_no_leak
from tests.gateway.told import check_failure
from tests.gateway.world import Client, World, world
from tests.threats import cases

LIMITS = "silence_s = 3\nfirst_byte_s = 4\nexchange_s = 30"

dialects = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
both = pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
ways = pytest.mark.parametrize(
    ("dialect", "stream"), [(CHAT, True), (MESSAGES, False), (RESPONSES, True)],
    ids=["chat-stream", "messages-whole", "responses-stream"],
)  # fmt: skip
"""Each protocol and each mode, where one has nothing to do with the other."""


def frame(delta: dict[str, Any], finish: str | None = None, **fields: Any) -> bytes:
    """One chunk of a chat stream."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    document = {"id": "c", "model": "other-model", "choices": [choice]} | fields
    return b"data: " + json.dumps(document).encode() + b"\n\n"


TEXT, FINISH = frame({"content": "abcdefgh"}), frame({}, "stop")
DONE = b"data: [DONE]\n\n"


def usage(counts: Any) -> bytes:
    return b'data: {"id":"c","choices":[],"usage":' + json.dumps(counts).encode() + b"}\n\n"


async def check_told(here: World, client: Client, code: str, *, billed: bool, in_stream: bool = False) -> None:
    """One honest error in the client's words, nothing of the provider's inside, and the books in order."""
    receipt = await here.receipt(client.inference_id)
    assert receipt["ending"] == "upstream_error"
    assert (receipt["settled_nusd"] > 0) is billed
    check_failure(client, receipt, code, in_stream=in_stream)
    await check_transcript(here, client)
    check_no_leak(here, client)
    await check_provider(here)


UNREACHED = {
    "refused": OSError(errno.ECONNREFUSED, "Connection refused"),
    "no such name": socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
    "no route": OSError(errno.EHOSTUNREACH, "No route to host"),
    "reset": trio.BrokenResourceError("provider.test reset"),
    "no certificate of its name": ssl.SSLCertVerificationError("certificate is not valid for provider.test"),
}  # fmt: skip


@pytest.mark.parametrize("case", cases(UNREACHED, {73: UNREACHED, 47: ["no certificate of its name"]}))
@ways
async def test_no_connection(dialect, stream, case, tmp_path, autojump_clock):
    """502 that names no host, for nothing, with the word that a retry can help."""
    model = f"{dialect.format}/sim"

    async def reach(host: str) -> None:
        raise UNREACHED[case]

    async with world(tmp_path, model, reach=reach) as here:
        client = await here.speak(dialect, model, stream=stream)
        await check_told(here, client, "upstream_unreachable", billed=False)
        assert client.status == 502
        await check_ledger(here, admitted=1)


STATUS = Send(b"HTTP/1.1 200 OK\r\n")
DRIPS: dict[str, tuple[list[Step], list[Step], bool, str]] = {
    "1xx": ([], [Send(b"HTTP/1.1 100 Continue\r\n\r\n"), Wait(0.5)], False, "upstream_timeout"),
    "1xx at once": ([], [Send(b"HTTP/1.1 102 Processing\r\n\r\n" * 100)], False, "upstream_protocol"),
    "a head": ([STATUS], [Send(b"x: y\r\n"), Wait(0.5)], True, "upstream_timeout"),
    "a head byte by byte": ([STATUS, Send(b"x: ")], [Send(b"y"), Wait(0.2)], True, "upstream_timeout"),
    "a body byte by byte": ([head(), chunk(b"data: ")], [chunk(b"x"), Wait(0.5)], True, "upstream_timeout"),
    "blanks": ([head()], [chunk(b"\n\n"), Wait(0.5)], True, "upstream_timeout"),
}
"""What is said first, what for ever, whether the provider had taken the request on, and the error of a stream."""


@pytest.mark.threat(77)
@pytest.mark.parametrize("case", DRIPS)
@ways
async def test_a_drip_has_an_end(dialect, stream, case, tmp_path, autojump_clock):
    """However steadily it comes: a stream's clock until the first content, and a whole answer's, are totals."""
    first, rest, billed, code = DRIPS[case]
    model = f"{dialect.format}/sim"

    async with world(tmp_path, model, limits=LIMITS) as here:
        here.simulator.set_script(Script(itertools.chain(first, itertools.cycle(rest))))
        began = trio.current_time()
        client = await here.speak(dialect, model, stream=stream)
        assert trio.current_time() - began <= (5 if stream else 31)
        receipt = await here.receipt(client.inference_id)
        if not stream and code == "upstream_timeout":
            code = "deadline_exceeded"
        assert (receipt["error_code"], receipt["settled_nusd"] > 0) == (code, billed)
        check_failure(client, receipt, code, in_stream=False)
        await check_provider(here)
        await check_ledger(here, admitted=1)


USAGES = {
    "twice": (usage({"prompt_tokens": 7, "completion_tokens": 2}) * 2, (7, 2)),
    "decreasing": (usage({"prompt_tokens": 9, "completion_tokens": 5})
                   + usage({"prompt_tokens": 7, "completion_tokens": 2}), (7, 2)),
    "increasing": (usage({"prompt_tokens": 7, "completion_tokens": 1})
                   + usage({"prompt_tokens": 7, "completion_tokens": 3}), (7, 3)),
    "a total that is no sum": (usage({"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 99_999}), (7, 2)),
    "a total that is none": (usage({"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": "x"}), (7, 2)),
}  # fmt: skip


@pytest.mark.parametrize(
    "case",
    cases(USAGES, {90: ("twice", "decreasing", "increasing"), 92: ("a total that is no sum", "a total that is none")}),
)
@dialects
async def test_of_usage_the_parts_count_once(dialect, case, tmp_path, autojump_clock):
    """The last object stands, whatever came before it and whatever it says of the sum; relayed and translated."""
    said, tokens = USAGES[case]
    async with world(tmp_path, "sim") as here:
        here.simulator.set_script(Script([head(), chunk(TEXT + FINISH + said + DONE), last_chunk()]))
        client = await here.speak(dialect, "sim")
        assert await check_transcript(here, client) == "completed"
        receipt = await here.receipt(client.inference_id)
        assert receipt["evidence"] == "reported"
        assert (receipt["usage"]["input_tokens"], receipt["usage"]["output_tokens"]) == tokens
        await check_ledger(here, admitted=1)


@pytest.mark.threat(88)
@pytest.mark.parametrize("number", [b"NaN", b"-Infinity", b"1e400"])
@pytest.mark.parametrize("format_", ["messages", "gemini"])
async def test_a_count_that_is_no_number_is_no_count(format_, number, tmp_path, autojump_clock):
    """It does not read as a part that is not there: nothing of that usage is believed, and the audit says so."""
    model = f"{format_}/sim"
    async with world(tmp_path, model) as here:
        for count in TOLD[format_]:
            frames = lying(format_, count, "not-a-number").replace(b'"not-a-number"', number)
            here.simulator.set_script(Script([head(), chunk(frames), last_chunk()]))
            client = await here.speak(CHAT, model)
            assert await check_transcript(here, client) == "completed"
            receipt = await here.receipt(client.inference_id)
            assert (receipt["evidence"], receipt["usage"]["output_tokens"]) == ("metered", 2), count
            assert receipt["notes"]["usage_rejected"] is True
        await check_ledger(here)


WHOLE = {
    "chat": {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "abcd"}, "finish_reason": "stop"},
    ], "usage": {"prompt_tokens": 7, "completion_tokens": 1}},
    "messages": {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
                 "stop_sequence": None, "content": [{"type": "text", "text": "abcd"}],
                 "usage": {"input_tokens": 7, "output_tokens": 1}},
    "responses": {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "completed",
                  "output": [
        {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
         "content": [{"type": "output_text", "text": "abcd", "annotations": []}]},
    ], "usage": {"input_tokens": 7, "output_tokens": 1, "total_tokens": 8}},
}  # fmt: skip


@pytest.mark.threat(103, "S18")
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "x-odd", "identity, gzip", "gzip, gzip", "none"])
@ways
async def test_whatever_says_that_it_is_coded_is_no_answer(dialect, stream, coding, tmp_path, autojump_clock):
    """Packed or not, a bomb or not: none was asked for, so what says that it has one is not read at all."""
    model = f"{dialect.format}/sim"
    plain = json.dumps(WHOLE[dialect.format]).encode()
    bomb = zlib.compress(bytes(5_000_000), wbits=31)
    async with world(tmp_path, model, limits=LIMITS) as here:
        for body in (plain, zlib.compress(plain, wbits=31), zlib.compress(plain), bomb):
            answer = whole(200, "application/json", body, {"content-encoding": coding})
            here.simulator.set_script(Script([answer]))
            client = await here.speak(dialect, model, stream=stream)
            await check_told(here, client, "upstream_protocol", billed=True)
        here.simulator.set_script(Script([whole(200, "application/json", plain, {"content-encoding": "identity"})]))
        assert (await here.speak(dialect, model, stream=stream)).status == 200
        await check_ledger(here)


NO_ANSWERS: dict[str, tuple[list[Step], bool]] = {
    "an empty body": ([whole(200, "text/event-stream", b"")], True),
    "204": ([head(204, {})], False),
    "HTML": ([whole(200, "text/html", f"<html>{TRACE}</html>".encode())], True),
    "NDJSON": ([whole(200, "application/x-ndjson", b'{"a":1}\n{"b":2}\n')], True),
    "binary": ([whole(200, "application/octet-stream", bytes(range(256)))], True),
    "gzip that does not say so": ([whole(200, "application/json", b"\x1f\x8b\x08" + bytes(90))], True),
    **{
        f"status {status}": ([whole(status, "text/plain", b"", {"location": "http://elsewhere.invalid/"})], False)
        for status in (300, 301, 302, 303, 307, 308)
    },
    "304": ([head(304, {})], False),
    "101": ([Send(b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n" + b"x" * 90)], False),
    "999": ([whole(999, "text/plain", b"x")], False),
    "a broken status line": ([Send(b"HTTP/1.1 OK 200\r\n\r\n")], False),
    "HTTP/0.9": ([Send(b"<html>" + TRACE.encode())], False),
    "HTTP/2": ([Send(b"HTTP/2.0 200 OK\r\n\r\n")], True),
    "TLS": ([Send(b"\x15\x03\x01\x00\x02\x02\x46")], False),
    "two lengths": ([Send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}")], True),
    "a length and chunks": (
        [Send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n")], True,
    ),
    "a NUL": ([Send(b"HTTP/1.1 200 OK\r\nx: a\0b\r\ncontent-length: 2\r\n\r\n{}")], True),
    "200 KiB of head": ([Send(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 204_800 + b"\r\n\r\n")], True),
}  # fmt: skip
SHOWN = {
    99: ("an empty body", "204"), 102: ("HTML", "NDJSON", "binary"),
    103: ("gzip that does not say so",),
    104: [f"status {status}" for status in (301, 302, 303, 307, 308)],
    105: ("status 300", "304", "101", "999", "a broken status line", "HTTP/0.9", "HTTP/2", "TLS"),
    106: ("two lengths", "a length and chunks", "a NUL", "200 KiB of head"),
    "C12": [f"status {status}" for status in (301, 302, 303, 307, 308)],
}  # fmt: skip


@pytest.mark.parametrize("case", cases(NO_ANSWERS, SHOWN))
@ways
async def test_what_is_no_answer(dialect, stream, case, tmp_path, autojump_clock):
    """502 of our own; nothing of it is shown or followed, nothing is unpacked, its connection serves nobody else."""
    steps, billed = NO_ANSWERS[case]
    model = f"{dialect.format}/sim"
    asked: list[str] = []

    async def reach(host: str) -> None:
        asked.append(host)

    async with world(tmp_path, model, limits=LIMITS, reach=reach) as here:
        here.simulator.set_script(Script(steps))
        client = await here.speak(dialect, model, stream=stream)
        await check_told(here, client, "upstream_protocol", billed=billed)
        assert client.status == 502
        assert set(asked) == {"provider.test"}
        again = await here.speak(dialect, model, stream=stream)
        assert again.status == 200
        if case in {*SHOWN[106], "101", "HTTP/0.9", "TLS"}:
            assert len(here.wires) == 2
        await check_ledger(here, admitted=2)


MISLABELLED = ("sim-sse-for-json", "sim-json-for-sse", "sim-type-json", "sim-type-text", "sim-type-html", "sim-no-type")


@pytest.mark.parametrize(
    "behaviour",
    cases(MISLABELLED, {100: ["sim-json-for-sse"], 101: [name for name in MISLABELLED if name != "sim-json-for-sse"]}),
)
@both
@dialects
async def test_answers_under_a_wrong_name(dialect, stream, behaviour, tmp_path, autojump_clock):
    """Whatever the content type says, an answer is what its first byte says: told in the mode that was asked for, and
    billed once."""
    model = f"{dialect.format}/{behaviour}"
    async with world(tmp_path, model) as here:
        client = await here.speak(dialect, model, stream=stream)
        assert client.is_streamed is stream
        assert await check_transcript(here, client) == "completed"
        assert client.said().text
        receipt = await here.receipt(client.inference_id)
        (entry,) = here.simulator.books.entries
        assert receipt["usage"]["output_tokens"] == entry.billed_output_tokens
        if entry.usage_sent:
            assert receipt["evidence"] == "reported"
            assert receipt["usage"]["input_tokens"] == entry.billed_input_tokens
        await check_ledger(here, admitted=1)


ERRORS = {
    "an object": b'data: {"error":{"message":"at gpu-17.internal","code":"server_error"}}\n\n',
    "a text": b'data: {"error":"Traceback at gpu-17.internal"}\n\n',
    "a named event": b"event: error\ndata: gpu-17.internal\n\n",
    "a finish reason": frame({}, "error", error={"message": "at gpu-17.internal"}),
}


@pytest.mark.threat(107)
@pytest.mark.parametrize("error", ERRORS)
@dialects
async def test_errors_in_a_chat_answer(dialect, error, tmp_path, autojump_clock):
    """Before any content it is an HTTP status, behind it an error in the stream; no stop is made of it."""
    async with world(tmp_path, "sim", limits=LIMITS) as here:
        for before in (b"", TEXT):
            here.simulator.set_script(Script([head(), *([chunk(before), Wait(0.01)] if before else []),
                                              chunk(ERRORS[error]), last_chunk()]))  # fmt: skip
            client = await here.speak(dialect, "sim")
            receipt = await here.receipt(client.inference_id)
            assert receipt["error_code"] in {"upstream_error", "upstream_overloaded"}
            await check_told(here, client, receipt["error_code"], billed=True, in_stream=bool(before))
        await check_ledger(here, admitted=2)


@pytest.mark.threat(111)
@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)
async def test_a_reason_that_nobody_knows(dialect, tmp_path, autojump_clock):
    """Relayed it is as it was; another format's client gets the neutral word of its own, never a plain stop; the
    receipt has what was said."""
    async with world(tmp_path, "sim") as here:
        here.simulator.set_script(Script([head(), chunk(TEXT + frame({}, "odd_reason") + DONE), last_chunk()]))
        client = await here.speak(dialect, "sim")
        assert await check_transcript(here, client) == "completed"
        reason = client.said().reason
        assert reason not in {"stop", "end_turn", "completed"}
        assert (reason == "odd_reason") is (dialect is CHAT)
        receipt = await here.receipt(client.inference_id)
        assert receipt["attempts"][0]["raw_finish_reason"] == "odd_reason"


def call(index: Any = 0, call_id: Any = "call_1", arguments: Any = "{}", name: Any = "f") -> bytes:
    piece = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return frame({"tool_calls": [{key: value for key, value in piece.items() if value is not None}]})


CALLS = {
    "no index": (call(None), "completed"),
    "gaps": (call(0) + call(7, "call_2") + call(900, "call_3"), "completed"),
    "2^31": (call(1 << 31), "completed"),
    "2^70": (call(1 << 70), "completed"),
    "-1": (call(-1), "completed"),
    "a text as index": (call("x"), "completed"),
    "no id": (call(0, None), "completed"),
    "a number as id": (call(0, 7), "completed"),
    "neither": (call(None, None), "upstream_error"),
    "broken arguments": (call(0, "call_1", '{"a": '), "completed"),
    "a piece of no call": (frame({"tool_calls": [{"index": 3, "function": {"arguments": "{}"}}]}), "upstream_error"),
}


@pytest.mark.threat(112)
@pytest.mark.parametrize("case", CALLS)
@pytest.mark.parametrize("dialect", [MESSAGES, RESPONSES], ids=lambda dialect: dialect.format)
async def test_pieces_of_calls_translated(dialect, case, tmp_path, autojump_clock):
    """Joined by index or id into a stream that a typed client can rely on, or refused as no answer."""
    frames, ending = CALLS[case]
    async with world(tmp_path, "sim", limits=LIMITS) as here:
        here.simulator.set_script(Script([head(), chunk(TEXT), Wait(0.01),
                                          chunk(frames + frame({}, "tool_calls") + DONE), last_chunk()]))  # fmt: skip
        client = await here.speak(dialect, "sim", tools=[dialect.tool])
        receipt = await here.receipt(client.inference_id)
        assert receipt["ending"] == ending
        check_grammar(dialect, client.payloads())
        if ending == "completed":
            assert len(client.said().calls) == frames.count(b'"name"')
        else:
            assert receipt["error_code"] == "upstream_protocol"
        await check_transcript(here, client)
        check_no_leak(here, client)
        await check_ledger(here, admitted=1)


THEIRS = {
    "set-cookie": "a=b", "server": "gpu-17.internal", "access-control-allow-origin": "*", "via": "1.1 gpu-17.internal",
    "openai-organization": "org-x", "x-request-id": "req-of-theirs", "x-powered-by": "x", "x-should-retry": "true",
    "alt-svc": 'h2="gpu-17.internal"', "x-ratelimit-remaining-requests": "3", "strict-transport-security": "x",
    "connection": "x", "x-ainf-model": "x", "www-authenticate": "x", "retry-after": "9",
    "location": "http://elsewhere.invalid/",
}  # fmt: skip


@pytest.mark.threat(118)
@ways
async def test_no_header_of_a_provider_is_passed_on(dialect, stream, tmp_path, autojump_clock):
    """Good answers and refusals alike have our own headers only; its request id is in the receipt."""
    async with world(tmp_path, "sim") as here:
        answer = json.dumps({
            "id": "c", "object": "chat.completion", "created": 1, "model": "other-model",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": "abcd"}, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 1},
        }).encode()  # fmt: skip
        for status in (200, 429, 500):
            plain = whole(status, "application/json", answer)
            here.simulator.set_script(Script([plain]))
            expected = await here.speak(dialect, "sim", stream=stream)
            here.simulator.set_script(Script([whole(status, "application/json", answer, THEIRS)]))
            client = await here.speak(dialect, "sim", stream=stream)
            assert client.headers.keys() == expected.headers.keys()
            assert not set(THEIRS.values()) - {"x", "true", "9"} & set(client.headers.values())
            assert client.headers["x-request-id"] == client.inference_id
            check_no_leak(here, client)
            receipt = await here.receipt(client.inference_id)
            assert receipt["attempts"][0]["provider_request_id"] == "req-of-theirs"


@pytest.mark.threat(119)
@both
@dialects
async def test_the_name_of_another_model(dialect, stream, tmp_path, autojump_clock):
    """A client of another format reads the name that it asked for, one of the same what was said; the receipt has that
    which was asked for, and that which the provider was asked for."""
    async with world(tmp_path, "messages/sim") as here:
        here.simulator.set_script(Script([head(), chunk(BEGIN["messages"] + TAIL["messages"]), last_chunk()]))
        client = await here.speak(dialect, "messages/sim", stream=stream)
        assert await check_transcript(here, client) == "completed"
        named = set(_models_in([json.loads(payload) for payload in client.payloads() if payload != b"[DONE]"]
                               if client.is_streamed else client.json()))  # fmt: skip
        is_relayed = dialect is MESSAGES and stream
        assert named == {"other-model" if is_relayed or dialect is MESSAGES else "messages/sim"}
        receipt = await here.receipt(client.inference_id)
        assert (receipt["model"], receipt["attempts"][0]["upstream_model"]) == ("messages/sim", "sim")


def _models_in(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("model"), str):
            yield value["model"]
        for child in value.values():
            yield from _models_in(child)
    elif isinstance(value, list):
        for child in value:
            yield from _models_in(child)


@pytest.mark.threat(98)
@pytest.mark.parametrize("end", ["hang", "drip"])
@dialects
async def test_behind_its_end_a_provider_has_two_seconds(dialect, end, tmp_path, autojump_clock):
    """Finish and usage were seen: the answer is complete however the connection goes on, and soon."""
    said = usage({"prompt_tokens": 7, "completion_tokens": 2})
    rest = [Stall()] if end == "hang" else [step for _ in range(100) for step in (Wait(0.5), chunk(b": more\n\n"))]
    async with world(tmp_path, "sim", limits=LIMITS) as here:
        here.simulator.set_script(Script([head(), chunk(TEXT + FINISH + said), *rest]))
        began = trio.current_time()
        client = await here.speak(dialect, "sim")
        assert trio.current_time() - began < 2.5
        assert await check_transcript(here, client) == "completed"
        receipt = await here.receipt(client.inference_id)
        assert (receipt["evidence"], receipt["usage"]["output_tokens"]) == ("reported", 2)
        await check_provider(here)
