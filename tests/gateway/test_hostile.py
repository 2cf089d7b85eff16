"""Bad requests: what each gets, and that nothing internal leaks. Those that need sockets have files of their own."""

import json
import time
from typing import Any

import pytest
import trio

from tests.gateway.law import check_ledger, check_transcript
from tests.gateway.leaks import check_no_leak
from tests.gateway.told import check_refused
from tests.gateway.world import Client, question, world
from tests.threats import cases


def body(**fields: Any) -> bytes:
    return json.dumps(question("sim", **fields)).encode()


def with_value(name: str, value: str) -> bytes:
    return body()[:-1] + f', "{name}": {value}}}'.encode()


BODIES = {
    "truncated": (body()[:-1], 400, "invalid_json"),
    "trailing garbage": (body() + b"x", 400, "invalid_json"),
    "empty": (b"", 400, "invalid_json"),
    "single quotes": (b"{'model': 'sim'}", 400, "invalid_json"),
    "NaN": (with_value("temperature", "NaN"), 400, "invalid_json"),
    "Infinity": (with_value("temperature", "-Infinity"), 400, "invalid_json"),
    "1e400": (with_value("temperature", "1e400"), 400, "number_out_of_range"),
    "1e999999999": (with_value("temperature", "1e999999999"), 400, "number_out_of_range"),
    "65 bits": (with_value("seed", "36893488147419103232"), 400, "number_out_of_range"),
    "10,000 digits": (with_value("seed", "9" * 10_000), 400, "number_out_of_range"),
    "deep lists": (with_value("x", "[" * 101 + "]" * 101), 400, "too_deep"),
    "deeper than any stack": (with_value("x", "[" * 200_000 + "]" * 200_000), 400, "too_deep"),
    "deep objects": (with_value("x", '{"a":' * 101 + "1" + "}" * 101), 400, "too_deep"),
    "lone surrogate": (with_value("user", '"\\ud800"'), 400, "invalid_unicode"),
    "lone low surrogate in a key": (body()[:-1] + b', "\\udc00": 1}', 400, "invalid_unicode"),
    "invalid UTF-8": (body()[:-1] + b', "user": "\xff"}', 400, "invalid_encoding"),
    "overlong": (body()[:-1] + b', "user": "\xc0\xaf"}', 400, "invalid_encoding"),
    "surrogate bytes": (body()[:-1] + b', "user": "\xed\xa0\x80"}', 400, "invalid_encoding"),
    "UTF-16": (body().decode().encode("utf-16"), 400, "invalid_encoding"),
    "UTF-32": (body().decode().encode("utf-32-le"), 400, "invalid_encoding"),
    "BOM": (b"\xef\xbb\xbf" + body(), 400, "invalid_encoding"),
    "NUL in model": (json.dumps(question("si\0m")).encode(), 400, "invalid_unicode"),
    "NUL in user": (body(user="a\0"), 400, "invalid_unicode"),
    "NUL in metadata": (body(metadata={"a": {"b": ["\0"]}}), 400, "invalid_unicode"),
    "a list": (b"[]", 400, "invalid_json"),
    "a string": (b'"x"', 400, "invalid_json"),
    "null": (b"null", 400, "invalid_json"),
    "200k objects": (b'{"messages": [' + b",".join([b"{}"] * 200_000) + b"]}", 400, "missing_field"),
    "empty model": (json.dumps(question("")).encode(), 404, "model_not_found"),
    "long model": (json.dumps(question("m" * (1 << 20))).encode(), 404, "model_not_found"),
    "homoglyph": (json.dumps(question("s\u0456m")).encode(), 404, "model_not_found"),
    "spaces": (json.dumps(question(" sim ")).encode(), 404, "model_not_found"),
    "line breaks": (json.dumps(question('sim\r\n{"event":"exchange"}\x1b[31m')).encode(), 404, "model_not_found"),
    "paths": (json.dumps(question("../sim?x#y@z:1")).encode(), 404, "model_not_found"),
    "SQL": (json.dumps(question("' OR '1'='1")).encode(), 404, "model_not_found"),
}


SHOWN_BODIES = {
    1: ("truncated", "trailing garbage", "empty", "single quotes"), 3: ("NaN", "Infinity"),
    4: ("1e400", "1e999999999"), 5: ("65 bits", "10,000 digits"),
    6: ("deep lists", "deeper than any stack", "deep objects"), 7: ("lone surrogate", "lone low surrogate in a key"),
    8: ("invalid UTF-8", "overlong", "surrogate bytes", "UTF-16", "UTF-32", "BOM"),
    9: ("NUL in model", "NUL in user", "NUL in metadata"), 12: ("a list", "a string", "null"), 13: ("200k objects",),
    39: ("SQL",), 42: ("empty model", "long model", "homoglyph", "spaces"), 43: ("line breaks",), 44: ("paths",),
    "S12": ("10,000 digits", "deeper than any stack"), "S19": ("lone surrogate", "NUL in user"),
}  # fmt: skip


@pytest.mark.parametrize("case", cases(BODIES, SHOWN_BODIES))
async def test_bodies(case, tmp_path, autojump_clock):
    """A body that is not what it should be is refused by name, within moments, and opens nothing."""
    data, status, code = BODIES[case]
    async with world(tmp_path, "sim") as here:
        began = time.perf_counter()
        client = await here.run(here.client(data))
        assert time.perf_counter() - began < 10
        check_refused(client, status, code, sent=data)
        check_no_leak(here, client)
        assert here.wires == []
        await check_ledger(here, admitted=0)


FIELDS = {
    "stream as text": ({"stream": "true"}, "invalid_type", "stream"),
    "stream as number": ({"stream": 1}, "invalid_type", "stream"),
    "model as number": ({"model": 5}, "invalid_type", "model"),
    "messages as object": ({"messages": {}}, "invalid_type", "messages"),
    "message as text": ({"messages": ["hi"]}, "invalid_type", "messages[0]"),
    "content as number": ({"messages": [{"role": "user", "content": 5}]}, "invalid_type", "messages[0].content"),
    "tools as object": ({"tools": {}}, "invalid_type", "tools"),
    "options as list": ({"stream_options": []}, "invalid_type", "stream_options"),
    "include_usage as text": (
        {"stream_options": {"include_usage": "yes"}}, "invalid_type", "stream_options.include_usage",
    ),
    "no messages": ({"messages": None}, "missing_field", "messages"),
    "empty messages": ({"messages": []}, "invalid_value", "messages"),
    "service_tier": ({"service_tier": "priority"}, "unsupported_parameter", "service_tier"),
    "audio": ({"audio": {"voice": "x"}}, "unsupported_parameter", "audio"),
    "web_search_options": ({"web_search_options": {}}, "unsupported_parameter", "web_search_options"),
    "server tool": ({"tools": [{"type": "web_search"}]}, "unsupported_parameter", "tools[0].type"),
    **{
        f"{name} of the client's": ({name: value}, "unsupported_parameter", name)
        for name, value in {
            "base_url": "http://169.254.169.254", "api_base": "http://evil", "api_key": "sk-x",
            "extra_headers": {"host": "evil"}, "provider": {"order": ["x"]}, "proxy": "http://evil",
        }.items()
    },
    **{
        f"max_tokens {value!r}": ({"max_tokens": value}, code, "max_tokens")
        for value, code in [
            (-1, "invalid_value"), (0, "invalid_value"), (1 << 62, "invalid_value"), (1.5, "invalid_type"),
            ("64", "invalid_type"), (True, "invalid_type"),
        ]
    },
    "limits disagree": ({"max_tokens": 5, "max_completion_tokens": 6}, "invalid_value", "max_tokens"),
    "n of two": ({"n": 2}, "unsupported_parameter", "n"),
    "n zero": ({"n": 0}, "unsupported_parameter", "n"),
    "n as bool": ({"n": True}, "invalid_type", "n"),
}  # fmt: skip


SHOWN_FIELDS = {
    10: [name for name in FIELDS if name.endswith((" as text", " as number", " as object", " as list", " as bool"))],
    11: ("service_tier", "audio", "web_search_options", "server tool"),
    45: [name for name in FIELDS if name.endswith(" of the client's")],
    49: [name for name in FIELDS if name.startswith("max_tokens ")],
    50: ("limits disagree",), 51: ("n of two", "n zero", "n as bool"), "S14": ("max_tokens True", "n as bool"),
    "C5": [name for name in FIELDS if name.endswith(" of the client's")],
}  # fmt: skip


@pytest.mark.parametrize("case", cases(FIELDS, SHOWN_FIELDS))
async def test_fields(case, tmp_path, autojump_clock):
    """A field that is wrong or would change price, model or host is refused, and named."""
    fields, code, param = FIELDS[case]
    async with world(tmp_path, "sim") as here:
        client = await here.run(here.client(json.dumps(question("sim") | fields).encode()))
        check_refused(client, 400, code, param=param)
        check_no_leak(here, client)
        assert here.wires == []
        await check_ledger(here, admitted=0)


@pytest.mark.threat(2)
async def test_duplicate_keys(tmp_path, autojump_clock):
    """Of a key that is sent twice, also through escapes, only one value reaches the provider."""
    async with world(tmp_path, "sim") as here:
        data = body()[:-1] + b', "user": "first", "us\\u0065r": "second", "max_tokens": 9, "max_tokens": 5}'
        client = await here.run(here.client(data))
        assert client.status == 200
        assert len(client.text()) == 5 * 4
        assert here.simulator.books.entries[-1].max_tokens == 5


@pytest.mark.threat(10, 11, 46, 48)
async def test_unknown_fields_are_forwarded_untouched(tmp_path, autojump_clock):
    """The same format carries what we do not interpret; 46: addresses in it are never fetched; 48: no schema is run."""
    fields = {
        "x_new": {"deep": [1, 2.5, None, "\u2028"]},
        "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"$ref": "#", "pattern": "(a+)+$"}}}],
    }  # fmt: skip
    async with world(tmp_path, "sim") as here:
        began = time.perf_counter()
        client = await here.run(here.client(json.dumps(question("sim") | fields).encode()))
        assert time.perf_counter() - began < 5
        assert client.status == 200
        assert await check_transcript(here, client) == "completed"
        assert len(here.wires) == 1


@pytest.mark.threat(17)
@pytest.mark.parametrize("kind", ["", "text/plain", "multipart/form-data; boundary=" + "x" * 5000, "application/jsonx"])
async def test_content_types(kind, tmp_path, autojump_clock):
    """What is not application/json is not parsed."""
    async with world(tmp_path, "sim") as here:
        client = await here.run(here.client(b"{", content_type=kind))
        check_refused(client, 415, "unsupported_media_type")


KEYS = {
    "none": {},
    "wrong": {"authorization": "Bearer ainf_k0000000_" + "x" * 43},
    "other scheme": {"authorization": "Basic dXNlcjpwYXNz"},
    "no scheme": {"authorization": "KEY"},
    "empty": {"authorization": "Bearer "},
    "SQL": {"authorization": "Bearer ' OR '1'='1"},
    "LIKE": {"x-api-key": "%"},
    "format string": {"x-api-key": "%s%n{0.__class__}${jndi:ldap://x}"},
    "huge": {"x-api-key": "x" * 100_000},
    "prefix of a real one": {"x-api-key": "PREFIX"},
}


SHOWN_KEYS = {
    34: ("none", "wrong", "other scheme", "no scheme", "empty", "huge", "prefix of a real one"),
    39: ("SQL", "LIKE", "format string"), "C1": ("SQL",),
}  # fmt: skip


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/models", "/v1/audit/inf_x"])
@pytest.mark.parametrize("case", cases(KEYS, SHOWN_KEYS))
async def test_no_key_no_difference(case, path, tmp_path, autojump_clock):
    """Whatever is wrong with a credential, the answer is the same 401, and the key is not repeated."""
    async with world(tmp_path, "sim") as here:
        headers = {n: v.replace("KEY", here.key).replace("PREFIX", here.key[:-1]) for n, v in KEYS[case].items()}
        method = "POST" if "chat" in path else "GET"
        client = await here.run(Client(path, body(), {**headers, "content-type": "application/json"}, method))
        assert client.status == 401
        assert client.headers["www-authenticate"] == "Bearer"
        error = client.json()["error"]
        assert error["code"] == "invalid_api_key"
        del error["request_id"]
        nobody = await here.run(Client(path, body(), {"content-type": "application/json"}, method))
        expected = nobody.json()["error"]
        del expected["request_id"]
        assert error == expected
        check_no_leak(here, client)


@pytest.mark.threat(38, "S4", "C14")
async def test_two_credentials_that_differ(tmp_path, autojump_clock):
    """Two credentials are refused when they differ, and taken when they are one."""
    async with world(tmp_path, "sim") as here:
        client = await here.run(here.client(body(), x_api_key="ainf_other"))
        assert (client.status, client.json()["error"]["code"]) == (401, "ambiguous_credentials")
        client = await here.run(here.client(body(), x_api_key=here.key))
        assert client.status == 200


@pytest.mark.threat(35)
async def test_key_probing(tmp_path, autojump_clock):
    """Failures of an address beyond the limit are told to wait until the next minute; its valid keys never are."""
    async with world(tmp_path, "sim", limits="auth_failures_per_minute = 5") as here:
        await trio.sleep(61 - trio.current_time() % 60)
        statuses = [(await here.get("/v1/models", key=f"ainf_{number}")).status for number in range(8)]
        assert statuses == [401] * 5 + [429] * 3
        assert (await here.get("/v1/models")).status == 200
        limited = await here.get("/v1/models", key="ainf_other")
        assert limited.json()["error"]["code"] == "rate_limited"
        assert 1 <= int(limited.headers["retry-after"]) <= 60
        await trio.sleep(60)
        assert (await here.get("/v1/models", key="ainf_other")).status == 401


@pytest.mark.threat(40, "C14")
@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
async def test_rights(header, tmp_path, autojump_clock):
    """A key without the right to a model or path is refused the same way through every header."""
    async with world(tmp_path, "sim", "sim-tokens-5") as here:
        narrow = await here.new_key("agents", models=("sim-tokens-5",), endpoints=("/v1/chat/completions",))
        sent = {header: f"Bearer {narrow}" if header == "authorization" else narrow, "content-type": "application/json"}
        denied = await here.run(Client("/v1/chat/completions", body(), sent))
        check_refused(denied, 403, "not_permitted", param="model")
        allowed = json.dumps(question("sim-tokens-5")).encode()
        assert (await here.run(Client("/v1/chat/completions", allowed, sent))).status == 200
        check_refused(await here.run(Client("/v1/inference", allowed, sent)), 403, "not_permitted")
        models = await here.run(Client("/v1/models", b"", sent, "GET"))
        listed = models.json()["data"]
        assert [model["id"] for model in listed if model["ainf"]["kind"] == "model"] == ["sim-tokens-5"]
        targets = [model["ainf"]["models"] for model in listed if model["ainf"]["kind"] == "target"]
        assert targets == [["sim-tokens-5"]] * 4


@pytest.mark.threat(60, "C15")
async def test_another_accounts_receipt_is_unknown(tmp_path, autojump_clock):
    """A receipt of another account is answered like one that never was."""
    async with world(tmp_path, "sim") as here:
        client = await here.ask()
        await here.new_account("others")
        other = await here.new_key("others", key_id="k0000002")
        theirs = await here.get(f"/v1/audit/{client.inference_id}", key=other)
        nobodys = await here.get("/v1/audit/inf_0", key=other)
        assert theirs.status == nobodys.status == 404
        assert theirs.json()["error"]["message"] == nobodys.json()["error"]["message"]
        assert (await here.get(f"/v1/audit/{client.inference_id}")).status == 200


@pytest.mark.threat(30)
@pytest.mark.parametrize("path", ["/v1/chat/completions/", "/V1/models", "/v1/models;x", "/", "/admin"])
async def test_odd_paths(path, tmp_path, autojump_clock):
    """There is one spelling of each path."""
    async with world(tmp_path, "sim") as here:
        client = await here.get(path)
        check_refused(client, 404, "not_found")


async def test_wrong_methods(tmp_path, autojump_clock):
    """A path with another method is answered in JSON too."""
    async with world(tmp_path, "sim") as here:
        client = await here.get("/v1/chat/completions")
        check_refused(client, 405, "method_not_allowed")


@pytest.mark.threat(53)
async def test_a_model_that_does_not_stream(tmp_path, autojump_clock):
    """501 by name, never silent JSON."""
    async with world(tmp_path, "sim", more='streaming = "reject"') as here:
        check_refused(await here.ask(), 501, "streaming_not_supported", param="stream")
        assert (await here.ask(stream=False)).status == 200


@pytest.mark.threat(55)
async def test_parallel_requests_against_a_cap(tmp_path, autojump_clock):
    """Of a hundred at once exactly those that fit are admitted."""
    async with world(tmp_path, "sim-tokens-8", more="min_output_tokens = 8") as here:
        first = await here.ask("sim-tokens-8", stream=False, max_tokens=8)
        receipt = await here.receipt(first.inference_id)
        await here.set_cap(10 * receipt["held_nusd"] + receipt["settled_nusd"])
        clients = [here.client(question("sim-tokens-8", stream=False, max_tokens=8)) for _ in range(100)]
        async with trio.open_nursery() as nursery:
            for client in clients:
                nursery.start_soon(here.run, client)
        admitted = [client for client in clients if client.status == 200]
        assert len(admitted) >= 10
        assert {client.status for client in clients} == {200, 402}
        await check_ledger(here, admitted=1 + len(admitted))
