"""What the clients speak: where a request goes, what it holds, and how a good stream ends."""

import json
from collections.abc import Mapping
from typing import Any, Final

import attrs

NUMBER: Final = b"x" * 8
"""What a prompt begins with where requests are not told apart: room for a number."""
_MAX_TOKENS: Final = 4096


@attrs.frozen
class Dialect:
    """One protocol of the gateway's clients."""

    path: str
    fields: Mapping[str, Any]
    """Of a request, beside the model and whether it streams; its prompt is the one empty text."""
    end: bytes
    """What the last event of a good stream begins with, and no other one."""

    def body(self, model: str, *, stream: bool, size: int) -> bytes:
        """Return a request, its prompt padded so that it has ``size`` bytes, if it has no more without one."""
        body = {"model": model, **self.fields, **({"stream": True} if stream else {})}
        empty = json.dumps(body, separators=(",", ":")).encode()
        prompt = NUMBER.ljust(size - len(empty), b"x")
        return empty.replace(b'""', b'"' + prompt + b'"')


_TURNS: Final = [{"role": "user", "content": ""}]
CHAT: Final = Dialect("/v1/chat/completions", {"messages": _TURNS}, b"data: [DONE]\n\n")
MESSAGES: Final = Dialect("/v1/messages", {"max_tokens": _MAX_TOKENS, "messages": _TURNS}, b"event: message_stop\n")
RESPONSES: Final = Dialect("/v1/responses", {"input": ""}, b"event: response.completed\n")
