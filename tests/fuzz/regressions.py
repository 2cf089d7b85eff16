"""Bodies that broke a promise once, in some of the ways that a target may take them."""

from typing import Final

import attrs


@attrs.frozen
class Regression:
    """What was found once."""

    target: str
    what: str
    body: bytes


def _event(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


_NAMELESS: Final = b'{"choices":[{"delta":{"content":"a"}}]}'

REGRESSIONS: Final = (
    Regression(
        "answer-responses",
        "a negative place of an item was an index of the output",
        _event(
            b'{"type":"response.output_item.done","output_index":-1,'
            b'"item":{"type":"message","content":[{"type":"output_text","text":"a"}]}}'
        )
        + _event(b'{"type":"response.completed","response":{"status":"completed","output":[]}}'),
    ),
    Regression(
        "answer-chat",
        "a name that a later chunk of a read told was lost where the stream was collected",
        _event(b'{"id":"c","choices":[{"delta":{"content":"a"}}]}')
        + _event(b'{"model":"m","choices":[{"delta":{"content":"b"},"finish_reason":"stop"}]}'),
    ),
    Regression(
        "answer-chat",
        "whether a name behind the end was learnt depended on the cut",
        _event(_NAMELESS)
        + _event(b'{"choices":[{"delta":{},"finish_reason":"stop"}]}')
        + _event(b'{"id":"c","model":"m","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}'),
    ),
    Regression(
        "answer-chat",
        "whether a number out of range in a field that nobody reads makes an event opaque depended on the next one",
        _event(b'{"id":1e400,"choices":[{"delta":{"content":"a"}}]}')
        + _event(b'{"choices":')
        + _event(b'{"choices":[{"delta":{},"finish_reason":"stop"}]}'),
    ),
    Regression(
        "answer-gemini",
        "only the first chunk of a read was asked for its name",
        _event(b'{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"modelVersion":"m"}')
        + _event(b'{"candidates":[{"content":{"parts":[{"text":"a"}]}}],"responseId":"r"}')
        + _event(b'{"error":{"code":500}}'),
    ),
    Regression(
        "answer-messages",
        "a word for an end held a line break",
        b'{"id":"m","type":"message","content":[{"type":"text","text":"a"}],"stop_reason":"a\\nb"}',
    ),
    Regression(
        "request-chat-completions",
        "what else a choice of a tool says was lost in translation",
        b'{"model":"sim","messages":[{"role":"user","content":"a"}],"tools":[{"type":"function","function":{"name":"f"'
        b'}}],"tool_choice":{"type":"function","function":{"name":"f"},"x":"zq000001"}}',
    ),
    Regression(
        "request-chat-completions",
        "what else stream_options say was lost in translation",
        b'{"model":"sim","messages":[{"role":"user","content":"a"}],"stream":true,"stream_options":{"x":"zq000001"}}',
    ),
    Regression(
        "request-responses",
        "what else a choice of a tool says was lost in translation",
        b'{"model":"sim","input":"a","tools":[{"type":"function","name":"f"}],'
        b'"tool_choice":{"type":"function","name":"f","x":"zq000001"}}',
    ),
    Regression("headers", "a label held a control character", b"x-ainf-labels: run=\x1b[31m"),
    Regression(
        "edge", "what came behind a request was refused twice", b"GET /a HTTP/1.1\r\nHost: a\r\n\r\n application"
    ),
    Regression(
        "edge",
        "a bare LF ended trailers, and what stood behind it was a request",
        b"POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nx: y\n\n"
        b"GET /s HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    Regression("edge", "the refusal of a HEAD had a body", b"HEAD /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n"),
    Regression("provider", "a status without a reason was none", b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok"),
)
