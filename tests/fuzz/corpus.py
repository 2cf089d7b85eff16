"""What inputs begin with: recorded answers, and what the tests of hostile peers send, by target."""

import json
import random
from collections.abc import Iterator
from itertools import count, pairwise
from typing import Any, Final

from ainf.formats.registry import FORMATS
from ainf.store.spooled import line_of
from tests.event_streams import ANSWERS
from tests.fuzz.asked import HEADERS
from tests.gateway.dialects import dialect_of
from tests.gateway.features import FEATURES
from tests.gateway.hostile_rows import BEGIN, TOLD, first_rows, lying, rows_of
from tests.gateway.odd_streams import SPOKEN, odd_stream
from tests.store.records import COST
from tests.store.waiting import ANSWER, waiting

_LONGEST: Final = 8_000
"""Longer ones are left out: what is special about them is their length."""

_STREAMS: Final = 40
"""Odd streams of a format."""


def answers(format_name: str) -> list[bytes]:
    """Return answers of a format, streamed and whole, sound and hostile."""
    recorded = [data for (name, _), data in ANSWERS.items() if name == format_name]
    return _fitting(recorded + _hostile(format_name) + _lying(format_name) + _odd(format_name))


def _fitting(seeds: list[bytes]) -> list[bytes]:
    return [seed for seed in seeds if len(seed) <= _LONGEST]


def _hostile(format_name: str) -> list[bytes]:
    if format_name not in BEGIN:
        return []
    behind = [BEGIN[format_name] + row.frames for row in rows_of(format_name).values()]
    return behind + [row.frames for row in first_rows(format_name).values()]


def _lying(format_name: str) -> list[bytes]:
    counts = TOLD.get(format_name, ())
    return [lying(format_name, count, lie) for count in counts for lie in (-7, 10**7, 7.5, True, [7])]


def _odd(format_name: str) -> list[bytes]:
    if format_name not in SPOKEN:
        return []
    streams = [odd_stream(random.Random(number), format_name) for number in range(_STREAMS)]
    return [stream.body + stream.end for stream in streams]


# --- requests ---


def requests(path: str) -> list[bytes]:
    """Return requests of a path, each with features of its protocol; every text of them holds a canary."""
    documents = _OF_PATH[path]() if path in _OF_PATH else _generations(path)
    canaries = count()
    return [json.dumps(_marked(document, canaries)).encode() for document in documents]


def _generations(path: str) -> list[dict[str, Any]]:
    dialect = dialect_of(path)
    asked = [feature.fields.get(dialect.format, {}) for feature in FEATURES]
    singly = [dialect.question("sim", stream=number % 2 == 0, **fields) for number, fields in enumerate(asked)]
    together: dict[str, Any] = {}
    for fields in asked:
        together = together | fields
    pairs = [dialect.question("sim", **(one | other)) for one, other in pairwise(asked) if one or other]
    return [*singly, *pairs, dialect.question("sim", **together), singly[0] | _MORE[dialect.format]]


def _counts() -> list[dict[str, Any]]:
    documents = _generations("/v1/messages")
    return [{name: value for name, value in each.items() if name not in ("stream", "max_tokens")} for each in documents]


def _embeddings() -> list[dict[str, Any]]:
    usual: dict[str, Any] = {"model": "sim", "input": "x"}
    return [
        usual,
        usual | {"input": ["x", "y"], "encoding_format": "base64", "user": "u", "dimensions": 3},
        usual | {"input": [1, 2, 3]},
        usual | {"input": [[1, 2], [3]], "encoding_format": "float"},
    ]


_MORE: Final[dict[str, dict[str, Any]]] = {
    "chat": {
        "messages": [
            {"role": "system", "content": "s", "name": "n"},
            {"role": "developer", "content": [{"type": "text", "text": "d"}]},
            {"role": "user", "name": "u", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": None, "refusal": "r"},
            {"role": "assistant", "content": "c", "reasoning_content": "thought"},
            {"role": "assistant", "content": "", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": "b"}'}}]},
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "result"}]},
            {"role": "function", "name": "f", "content": "result"},
        ],
        "tools": [
            {"type": "function", "function": {"name": "f", "description": "d", "parameters": {}, "strict": True}}],
        "functions": [{"name": "g", "description": "e", "parameters": {}}], "metadata": {"a": "b"}, "store": False,
        "logit_bias": {"50256": -100}, "prompt_cache_key": "k", "safety_identifier": "i", "verbosity": "low",
        "service_tier": "auto", "stop": "halt", "routing_hint": {"max_cost": "0.5", "task_type": "code"},
    },
    "messages": {
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "a", "citations": None}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "t", "signature": "sig"},
                {"type": "redacted_thinking", "data": "red"}, {"type": "text", "text": "c"},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": "b"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "is_error": True,
                 "content": [{"type": "text", "text": "r"}]},
                {"type": "document", "title": "doc", "context": "ctx",
                 "source": {"type": "text", "media_type": "text/plain", "data": "plain"}}]},
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": {"type": "object"}}],
        "metadata": {"user_id": "u"}, "stop_sequences": ["halt"], "container": None,
    },
    "responses": {
        "input": [
            {"role": "developer", "content": "d"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}],
             "encrypted_content": "enc"},
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [
                {"type": "output_text", "text": "c", "annotations": []}, {"type": "refusal", "refusal": "r"}]},
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "result"}]},
        ],
        "instructions": "i", "metadata": {"a": "b"}, "store": True, "include": ["reasoning.encrypted_content"],
        "tools": [{"type": "function", "name": "f", "description": "d", "parameters": {}, "strict": False}],
        "truncation": "disabled", "user": "u", "prompt_cache_key": "k", "text": {"verbosity": "low"},
        "reasoning": {"effort": "low", "summary": "auto"}, "max_tool_calls": 3,
    },
}  # fmt: skip
"""Requests with more of what each format can hold."""

_KINDS: Final = {"type", "role", "model", "effort", "summary", "media_type", "url", "data", "image_url", "file_data",
                 "encoding_format", "ttl", "service_tier", "detail", "status", "verbosity", "truncation", "max_cost",
                 "arguments", "tool_choice", "reasoning_effort", "include", "task_type", "signature",
                 "encrypted_content"}  # fmt: skip
"""Members whose words have a meaning; in all others any text will do."""


def _marked(value: Any, canaries: Iterator[int], name: str = "") -> Any:
    """Return a document with a canary behind each of its texts."""
    if isinstance(value, dict):
        return {each: child if each in _KINDS else _marked(child, canaries, each) for each, child in value.items()}
    if isinstance(value, list):
        return [_marked(child, canaries, name) for child in value]
    return f"{value} zq{next(canaries):06}" if isinstance(value, str) and name not in _NAMED else value


_NAMED: Final = {"name", "id", "call_id", "tool_call_id", "tool_use_id"}
"""Members by which one part of a request finds another."""
_OF_PATH: Final = {"/v1/messages/count_tokens": _counts, "/v1/embeddings": _embeddings}


# --- everything else ---


def streams() -> list[bytes]:
    """Return event streams of all formats, and some that are none of any."""
    return [seed for name in FORMATS for seed in answers(name)[:12]] + [b"data: a\n\n", b": c\n\ndata: a\rdata: b\r\r"]


def embeddings() -> list[bytes]:
    """Return whole answers with vectors, of both formats."""
    vectors = [[0.5, -1, 1e-3], [2.0, 0, 7]]
    usage = {"prompt_tokens": 4, "total_tokens": 4}
    data = [{"object": "embedding", "index": at, "embedding": vector} for at, vector in enumerate(vectors)]
    documents = [{"object": "list", "data": data[:count], "model": "m", "usage": usage} for count in (1, 2)]
    gemini = [{"embeddings": [{"values": vector} for vector in vectors[:count]]} for count in (1, 2)]
    more = {"usageMetadata": {"promptTokenCount": 4}}
    return [json.dumps(each).encode() for each in (*documents, *gemini, gemini[0] | more, _ERROR)]


def counts() -> list[bytes]:
    """Return answers to who has tokens counted."""
    return [b'{"input_tokens": 14}', b'{"input_tokens": 14, "x": [1]}', json.dumps(_ERROR).encode()]


_ERROR: Final = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}


def refusals() -> list[bytes]:
    """Return headers and bodies of refusals, in all the shapes that vendors give them."""
    message = "This model's maximum context length is 8192 tokens; see https://x.test and sk-abcdef1234. zq000001"
    bodies: list[Any] = [
        {"error": {"message": message, "type": "invalid_request_error", "param": "messages[0].content", "code": "x"}},
        {"error": message}, _ERROR, {"object": "error", "message": message, "type": "BadRequestError", "code": 400},
        {"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "field required", "type": "missing"}]},
        {"message": {"detail": [{"loc": ["body", "x"], "msg": "no"}]}}, [{"error": {"code": 429, "message": "q"}}],
        {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "q", "details": [
            {"reason": "RATE_LIMIT_EXCEEDED"}, {"retryDelay": "34.07s"}]}},
        {"error": {"message": "m", "metadata": {"flagged_input": "x"}, "code": 403}}, "text", 7, None,
    ]  # fmt: skip
    heads = (b"retry-after: 7", b"retry-after-ms: 1500\r\nretry-after: x", b"retry-after: 1000000000000")
    return [head + b"\r\n\r\n" + json.dumps(body).encode() for head in heads for body in bodies]


def headers() -> list[bytes]:
    """Return the headers of requests that mean something to the gateway."""
    lines = [f"{name}: {value}".encode() for name, value in HEADERS.items()]
    return [b"\n".join(lines), *lines]


def connections() -> list[bytes]:
    """Return requests on a connection: one and several, with and without bodies, sound and hostile."""
    get = b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n"
    post = b'POST /b?x=1 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{"a":1}'
    chunked = (
        b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;x=y\r\n{ }\r\n0\r\n\r\n"
    )
    expects = post.replace(b"Content-Type", b"Expect: 100-continue\r\nContent-Type")
    trailed = chunked[:-2] + b"Authorization: x\r\n\r\n"
    smuggled = chunked.replace(b"Transfer", b"Content-Length: 4\r\nTransfer") + get
    closing = get.replace(b"Host: a", b"Host: a\r\nConnection: close")
    one = [get, post, chunked, expects, trailed, smuggled, closing, get.replace(b"GET", b"HEAD")]
    return [
        *one,
        get + post + chunked,
        post + get,
        chunked + trailed + get,
        closing + get,
        b"\r\n" + get,
        *_OTHERS,
        *_smuggling(get),
    ]


def _smuggling(hidden: bytes) -> list[bytes]:
    """Return requests that two parsers in a row may end in different places; what would be hidden stands behind."""
    post, cl, te = b"POST /c HTTP/1.1\r\nHost: a\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"
    chunks = b"0\r\n\r\n"
    framings = (
        cl + te, te + cl, cl + cl, cl + b"Content-Length: 6\r\n", b"Content-Length: 5, 5\r\n",
        b"Content-Length: +5\r\n", b"Content-Length : 5\r\n", b"Content-Length: 5\n", b"x: y\n" + te, b" " + te,
        b"x: y\r\n " + te, b"Transfer-Encoding: xchunked\r\n", b"Transfer-Encoding: chunked, identity\r\n", te + te,
        b"Transfer-Encoding:\x0bchunked\r\n", b"Transfer-Encoding : chunked\r\n", b"Content-Length: 5\r",
    )  # fmt: skip
    bodies = (b"0\n\r\n", b"0\r\n\n", b"5;\nabc\r\n", b"5\r\nabcdefg\r\n", b"-1\r\n", b"0x1\r\na\r\n" + chunks)
    return [post + framing + b"\r\n" + chunks + hidden for framing in framings] + [
        post + te + b"\r\n" + body + hidden for body in bodies
    ]


_OTHERS: Final = (
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\x81\x05hello",
    b"GET /a HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\nPRI * HTTP/2.0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    bytes(range(256)),
)
"""What is no HTTP/1.1, or would like to be something else."""


def http_answers() -> list[bytes]:
    """Return what providers answer, as it is on the wire."""
    ok = b"HTTP/1.1 200 OK\r\n"
    return [
        ok + b"content-type: application/json\r\ncontent-length: 2\r\n\r\nok",
        ok + b"transfer-encoding: chunked\r\n\r\n5\r\ndata:\r\n4;x=y\r\n a\n\n\r\n0\r\nx: y\r\n\r\n",
        ok + b"content-type: text/event-stream\r\n\r\ndata: a\n\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + ok + b"content-length: 0\r\n\r\n",
        ok + b"content-length: 5\r\n\r\nok",
        ok + b"transfer-encoding: chunked\r\n\r\n5\r\ndata:\r\n",
        b"HTTP/1.1 429 Too Many\r\nretry-after: 7\r\ncontent-length: 3\r\n\r\n{ }",
        b"HTTP/1.0 503 No\r\n\r\nno", b"HTTP/1.1 204 No\r\n\r\n",
        b"HTTP/1.1 307 T\r\nlocation: x\r\ncontent-length: 0\r\n\r\n",
        ok + b"content-encoding: gzip\r\ncontent-length: 2\r\n\r\nok",
        ok + b"content-length: 2\r\ncontent-length: 2\r\n\r\nok" + ok,
    ]  # fmt: skip


USUAL: Final = """
[server]
bind = ["127.0.0.1:8080"]
public_url = "http://127.0.0.1:8080"
drain_s = 20
[store]
url = "sqlite:ainf.db"
[limits]
first_byte_s = 300
write_s = 20
[providers.openai]
format = "openai-compatible"
base_url = "https://api.openai.com/v1"
api_key_env = "OPENAI_API_KEY"
[models.gpt]
provider = "openai"
max_output_tokens = 16384
price = { input = "0.15", cached_input = "0.075", output = "0.60" }
"""
EVERYTHING: Final = (
    USUAL
    + """
min_output_tokens = 1
hidden_reasoning = "always"
bytes_per_token = 3.25
streaming = "reject"
tools = false
quality = 0.725
context_tokens = 128_000
attachments = ["image", "file"]
drop_params = ["user"]
[models.priced]
provider = "openai"
upstream_model = "org/llama 3"
max_output_tokens = 100
[[models.priced.price]]
input = "1"
output = "2"
tiers = [{ above = 272_000, input = "5", output = "22.5" }]
[[models.priced.price]]
from = 2026-01-01
input = "2"
output = "3"
[routing]
hedging = true
[[routing.targets]]
name = "smart"
models = ["gpt", "priced"]
"""
)


def configurations() -> list[bytes]:
    """Return configurations: a usual one, and one with everything in it."""
    return [USUAL.encode(), EVERYTHING.encode()]


def spools() -> list[bytes]:
    """Return the bytes of spools."""
    lines = [line_of(waiting(number)) for number in (1, 2)]
    rich = line_of(waiting(3, answer=ANSWER, notes={"window": "day"}, charges=(COST,), served=1))
    decayed = lines[0].replace(b'"held_nusd":50', b'"held_nusd":51')
    return [lines[0], b"".join(lines) + rich, rich, decayed + lines[1]]
