"""Bad providers: what the client gets of each kind, and that nothing of theirs leaks."""

import pytest
import trio

from ainf.simulator import Close, Reset, Send, Stall, Step, Wait, chunk, head, last_chunk, whole
from ainf.simulator.steps import Script
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.leaks import check_no_leak
from tests.gateway.world import world
from tests.threats import cases

LIMITS = "silence_s = 3\nfirst_byte_s = 4\nexchange_s = 30"
USAGE = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":1,"total_tokens":8}}\n\n'
DONE = b"data: [DONE]\n\n"


def delta(text: str = "abcd", finish: str = "null") -> bytes:
    return (
        f'data: {{"id":"c","model":"other-model","choices":[{{"index":0,"delta":{{"content":"{text}"}},'
        f'"finish_reason":{finish}}}]}}\n\n'
    ).encode()


FINISH = delta("", '"stop"')

# Row: model by behaviour -> what a streaming client and the ledger see.
UNANSWERED = {
    "refused": ("sim-close-before-head", 502, "upstream_error", False),
    "never answers": ("sim-stall-before-head", 504, "upstream_timeout", False),
    "empty 200": ("sim-empty-200", 502, "upstream_protocol", True),
    "status 204": ("sim-status-204", 502, "upstream_protocol", False),
    "HTML": ("sim-html-200", 502, "upstream_protocol", True),
    "binary": ("sim-binary-200", 502, "upstream_protocol", True),
    "gzip": ("sim-gzip", 502, "upstream_protocol", True),
    "redirect": ("sim-redirect-307", 502, "upstream_protocol", False),
    "status 300": ("sim-error-300", 502, "upstream_protocol", False),
    "status 999": ("sim-error-999", 502, "upstream_protocol", False),
    "bad status line": ("sim-bad-status-line", 502, "upstream_protocol", False),
    "not HTTP": ("sim-not-http", 502, "upstream_protocol", False),
    "TLS bytes": ("sim-tls-bytes", 502, "upstream_protocol", False),
    "two lengths": ("sim-two-lengths", 502, "upstream_protocol", True),
    "huge header": ("sim-huge-header", 502, "upstream_protocol", True),
    "error first": ("sim-error-first", 503, "upstream_overloaded", True),
    "status 401": ("sim-error-401", 502, "upstream_auth", False),
    "status 402": ("sim-error-402", 502, "upstream_auth", False),
    "status 403": ("sim-error-403", 502, "upstream_auth", False),
    "status 400": ("sim-error-400", 400, "upstream_rejected", False),
    "status 429": ("sim-error-429", 503, "upstream_overloaded", False),
    "500 with a trace": ("sim-error-500-html", 502, "upstream_error", False),
    "502 with a trace": ("sim-error-502-html", 502, "upstream_error", False),
}


SHOWN_UNANSWERED = {
    74: ("never answers",), 99: ("empty 200", "status 204"), 102: ("HTML", "binary"), 103: ("gzip",),
    104: ("redirect",),
    105: ("status 300", "status 999", "bad status line", "not HTTP", "TLS bytes"), 106: ("two lengths", "huge header"),
    107: ("error first",), 113: ("status 401", "status 402", "status 403"), 114: ("status 400",), 115: ("status 429",),
    116: ("500 with a trace", "502 with a trace"),
}  # fmt: skip


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@pytest.mark.parametrize("row", cases(UNANSWERED, SHOWN_UNANSWERED))
async def test_providers_that_give_no_answer(row, stream, tmp_path, autojump_clock):
    """A status of our own, our own words, nothing of the provider's."""
    model, status, code, billed = UNANSWERED[row]
    async with world(tmp_path, model, limits=LIMITS) as here:
        client = await here.ask(model, stream=stream)
        if row == "never answers" and not stream:
            status, code = 504, "deadline_exceeded"
        assert (client.status, client.json()["error"]["code"]) == (status, code)
        receipt = await here.receipt(client.inference_id)
        assert (receipt["settled_nusd"] > 0) is billed
        await check_transcript(here, client)
        check_no_leak(here, client)
        await check_provider(here)
        await check_ledger(here, admitted=1)


@pytest.mark.threat(115, "S13")
@pytest.mark.parametrize(
    ("said", "told"), [("soon", 1), ("-5", 1), ("0", 1), ("7", 7), ("1000000000000", 60), ("9" * 300, 1), ("1.5", 1)]
)
async def test_retry_after(said, told, tmp_path, autojump_clock):
    """Whatever a provider says of waiting, the client is told 1 to 60 seconds."""
    async with world(tmp_path, "sim") as here:
        headers = {"retry-after": said}
        here.simulator.set_script(Script([whole(429, "application/json", b"{}", headers)]))
        client = await here.ask()
        assert client.status == 503
        assert client.headers["retry-after"] == str(told)


@pytest.mark.threat(117)
@pytest.mark.parametrize("size", ["64 MiB", "dripping", "hanging"])
async def test_error_bodies(size, tmp_path, autojump_clock):
    """An error's body is read within its limits, whatever it does."""
    headers = head(500, {"content-type": "text/html", "content-length": str(1 << 26)})
    steps: dict[str, list[Step]] = {
        "64 MiB": [headers, *[Send(b"x" * 65536)] * 1024],
        "dripping": [headers, *[Send(b"x"), Wait(0.2)] * 500],
        "hanging": [headers, Stall()],
    }
    async with world(tmp_path, "sim") as here:
        here.simulator.set_script(Script(steps[size]))
        began = trio.current_time()
        client = await here.ask()
        assert client.status == 502
        assert trio.current_time() - began < 3
        await check_provider(here)


IN_STREAM: dict[str, tuple[list[Step], str, str]] = {
    "silence": ([Stall()], "error", "upstream_timeout"),
    "half an event": ([chunk(delta()[:20]), Stall()], "error", "upstream_timeout"),
    "drip": ([step for _ in range(40) for step in (chunk(b"d"), Wait(1))], "error", "upstream_timeout"),
    "line without end": (
        [chunk(b"data: " + b"x" * 65536), *[chunk(b"x" * 65536)] * 20], "error", "upstream_protocol",
    ),
    "event without end": ([chunk(b"data: " + b"x" * 1000 + b"\n")] * 1100, "error", "upstream_protocol"),
    "invalid UTF-8": ([chunk(b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n'), chunk(FINISH)], "stop", ""),
    "separators": ([chunk(delta("a\u2028\u2029\u0085b")), chunk(FINISH)], "stop", ""),
    "lone surrogates": ([chunk(delta("\\ud83d")), chunk(delta("\\ude00")), chunk(FINISH)], "stop", ""),
    "a false end": ([chunk(delta("\\n\\ndata: [DONE]\\n\\n")), chunk(FINISH)], "stop", ""),
    "broken JSON": ([chunk(b'data: {"choices":[{"del\n\n'), chunk(FINISH)], "stop", ""),
    "scalars": ([chunk(b"data: 17\n\ndata: null\n\ndata: []\n\ndata: true\n\n"), chunk(FINISH)], "stop", ""),
    "wrong types": (
        [
            chunk(b'data: {"choices":null}\n\ndata: {"choices":[{"delta":7}]}\n\ndata: {"choices":[]}\n\n'),
            chunk(b'data: {"choices":[{"delta":{"content":[1],"tool_calls":{}}}],"id":5,"model":[],"usage":"x"}\n\n'),
            chunk(b'data: {"choices":[{"delta":null}]}\n\n'), chunk(FINISH),
        ], "stop", "",
    ),
    "deep": ([chunk(b"data: " + b"[" * 900 + b"]" * 900 + b"\n\n"), chunk(FINISH)], "stop", ""),
    "digits": ([chunk(b'data: {"x":' + b"9" * 10_000 + b"}\n\n"), chunk(FINISH)], "stop", ""),
    "two finishes": ([chunk(FINISH), chunk(delta("", '"length"')), chunk(DONE)], "stop", ""),
    "content after finish": ([chunk(FINISH), chunk(delta("more")), chunk(DONE)], "stop", ""),
    "data after done": ([chunk(FINISH), chunk(DONE), chunk(delta("more"))], "stop", ""),
    "no done": ([chunk(FINISH)], "stop", ""),
    "done without finish": ([chunk(DONE)], "error", "upstream_truncated"),
    "end without finish": ([], "error", "upstream_truncated"),
    "cut in JSON": ([chunk(delta()[:30])], "error", "upstream_truncated"),
    "closed": ([Close()], "error", "upstream_truncated"),
    "reset": ([Wait(1), Reset()], "error", "upstream_truncated"),
    "finish then reset": ([chunk(FINISH + USAGE), Wait(1), Reset()], "stop", ""),
    "finish then hang": ([chunk(FINISH + USAGE), Stall()], "stop", ""),
    "error object": (
        [chunk(b'data: {"error":{"message":"at gpu-17.internal.example"}}\n\n')], "error", "upstream_error",
    ),
    "error as text": ([chunk(b'data: {"error":"Traceback gpu-17.internal"}\n\n')], "error", "upstream_error"),
    "named event": ([chunk(b"event: error\ndata: gpu-17.internal\n\n")], "error", "upstream_error"),
    "unknown finish": ([chunk(delta("", '"odd_reason"'))], "odd_reason", ""),
    "odd tools": (
        [
            chunk(b'data: {"choices":[{"delta":{"tool_calls":[{"index":2147483648,"function":{"name":"f"}}]}}]}\n\n'),
            chunk(b'data: {"choices":[{"delta":{"tool_calls":[{"index":-1},{"id":7},{"function":{}}]}}]}\n\n'),
            chunk(FINISH),
        ], "stop", "",
    ),
}  # fmt: skip


SHOWN_IN_STREAM = {
    75: ("silence", "half an event"), 77: ("drip",), 78: ("line without end",), 79: ("event without end",),
    81: ("invalid UTF-8",), 82: ("separators",), 83: ("lone surrogates",), 84: ("a false end",), 85: ("broken JSON",),
    86: ("scalars", "wrong types"), 87: ("deep", "digits"), 93: ("two finishes", "content after finish"),
    94: ("data after done",), 95: ("no done",), 96: ("done without finish",),
    97: ("end without finish", "cut in JSON", "closed", "reset"), 98: ("finish then reset", "finish then hang"),
    107: ("error object", "error as text", "named event"), 111: ("unknown finish",), 112: ("odd tools",),
    "S12": ("deep", "digits"), "S17": ("end without finish", "closed"),
}  # fmt: skip


@pytest.mark.parametrize("row", cases(IN_STREAM, SHOWN_IN_STREAM))
async def test_providers_that_misbehave_in_a_stream(row, tmp_path, autojump_clock):
    """After the first content: an honest error, or the relayed stream with its own end; never an invented one."""
    steps, reason, code = IN_STREAM[row]
    async with world(tmp_path, "sim", limits=LIMITS) as here:
        here.simulator.set_script(Script([head(), chunk(delta()), Wait(0.01), *steps, last_chunk()]))
        client = await here.ask()
        assert client.finish_reasons() == [reason]
        receipt = await here.receipt(client.inference_id)
        assert receipt["error_code"] == (code or None)
        assert receipt["settled_nusd"] > 0
        await check_transcript(here, client)
        check_no_leak(here, client)
        await check_provider(here)
        await check_ledger(here, admitted=1)


USAGES = {
    "negative": '{"prompt_tokens":-7,"completion_tokens":1}',
    "huge": '{"prompt_tokens":7,"completion_tokens":1000000}',
    "65 bits": '{"prompt_tokens":7,"completion_tokens":36893488147419103232}',
    "float": '{"prompt_tokens":7.5,"completion_tokens":1}',
    "text": '{"prompt_tokens":"7","completion_tokens":1}',
    "bool": '{"prompt_tokens":true,"completion_tokens":1}',
    "list": "[7, 1]",
    "1e400": '{"prompt_tokens":1e400,"completion_tokens":1}',
    "NaN": '{"prompt_tokens":NaN,"completion_tokens":1}',
    "zero": '{"prompt_tokens":0,"completion_tokens":0}',
    "null": "null",
    "cached over prompt": '{"prompt_tokens":7,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":8}}',
}


SHOWN_USAGES = {
    88: [name for name in USAGES if name not in {"zero", "null", "cached over prompt"}], 89: ("zero", "null"),
    92: ("cached over prompt",),
}  # fmt: skip


@pytest.mark.parametrize("row", cases(USAGES, SHOWN_USAGES))
async def test_usage_that_cannot_be_true(row, tmp_path, autojump_clock):
    """It is settled at our own count, and the audit event says so where there was any."""
    async with world(tmp_path, "sim") as here:
        usage = f'data: {{"id":"c","choices":[],"usage":{USAGES[row]}}}\n\n'.encode()
        here.simulator.set_script(
            Script([head(), chunk(delta("abcdefgh")), chunk(FINISH + usage + DONE), last_chunk()])
        )
        client = await here.ask()
        receipt = await here.receipt(client.inference_id)
        assert receipt["evidence"] == "metered"
        assert receipt["usage"]["output_tokens"] == 2
        assert receipt["notes"].get("usage_rejected", False) is (row not in {"null", "NaN", "1e400"})
        assert await check_transcript(here, client) == "completed"
        await check_ledger(here, admitted=1)


@pytest.mark.threat(90)
async def test_usage_is_the_last_never_a_sum(tmp_path, autojump_clock):
    """Usage on every chunk is cumulative."""
    async with world(tmp_path, "sim-tokens-30-usage-continuous") as here:
        client = await here.ask("sim-tokens-30-usage-continuous")
        receipt = await here.receipt(client.inference_id)
        assert (receipt["evidence"], receipt["usage"]["output_tokens"]) == ("reported", 30)


@pytest.mark.threat(91)
async def test_plausible_usage_above_the_hold_is_overrun(tmp_path, autojump_clock):
    """The hold is settled and the rest posted beside it, counted as an alarm."""
    async with world(tmp_path, "sim", more="slice_tokens = 8") as here:
        usage = b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":40}}\n\n'
        here.simulator.set_script(Script([head(), chunk(delta()), chunk(FINISH + usage + DONE), last_chunk()]))
        client = await here.ask(max_tokens=8)
        receipt = await here.receipt(client.inference_id)
        assert receipt["overrun_nusd"] > 0
        assert receipt["settled_nusd"] == receipt["held_nusd"]
        assert "ainf_overrun_nusd_total{" in here.telemetry.exposition().decode()
        await check_ledger(here, admitted=1)


@pytest.mark.threat(118, 119)
async def test_headers_and_model_names_of_the_provider(tmp_path, autojump_clock):
    """No header of the provider reaches the client; its model's name is relayed, and both are in the receipt."""
    fields = {
        "content-type": "text/event-stream", "transfer-encoding": "chunked", "set-cookie": "a=b",
        "server": "gpu-17.internal", "access-control-allow-origin": "*", "openai-organization": "org-x",
        "x-request-id": "req-of-theirs",
    }  # fmt: skip
    async with world(tmp_path, "sim") as here:
        here.simulator.set_script(Script([head(200, fields), chunk(delta() + FINISH), last_chunk()]))
        client = await here.ask()
        assert (
            not {"set-cookie", "server", "access-control-allow-origin", "openai-organization"} & client.headers.keys()
        )
        assert client.headers["x-request-id"] == client.inference_id
        assert client.chunks()[0]["model"] == "other-model"
        receipt = await here.receipt(client.inference_id)
        assert receipt["model"] == "sim"
        assert receipt["attempts"][0]["provider_request_id"] == "req-of-theirs"
        check_no_leak(here, client)
