"""Threats that come in a request's body or names, through every protocol; the single odd values are in test_hostile."""

import json
import time
import tracemalloc
from typing import Any

import pytest
import trio

from ainf.protocols.registry import ENDPOINTS
from ainf.simulator import Script, chunk, head, last_chunk
from tests.gateway.backends import FORMATS, INPUT_RATE, OUTPUT_RATE
from tests.gateway.dialects import CHAT, DIALECTS, MESSAGES, RESPONSES, Dialect
from tests.gateway.hostile_rows import event
from tests.gateway.law import check_ledger, check_provider, check_transcript
from tests.gateway.leaks import check_no_leak
from tests.gateway.told import check_refused
from tests.gateway.world import Client, World, question, world
from tests.threats import cases

dialects = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.format)

UNREADABLE = {
    "truncated": (b'{"model": "sim", "secret words', "invalid_json"),
    "garbage behind it": (b'{"model": "sim"} x', "invalid_json"),
    "empty": (b"", "invalid_json"),
    "NaN": (b'{"model": "sim", "temperature": NaN}', "invalid_json"),
    "out of range": (b'{"model": "sim", "temperature": 1e999999999}', "number_out_of_range"),
    "digits": (b'{"model": "sim", "seed": ' + b"9" * 100_000 + b"}", "number_out_of_range"),
    "deep": (b'{"model": ' + b"[" * 100_000, "too_deep"),
    "half a pair": (b'{"model": "\\ud800"}', "invalid_unicode"),
    "not UTF-8": (b'{"model": "\xc0\xaf"}', "invalid_encoding"),
    "UTF-16": ('{"model": "sim"}'.encode("utf-16"), "invalid_encoding"),
    "a mark before it": (b'\xef\xbb\xbf{"model": "sim"}', "invalid_encoding"),
    "a list": (b'[{"model": "sim"}]', "invalid_json"),
    "a string": (b'"model"', "invalid_json"),
}
SHOWN = {
    1: ("truncated", "garbage behind it", "empty"), 3: ("NaN",), 4: ("out of range",), 5: ("digits",), 6: ("deep",),
    7: ("half a pair",), 8: ("not UTF-8", "UTF-16", "a mark before it"), 12: ("a list", "a string"),
    "S11": ("NaN", "half a pair", "UTF-16", "a mark before it"), "S12": ("digits", "deep"), "S19": ("half a pair",),
}  # fmt: skip


@pytest.mark.parametrize("case", cases(UNREADABLE, SHOWN))
async def test_what_is_no_json_is_refused_on_every_path(case, tmp_path, autojump_clock):
    """At once, by the same code everywhere, in the words of each path; where it says so, by the byte."""
    body, code = UNREADABLE[case]
    async with world(tmp_path, "sim") as here:
        began = time.perf_counter()
        for path in ENDPOINTS:
            client = await here.run(here.client(body, path=path))
            check_refused(client, 400, code, sent=body)
            message = client.json()["error"]["message"]
            assert "secret" not in message
            assert code != "invalid_json" or any(word in message for word in ("at byte", "object", "NaN"))
            check_no_leak(here, client)
        assert time.perf_counter() - began < 3
        assert here.wires == []
        await check_ledger(here, admitted=0)


@pytest.mark.threat(2)
@dialects
async def test_of_a_key_that_comes_twice_one_reaches_the_provider(dialect, tmp_path, autojump_clock):
    """However it is written: both parsers in the row read the same request."""
    model = f"{dialect.format}/sim"
    async with world(tmp_path, model) as here:
        asked = json.dumps(dialect.question(model, stream=False)).encode()
        client = await here.run(here.client(asked[:-1] + b', "temperature": 0.1, "temperatur\\u0065": 0.2}',
                                            path=dialect.path))  # fmt: skip
        assert client.status == 200
        sent = here.simulator.books.entries[-1].request_body
        assert sent is not None
        assert sent.count(b'"temperature"') == 1
        assert json.loads(sent)["temperature"] == 0.2


def no_constant(text: str) -> None:
    raise AssertionError(f"{text} was written")


@pytest.mark.threat(3)
@pytest.mark.parametrize("stream", [True, False], ids=["stream", "whole"])
@dialects
async def test_numbers_that_are_none_are_not_written(dialect, stream, tmp_path, autojump_clock):
    """A provider's NaN and infinities in the arguments of a call reach no client of another format."""
    call = {"functionCall": {"name": "f", "args": {"a": 1}}}
    frame = event({"candidates": [{"content": {"parts": [call]}, "finishReason": "STOP"}]})
    frame = frame.replace(b'{"a": 1}', b'{"a": NaN, "b": -Infinity, "c": 1e400}')
    async with world(tmp_path, "gemini/sim") as here:
        here.simulator.set_script(Script([head(), chunk(frame), last_chunk()]))
        client = await here.speak(dialect, "gemini/sim", stream=stream)
        assert client.status == 200
        for payload in client.payloads() if client.is_streamed else [client.body]:
            if payload != b"[DONE]":
                json.loads(payload, parse_constant=no_constant)
        for _, arguments in client.said().calls:
            json.loads(arguments, parse_constant=no_constant)
        assert client.said().calls
        await check_transcript(here, client)


def tool_of(dialect: Dialect, name: str, schema: dict[str, Any]) -> dict[str, Any]:
    tool = json.loads(json.dumps(dialect.tool))
    function = tool.get("function", tool)
    function["name"] = name
    function["input_schema" if dialect is MESSAGES else "parameters"] = schema
    return tool


def crowd_of(dialect: Dialect, what: str) -> dict[str, Any]:
    if what == "tools":
        return {"tools": [tool_of(dialect, f"f{number}", {"type": "object"}) for number in range(5_000)]}
    field = "input" if dialect is RESPONSES else "messages"
    if what == "messages":
        return {field: [{"role": "user", "content": "hi"}] * 100_000}
    return {"metadata": [{}] * 200_000}


@pytest.mark.threat(13)
@pytest.mark.parametrize("what", ["messages", "tools", "objects"])
@dialects
async def test_a_crowd_in_one_body(dialect, what, tmp_path, autojump_clock):
    """It is answered or refused within seconds; what it takes at most is a small multiple of its size, and is freed."""
    model = f"{dialect.format}/sim"
    body = json.dumps(dialect.question(model, stream=False) | crowd_of(dialect, what)).encode()
    async with world(tmp_path, model) as here:
        client = here.client(body, path=dialect.path)
        began = time.perf_counter()
        await here.run(client)
        assert time.perf_counter() - began < 10
        assert client.status == 200 or 400 <= client.status < 500, client.body[:300]
        check_no_leak(here, client)
        await check_ledger(here)


@pytest.mark.threat(13)
async def test_a_crowd_is_read_in_bounded_memory(tmp_path, autojump_clock):
    """Many small objects take at most some thirty bytes for each of the body's, and are freed with their request."""
    body = json.dumps(question("sim", stream=False, x=[{}] * 50_000)).encode()
    async with world(tmp_path, "sim") as here:
        client = here.client(body)
        tracemalloc.start()
        try:
            await here.run(client)
            kept, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert client.status == 200
        assert peak < 40 * len(body)
        assert kept < 5 * len(body)


NAMES = {
    "unknown": "gpt-17", "empty": "", "a mebibyte": "m" * (1 << 20), "homoglyph": "s\u0456m", "spaces": " sim ",
    "case": "SIM", "NUL's neighbours": "sim\x01", "line ends": 'sim\r\n{"event":"exchange"}',
    "a terminal's": "\x1b[31msim",
    "up": "../sim", "a query": "sim?key=1", "a fragment": "sim#x", "another host": "sim@evil.test:1",
    "a URL": "http://evil.test/sim", "escaped": "%2e%2e%2fsim", "SQL": "' OR '1'='1", "LIKE": "%",
    "format": "%s{0.__class__}",
    "template": "{{7*7}}${jndi:ldap://evil.test}", "bidi": "\u202esim", "half": "sim\u2028",
}  # fmt: skip
SHOWN_NAMES = {
    42: ("unknown", "empty", "a mebibyte", "homoglyph", "spaces", "case"),
    43: ("NUL's neighbours", "line ends", "a terminal's", "bidi", "half"),
    44: ("up", "a query", "a fragment", "another host", "a URL", "escaped"),
    39: ("SQL", "LIKE", "format", "template"),
    "C11": ("LIKE",), "S16": ("up", "escaped"),
}  # fmt: skip


def check_log(here: World) -> None:
    """The log is one JSON object a line, of printable ASCII or letters."""
    for line in here.log.getvalue().splitlines():
        assert isinstance(json.loads(line), dict)
        assert "\x1b" not in line


@pytest.mark.parametrize("case", cases(NAMES, SHOWN_NAMES))
async def test_names_that_no_model_has(case, tmp_path, autojump_clock):
    """404 on every path, the name cut and escaped, nothing dialled, the log's lines whole."""
    name = NAMES[case]
    async with world(tmp_path, "sim", after='[models."messages/sim"]\nprovider = "messages"\nupstream_model = "sim"\n'
                     'max_output_tokens = 4096\nprice = { input = "1", output = "2" }\n') as here:  # fmt: skip
        for path in ENDPOINTS:
            asked = {"model": name, "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]}
            if path in {"/v1/responses", "/v1/embeddings"}:
                asked = {"model": name, "input": "x"}
            if path == "/v1/messages/count_tokens":
                del asked["max_tokens"]
            client = await here.run(here.client(asked, path=path))
            check_refused(client, 404, "model_not_found")
            shown = client.json()["error"]["message"].partition("'")[2].rpartition("' is not")[0]
            assert len(shown) <= 64
            assert shown.isascii()
            assert shown.isprintable()
            check_no_leak(here, client)
        check_log(here)
        assert name == "" or len(name) < 3 or name not in here.telemetry.exposition().decode()
        assert here.wires == []
        await check_ledger(here, admitted=0)


# --- what a body may not decide ---

OF_OTHERS = {
    "base_url": "http://evil.test", "api_base": "http://evil.test", "api_key": "sk-evil", "extra_headers": {"x": "y"},
    "extra_body": {"x": 1}, "headers": {"authorization": "Bearer sk-evil"}, "provider": {"order": ["evil"]},
    "proxy": "http://evil.test", "custom_host": "http://evil.test", "organization": "evil", "timeout": 1, "cost": 0,
    "budget": 1e9, "max_budget": 1e9, "user_api_key": "sk-evil", "litellm_params": {"api_base": "http://evil.test"},
    "mock_response": "free", "input_cost_per_token": 0,
}  # fmt: skip
HEADERS = {
    "x_api_base": "http://evil.test", "x_portkey_custom_host": "http://evil.test", "x_forwarded_host": "evil.test",
    "openai_organization": "evil", "x_goog_api_key": "sk-evil", "anthropic_api_key": "sk-evil", "cookie": "a=evil",
    "x_ainf_agent_id": "evil", "x_user": "evil", "referer": "http://evil.test",
}  # fmt: skip


@pytest.mark.threat(45, 11, "C5", "C17")
@dialects
async def test_nothing_in_a_request_decides_where_it_goes_or_what_it_costs(dialect, tmp_path, autojump_clock):
    """Each such field is refused by its name, or changes neither host nor credential nor price; headers never do."""
    model = f"{dialect.format}/sim"
    asked: list[str] = []

    async def reach(host: str) -> None:
        asked.append(host)

    async with world(tmp_path, model, reach=reach) as here:
        plain = await here.speak(dialect, model, stream=False)
        settled = (await here.receipt(plain.inference_id))["settled_nusd"]
        refused = 0
        for name, value in OF_OTHERS.items():
            client = await here.speak(dialect, model, stream=False, **{name: value})
            if client.status == 400:
                check_refused(client, 400, "unsupported_parameter", param=name)
                refused += 1
                continue
            assert client.status == 200
            assert (await here.receipt(client.inference_id))["settled_nusd"] == settled
        assert refused >= 9
        client = await here.run(here.client(dialect.question(model, stream=False), path=dialect.path, **HEADERS))
        assert (await here.receipt(client.inference_id))["settled_nusd"] == settled
        entries = here.simulator.books.entries
        assert len({entry.authorization_sha256 for entry in entries}) == 1
        assert all("evil" not in json.dumps(dict(entry.headers)) for entry in entries)
        assert set(asked) == {"provider.test"}
        await check_ledger(here)


@pytest.mark.threat(11)
@pytest.mark.parametrize("format_", FORMATS)
@dialects
async def test_fields_that_nobody_knows(dialect, format_, tmp_path, autojump_clock):
    """They go on untouched in the same format, and are refused by their name for another."""
    model = f"{format_}/sim"
    async with world(tmp_path, model) as here:
        client = await here.speak(dialect, model, stream=False, x_new={"deep": [1, None, "\u2028"]})
        if dialect.format == format_:
            assert client.status == 200
            sent = here.simulator.books.entries[-1].request_body
            assert sent is not None
            assert json.loads(sent)["x_new"] == {"deep": [1, None, "\u2028"]}
        else:
            check_refused(client, 400, "unsupported_parameter", param="x_new")
            assert here.wires == []
        await check_ledger(here)


URLS = (
    "http://127.0.0.1:8080/admin", "http://[::1]/", "http://169.254.169.254/latest/meta-data/", "http://2130706433/",
    "http://0177.0.0.1/", "http://0x7f.1/", "http://[::ffff:169.254.169.254]/", "http://localhost/x",
    "http://provider.test.evil.test/", "file:///etc/passwd", "gopher://127.0.0.1:6379/_FLUSHALL", "ftp://127.0.0.1/x",
    "http://user:password@10.0.0.1/", "//10.0.0.1/x", "http://metadata.google.internal/",
)  # fmt: skip


def part_of(dialect: Dialect, url: str, kind: str) -> dict[str, Any]:
    if dialect is CHAT:
        return {"type": "image_url", "image_url": {"url": url}}
    if dialect is RESPONSES:
        if kind == "document":
            return {"type": "input_file", "file_url": url}
        return {"type": "input_image", "image_url": url, "detail": "auto"}
    return {"type": kind, "source": {"type": "url", "url": url}}


@pytest.mark.threat(46, "C13", "C12")
@pytest.mark.parametrize("format_", FORMATS)
@dialects
async def test_addresses_in_a_request_are_never_fetched(dialect, format_, tmp_path, autojump_clock):
    """Whatever they point to and however it is written: passed on as they are or refused, and nobody else is called."""
    model = f"{format_}/sim"
    asked: list[str] = []

    async def reach(host: str) -> None:
        asked.append(host)

    async with world(tmp_path, model, reach=reach) as here:
        for url in URLS:
            for kind in ("image", "document"):
                field = "input" if dialect is RESPONSES else "messages"
                content = [{"role": "user", "content": [part_of(dialect, url, kind)]}]
                client = await here.speak(dialect, model, stream=False, **{field: content})
                if client.status == 200:
                    assert url in (here.simulator.books.entries[-1].request_body or b"").decode()
                else:
                    assert client.status == 400
                    assert "x-ainf-inference-id" not in client.headers
        assert set(asked) <= {"provider.test"}
        await check_ledger(here)


SCHEMAS: tuple[dict[str, Any], ...] = (
    {"$ref": "http://169.254.169.254/schema.json"},
    {"$ref": "#"},
    {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}},
    {"type": "object", "properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}},
    {"type": "object", "properties": {"a": {"type": "string", "pattern": "(((("}}},
    {"allOf": [{"allOf": [{"allOf": [{"$ref": "#"}]}]}]},
)


@pytest.mark.threat(48)
@pytest.mark.parametrize("format_", FORMATS)
@dialects
async def test_schemas_are_neither_resolved_nor_run(dialect, format_, tmp_path, autojump_clock):
    """Remote, cyclic, catastrophic: handed on within moments as they are, and only the provider is called."""
    model = f"{format_}/sim"
    asked: list[str] = []

    async def reach(host: str) -> None:
        asked.append(host)

    async with world(tmp_path, model, reach=reach) as here:
        began = time.perf_counter()
        for schema in SCHEMAS:
            client = await here.speak(dialect, model, tools=[tool_of(dialect, "f", schema)])
            assert await check_transcript(here, client) == "completed"
            sent = json.loads(here.simulator.books.entries[-1].request_body or b"")
            assert json.dumps(schema) in json.dumps(sent)
        assert time.perf_counter() - began < 5
        assert set(asked) == {"provider.test"}
        await check_ledger(here, admitted=len(SCHEMAS))


LIMIT_FIELDS = {
    "chat": ("max_tokens", "max_completion_tokens"),
    "messages": ("max_tokens",),
    "responses": ("max_output_tokens",),
}


@pytest.mark.threat(49, "S14")
@dialects
async def test_output_limits_that_are_none(dialect, tmp_path, autojump_clock):
    """Refused by name on every path, whatever the number pretends to be; where one is required none is refused too."""
    model = f"{dialect.format}/sim"
    async with world(tmp_path, model) as here:
        for name in LIMIT_FIELDS[dialect.format]:
            for value in (-1, 0, 1 << 31, 1 << 63, 1.5, "64", True, [], {}):
                client = await here.speak(dialect, model, **{name: value})
                if value == 1 << 63:
                    check_refused(client, 400, "number_out_of_range")
                else:
                    is_number = isinstance(value, int) and not isinstance(value, bool)
                    check_refused(client, 400, "invalid_value" if is_number else "invalid_type", param=name)
        if dialect is MESSAGES:
            asked = dialect.question(model)
            del asked["max_tokens"]
            check_refused(
                await here.run(here.client(asked, path=dialect.path)), 400, "missing_field", param="max_tokens"
            )
        await check_ledger(here, admitted=0)


TWO_LIMITS = {
    "chat": (CHAT, {"max_tokens": 5, "max_completion_tokens": 6}, "max_tokens"),
    "messages": (MESSAGES, {"max_tokens": 100, "thinking": {"type": "enabled", "budget_tokens": 5000}},
                 "thinking.budget_tokens"),
}  # fmt: skip


@pytest.mark.threat(50)
@pytest.mark.parametrize("case", TWO_LIMITS)
async def test_limits_that_disagree(case, tmp_path, autojump_clock):
    """Which one was meant is not guessed, and what is thought is part of the output."""
    dialect, fields, param = TWO_LIMITS[case]
    model = f"{dialect.format}/sim"
    async with world(tmp_path, model) as here:
        check_refused(await here.speak(dialect, model, **fields), 400, "invalid_value", param=param)
        await check_ledger(here, admitted=0)


@pytest.mark.threat(51)
@pytest.mark.parametrize("value", [0, 2, 128, -1])
async def test_one_answer_is_given(value, tmp_path, autojump_clock):
    """More than one choice is refused by name; one may be said."""
    async with world(tmp_path, "sim") as here:
        check_refused(await here.ask(n=value), 400, "unsupported_parameter", param="n")
        assert (await here.ask(n=1)).status == 200
        await check_ledger(here, admitted=1)


@pytest.mark.threat(52)
@pytest.mark.parametrize("dialect", [CHAT, RESPONSES], ids=lambda dialect: dialect.format)
async def test_no_output_limit(dialect, tmp_path, autojump_clock):
    """A stream is held for slice by slice, a whole answer for all that the model can give."""
    model = f"{dialect.format}/sim"
    async with world(tmp_path, model, more="slice_tokens = 64") as here:
        held = {}
        for stream in (True, False):
            client = await here.speak(dialect, model, stream=stream)
            assert await check_transcript(here, client) == "completed"
            held[stream] = (await here.receipt(client.inference_id))["held_nusd"]
        assert 64 * OUTPUT_RATE <= held[True] < 64 * OUTPUT_RATE + 500 * INPUT_RATE
        assert 4096 * OUTPUT_RATE <= held[False] < 4096 * OUTPUT_RATE + 500 * INPUT_RATE
        await check_ledger(here, admitted=2)


# --- overload ---


@pytest.mark.threat(72, "S10")
async def test_over_the_limit_of_running_exchanges(tmp_path, autojump_clock):
    """Stalled streams fill the gateway up: the next request is told when to come again before its body is there, and
    whoever runs goes on to the end."""
    model = "sim-tokens-100-pace-100ms"
    async with world(tmp_path, model, limits="running = 3") as here:
        running = [here.client(question(model)) for _ in range(3)]
        async with trio.open_nursery() as nursery:
            for client in running:
                nursery.start_soon(here.run, client)
            await trio.sleep(1)
            for stream in (True, False):
                refused: Client = here.client(question(model, stream=stream))
                refused._unsent.clear()  # the head has come, and nothing else
                with trio.fail_after(1):
                    await here.run(refused)
                assert (refused.status, refused.json()["error"]["code"]) == (503, "overloaded")
                assert refused.headers["x-should-retry"] == "true"
                assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert [await check_transcript(here, client) for client in running] == ["completed"] * 3
        await check_provider(here)
        await check_ledger(here, admitted=3)
