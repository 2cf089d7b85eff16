"""Inputs that are nearly right: changes of JSON, event streams, HTTP/1.1 and lines that keep most of their structure.

Bytes at random rarely come past the first check. Here a sound input is taken apart, changed in a few places and put
together again. Each change draws from a ``random.Random``, so that hypothesis (which can shrink what it draws) and the
coverage-guided runner (which brings a seed) share one engine.
"""

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from hypothesis import strategies as st

HEAD_BYTES: Final = 8
"""What stands before the body of an input: the target's own choices follow from it."""

Mutator = Callable[[random.Random, bytes], bytes]

_MOST_CHANGES: Final = 4
_LONGEST: Final = 1 << 16

HOSTILE: Final[tuple[Any, ...]] = (
    None, True, False, 0, -1, 1, 7, 1.5, -0.0, 1 << 31, 1 << 53, 1 << 63, 1 << 64, 10**30, "", " ", "x", "\0", "\ud83d",
    "\u2028", "ü😀", "data: [DONE]\n\n", "a\r\nb: c", "0", "7", "true", "x" * 300, [], [[]], [None], [7], ["x"], [{}],
    {}, {"": None}, {"type": "text", "text": "x"}, {"type": 7}, {"a": {"b": []}}, "stop", "end_turn", "STOP", "error",
    "length", "assistant", "user", "tool", "system", "function", "ephemeral", "https://x.test/y",
    "data:image/png;base64,AAAA", "data:,",
)  # fmt: skip
"""Values of every type, as hostile peers put them anywhere."""

CANARY: Final = re.compile(r"zq[0-9]{6}")
"""Texts that a request may hold anywhere, to see where they are."""

_TOKENS: Final = (b"1e400", b"-1e999999", b"NaN", b"-Infinity", b"9" * 30, b"9" * 4400, b"1.0", b"1e2", b"-0",
                  b'"\\ud800"', b'"\\u0000"', b'"\xff"', b"tru", b"'x'", b"", b"01", b"[" * 90 + b"]" * 90)  # fmt: skip
"""What the ``json`` module would not write, in the place of a value."""
_NAMES: Final = ("x_new", "index", "type", "id", "name", "content", "data", "error", "usage", "cache_control", "text",
                 "status", "phase", "title", "input", "detail", "strict", "description")  # fmt: skip
"""What a member may be called that a document did not have."""
_TOKEN_MARK: Final = "\ue000token"


# --- bytes ---


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """Change a few bytes, or parts of the data, at random."""
    for _ in range(rng.randint(1, _MOST_CHANGES)):
        a, b = sorted((rng.randint(0, len(data)), rng.randint(0, len(data))))
        match rng.randrange(7):
            case 0:
                data = data[:a] + bytes([rng.randrange(256)]) + data[a + 1 :]
            case 1:
                data = data[:a] + bytes([rng.randrange(256)]) + data[a:]
            case 2:
                data = data[:a] + data[min(b, a + 40) :]
            case 3:
                data = data[:b] + data[a:b][:4096] + data[b:]
            case 4:
                data = data[:b] if b else data
            case 5:
                data = data[:a] + data[b:] + data[a:b]
            case _:
                data = data[:a] + rng.choice((b"\r", b"\n", b"\r\n", b"\0", b"\xff", b"\xef\xbb\xbf", b'"')) + data[a:]
    return data[:_LONGEST]


# --- JSON ---


def mutate_json(rng: random.Random, data: bytes) -> bytes:
    """Change values, names and the shape of a JSON document; of what is none, bytes."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return mutate_bytes(rng, data)
    for _ in range(rng.randint(1, _MOST_CHANGES)):
        document = _change(rng, document)
    return _written(rng, document)


def _change(rng: random.Random, document: Any) -> Any:
    holder, step = _place_in(rng, document)
    if holder is None:
        return _hostile(rng, document) if rng.random() < 0.1 else document
    match rng.randrange(8):
        case 0 | 1:
            holder[step] = _hostile(rng, holder[step])
        case 2:
            del holder[step]
        case 3 if isinstance(holder, dict):
            holder[rng.choice((f"{step}s", "type", "x_new", "", "error", "usage"))] = holder.pop(step)
        case 4 if isinstance(holder, list):
            holder.insert(step, holder[step])
        case 5 if isinstance(holder, list):
            rng.shuffle(holder)
        case 6:
            _, other = _value_in(rng, document)
            holder[step] = _copied(other)
        case 7 if isinstance(holder, dict):
            holder[rng.choice(_NAMES)] = _hostile(rng, None)
        case _:
            holder[step] = [holder[step]]
    return document


def _place_in(rng: random.Random, document: Any) -> tuple[Any, Any]:
    """Return a container somewhere in a document and a step into it; none where it has no value inside."""
    holder, step, at = None, None, document
    while isinstance(at, dict | list) and at and (holder is None or rng.random() < 0.8):
        holder, step = at, rng.choice(list(at)) if isinstance(at, dict) else rng.randrange(len(at))
        at = at[step]
    return holder, step


def _value_in(rng: random.Random, document: Any) -> tuple[Any, Any]:
    holder, step = _place_in(rng, document)
    return step, document if holder is None else holder[step]


def _copied(value: Any) -> Any:
    """Return a copy: a document that holds itself would have no end."""
    return json.loads(json.dumps(value))


def _hostile(rng: random.Random, value: Any) -> Any:
    match rng.randrange(9):
        case 8:
            return f"zq{rng.randrange(1_000_000):06}"
        case 0:
            return f"{_TOKEN_MARK}{rng.randrange(len(_TOKENS))}"
        case 1 if isinstance(value, str):
            return value + rng.choice(("", "x", "\0", "\ud83d", "ü", "x" * 99))
        case 2 if isinstance(value, int):
            return rng.choice((-value, value + 1, value * 10, str(value), float(value) if abs(value) < 1 << 60 else 0))
        case 3:
            return _nested(rng.choice((2, 50, 99, 101)))
        case _:
            return _copied(rng.choice(HOSTILE))


def _nested(depth: int) -> Any:
    value: Any = 1
    for level in range(depth):
        value = [value] if level % 2 else {"a": value}
    return value


def _written(rng: random.Random, document: Any) -> bytes:
    separators = rng.choice(((",", ":"), (", ", ": ")))
    text = json.dumps(document, ensure_ascii=rng.random() < 0.5, separators=separators)
    data = text.encode("utf-8", "surrogatepass")
    for number in range(len(_TOKENS)):
        for mark in (json.dumps(f"{_TOKEN_MARK}{number}"), f'"{_TOKEN_MARK}{number}"'):
            data = data.replace(mark.encode(), _TOKENS[number])
    return data[:_LONGEST] if rng.random() < 0.95 else data[: rng.randrange(len(data) + 1)]


# --- event streams ---

_NOISE: Final = (
    b": keep-alive\n\n", b":\n\n", b"\n", b"\r\n", b"data: [DONE]\n\n", b"data: {\n\n", b"data: 17\n\n", b"data:\n\n",
    b"data: []\n\n", b"data: null\n\n", b"id: 7\nretry: 10\n\n", b"event: error\ndata: {}\n\n", b"event: ping\n\n",
    b"event: x\ndata: {\"type\": \"ping\"}\n\n", b"data\n\n", b"\xef\xbb\xbf", b"data: \xff\n\n", b"x: y\n",
    b'data: {"error": {"message": "no", "type": "server_error", "code": 529}}\n\n', b'data: {"error": "no"}\n\n',
    b'data: {"choices": []}\n\n', b'data: {"candidates": []}\n\n',
)  # fmt: skip
_EVENT_END: Final = re.compile(rb"(?<=\n\n)|(?<=\r\n\r\n)")


def mutate_stream(rng: random.Random, data: bytes) -> bytes:
    """Change, drop, repeat and reorder the events of a stream, their payloads, their line ends and what is between."""
    events = [event for event in _EVENT_END.split(data) if event]
    for _ in range(rng.randint(1, _MOST_CHANGES)):
        if not events:
            break
        at = rng.randrange(len(events))
        match rng.randrange(9):
            case 0 | 1 | 2:
                events[at] = _changed_payload(rng, events[at])
            case 3:
                del events[at]
            case 4:
                events.insert(rng.randint(0, len(events)), events[at])
            case 5:
                other = rng.randrange(len(events))
                events[at], events[other] = events[other], events[at]
            case 6:
                events.insert(at, rng.choice(_NOISE))
            case 7:
                events[at] = events[at].replace(b"\n", rng.choice((b"\r\n", b"\r", b"\ndata: ", b"\n\n")))
            case _:
                events[at] = mutate_bytes(rng, events[at])
    stream = b"".join(events)
    if rng.random() < 0.2:
        stream = stream.replace(b"\n", rng.choice((b"\r\n", b"\r")))
    return (stream if rng.random() < 0.7 else stream[: rng.randint(0, len(stream))])[:_LONGEST]


def _changed_payload(rng: random.Random, event: bytes) -> bytes:
    before, mark, rest = event.partition(b"data: ")
    payload, end, behind = rest.partition(b"\n")
    return before + mark + mutate_json(rng, payload) + end + behind


# --- HTTP/1.1 ---

_HEADERS: Final = (
    b"Content-Length: 0", b"Content-Length: 5", b"Content-Length: +5", b"Content-Length: 5, 5", b"Content-Length: -1",
    b"Content-Length: 0x5", b"Content-Length : 5", b"Content-Length:", b"Content-Length: 99999999999999999999",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: xchunked", b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: identity", b"Transfer-Encoding : chunked", b"Transfer-Encoding:\x0bchunked",
    b"Transfer-Encoding: gzip, chunked", b"Host: a", b"Host: b", b"Host: a/b", b"Host:", b"Connection: close",
    b"Connection: keep-alive", b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"Upgrade: websocket",
    b"HTTP2-Settings: AAMAAABk", b"Expect: 100-continue", b"Expect: x", b"X: \0", b"X: a\rb", b" folded", b": empty",
    b"no colon", b"X\xff: y", b"Content-Encoding: gzip", b"Authorization: Bearer x", b"Trailer: Content-Length",
    b"Retry-After: 10", b"Content-Type: text/event-stream", b"Content-Type: application/json; charset=\"",
    b"X: " + b"y" * 9000,
)  # fmt: skip
_LINES: Final = (
    b"GET / HTTP/1.1", b"POST /x HTTP/1.1", b"GET /x HTTP/1.0", b"GET /x HTTP/2.0", b"PRI * HTTP/2.0", b"GET /x",
    b"GET  /x HTTP/1.1", b"get /x HTTP/1.1", b"GET http://a/x HTTP/1.1", b"CONNECT a:1 HTTP/1.1", b"OPTIONS * HTTP/1.1",
    b"GET /%2e%2e/x HTTP/1.1", b"HTTP/1.1 200 OK", b"HTTP/1.1 100 Continue", b"HTTP/1.1 204 No", b"HTTP/1.0 200 OK",
    b"HTTP/1.1 101 Switching", b"HTTP/1.1 999 x", b"HTTP/1.1 200", b"HTTP/0.9 200 OK", b"0", b"5", b"-1",
    b"ffffffffffffffffff", b"5;x=y", b"5 ", b"0x5", b"zz", b"", b"",
)  # fmt: skip


def mutate_http(rng: random.Random, data: bytes) -> bytes:
    """Change the lines of HTTP messages: their heads, headers, chunk sizes and ends."""
    lines = data.split(b"\r\n")
    for _ in range(rng.randint(1, _MOST_CHANGES)):
        at = rng.randrange(len(lines))
        match rng.randrange(9):
            case 0 | 1 | 2:
                lines.insert(at, rng.choice(_HEADERS))
            case 3:
                lines[at] = rng.choice(_LINES)
            case 4 if len(lines) > 1:
                del lines[at]
            case 5:
                lines.insert(at, lines[rng.randrange(len(lines))])
            case 6:
                lines[at] = mutate_bytes(rng, lines[at])
            case 7:
                lines[at] += rng.choice((b"\n", b"\r", b"\0", b" ", b"\t", b"\n\n", b"\r\n\r\n"))
            case _:
                lines[at] = lines[at].swapcase()
    return b"\r\n".join(lines)[:_LONGEST]


# --- lines of settings ---

_VALUES: Final = (
    b"true", b"0", b"-1", b"1.5", b"1e400", b"nan", b"inf", b'""', b'"x"', b'"\\u0000"', b"[]", b"{}", b"[[1]]",
    b'{a = 1}', b"9" * 30, b"9" * 5000, b"1979-05-27", b"'''", b'"0.1"', b'"-5"', b'"1e9"', b'"\xff"', b"[" * 300,
    b'"http://[::1"', b'"https://a:b@c/d?e#f"', b'"a:b"', b'"sqlite:"', b'["*"]', b"{" * 300,
)  # fmt: skip


def mutate_lines(rng: random.Random, data: bytes) -> bytes:
    """Change the lines of a file of settings, or of a list of headers: their names, their values, their order."""
    lines = data.split(b"\n")
    for _ in range(rng.randint(1, _MOST_CHANGES)):
        at = rng.randrange(len(lines))
        match rng.randrange(7):
            case 0 | 1 | 2:
                mark = b": " if b": " in lines[at] else b" = "
                lines[at] = lines[at].partition(mark)[0] + mark + rng.choice(_VALUES)
            case 3 if len(lines) > 1:
                del lines[at]
            case 4:
                lines.insert(rng.randint(0, len(lines)), lines[at])
            case 5:
                lines[at] = mutate_bytes(rng, lines[at])
            case _:
                other = rng.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
    return b"\n".join(lines)[:_LONGEST]


# --- documents inside something else ---


def mutate_answer(rng: random.Random, data: bytes) -> bytes:
    """Change a provider's answer: as a stream, or as a whole one where it is that."""
    is_whole = data.lstrip().startswith((b"{", b"["))
    return mutate_json(rng, data) if is_whole and rng.random() < 0.8 else mutate_stream(rng, data)


def mutate_refusal(rng: random.Random, data: bytes) -> bytes:
    """Change the headers of an answer, or its body."""
    head, end, body = data.partition(b"\r\n\r\n")
    return mutate_lines(rng, head) + end + body if rng.random() < 0.3 else head + end + mutate_json(rng, body)


def mutate_spool(rng: random.Random, data: bytes) -> bytes:
    """Change the records of a spool, and its bytes."""
    lines = data.split(b"\n")
    at = rng.randrange(len(lines))
    checksum, space, body = lines[at].partition(b" ")
    lines[at] = checksum + space + mutate_json(rng, body)
    return b"\n".join(lines) if rng.random() < 0.7 else mutate_bytes(rng, b"\n".join(lines))


# --- whole inputs ---


def mutate_input(rng: random.Random, data: bytes, mutator: Mutator) -> bytes:
    """Change an input: the choices at its head, and its body by its own kind of change, or by none."""
    head, body = data[:HEAD_BYTES].ljust(HEAD_BYTES, b"\0"), data[HEAD_BYTES:]
    if rng.random() < 0.9:
        head = rng.randbytes(HEAD_BYTES)
    match rng.randrange(10):
        case 0:
            pass
        case 1:
            body = mutate_bytes(rng, body)
        case _:
            body = mutator(rng, body)
    return head + body


def inputs(seeds: Sequence[bytes], mutator: Mutator) -> st.SearchStrategy[bytes]:
    """Return inputs for a target: seeds, changed; and now and then bytes of any kind."""
    changed = st.builds(
        lambda rng, seed: mutate_input(rng, bytes(HEAD_BYTES) + seed, mutator),
        st.randoms(use_true_random=False),
        st.sampled_from(seeds),
    )
    return st.one_of(changed, changed, changed, st.binary(max_size=200))
