"""What the three protocols have in common for a test: how to ask, and what an answer said, whichever it is.

Read from the wire's own documents, with nothing of the gateway's own code.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any, Final

import attrs

PROMPT: Final = "Count to ten."


@attrs.define
class Said:
    """An answer, streamed or whole, in words of no protocol."""

    text: str = ""
    reasoning: str = ""
    refusal: str = ""
    calls: list[tuple[str, str]] = attrs.field(factory=list)
    """Tools' names with their arguments, in order."""
    reason: str | None = None
    """The finish reason as the protocol says it."""
    error: dict[str, Any] | None = None
    terminals: int = 0
    """Terminal frames; a whole answer is one."""
    ends_with_terminal: bool = True
    input_tokens: int | None = None
    cached_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None


@attrs.frozen
class Dialect:
    """One protocol."""

    name: str
    """As the gateway's records have it."""
    format: str
    path: str
    ask: Callable[..., dict[str, Any]]
    """(model, stream, prompt, limit) -> a request."""
    read_stream: Callable[[list[bytes]], Said]
    """Payloads of events -> what was said."""
    read_whole: Callable[[dict[str, Any]], Said]
    cap_reason: str
    """How a reached cap is told in the extended mode."""
    strict_reason: str
    """... and in the strict one."""
    tool: dict[str, Any]
    """A tool to offer."""

    def question(self, model: str, *, stream: bool = True, limit: int | None = None, **fields: Any) -> dict[str, Any]:
        return self.ask(model, stream, PROMPT, limit) | fields


def _objects(payloads: Iterable[bytes]) -> list[dict[str, Any]]:
    found = []
    for payload in payloads:
        try:
            document = json.loads(payload)
        except ValueError:
            continue
        if isinstance(document, dict):
            found.append(document)
    return found


# --- chat completions ---


def _chat_ask(model: str, stream: bool, prompt: str, limit: int | None) -> dict[str, Any]:
    asked: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": prompt}], "stream": stream}
    if stream:
        asked["stream_options"] = {"include_usage": True}
    return asked | ({"max_completion_tokens": limit} if limit else {})


def _chat_usage(said: Said, usage: Any) -> None:
    if isinstance(usage, dict):
        said.input_tokens, said.output_tokens = usage.get("prompt_tokens"), usage.get("completion_tokens")
        said.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        said.reasoning_tokens = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")


def _chat_message(said: Said, message: Any, calls: dict[int, list[str]]) -> None:
    """Read what can be read: a relay hands on whatever the provider said."""
    if not isinstance(message, dict):
        return
    for field, name in (("content", "text"), ("reasoning_content", "reasoning"), ("refusal", "refusal")):
        if isinstance(piece := message.get(field), str):
            setattr(said, name, getattr(said, name) + piece)
    for number, call in enumerate(message.get("tool_calls") or ()):
        match call:
            case {"function": {**function}}:
                kept = calls.setdefault(call.get("index", number), ["", ""])
                kept[0] += function.get("name") or ""
                kept[1] += function.get("arguments") or ""


def _chat_stream(payloads: list[bytes]) -> Said:
    said, calls = Said(), dict[int, list[str]]()
    for chunk in _objects(payloads):
        _chat_usage(said, chunk.get("usage"))
        if chunk.get("error"):
            assert said.error is None
            said.error = chunk["error"]
        for choice in chunk["choices"] if isinstance(chunk.get("choices"), list) else ():
            if not isinstance(choice, dict):
                continue
            _chat_message(said, choice.get("delta"), calls)
            if isinstance(choice.get("finish_reason"), str):
                assert said.reason is None, "two finish reasons"
                said.reason = choice["finish_reason"]
    said.calls = [(name, arguments) for name, arguments in calls.values()]
    said.terminals = payloads.count(b"[DONE]")
    said.ends_with_terminal = bool(payloads) and payloads[-1] == b"[DONE]"
    return said


def _chat_whole(answer: dict[str, Any]) -> Said:
    said, calls = Said(terminals=1), dict[int, list[str]]()
    (choice,) = answer["choices"]
    _chat_message(said, choice["message"], calls)
    said.calls = [(name, arguments) for name, arguments in calls.values()]
    said.reason, said.error = choice["finish_reason"], answer.get("error")
    _chat_usage(said, answer.get("usage"))
    return said


# --- messages ---


def _messages_ask(model: str, stream: bool, prompt: str, limit: int | None) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {"model": model, "max_tokens": limit or 4096, "messages": messages, "stream": stream}


def _messages_usage(said: Said, usage: dict[str, Any]) -> None:
    cached, written = usage.get("cache_read_input_tokens") or 0, usage.get("cache_creation_input_tokens") or 0
    if isinstance(usage.get("input_tokens"), int):  # a relay hands on whatever the provider said
        said.input_tokens, said.cached_tokens = usage["input_tokens"] + cached + written, cached
    if usage.get("output_tokens") is not None:
        said.output_tokens = usage["output_tokens"]
    details = usage.get("output_tokens_details") or {}
    said.reasoning_tokens = details.get("thinking_tokens", said.reasoning_tokens)


def _messages_stream(payloads: list[bytes]) -> Said:
    said, blocks, order = Said(), dict[int, dict[str, Any]](), list[int]()
    kinds = [event.get("type") for event in _objects(payloads)]
    for event in _objects(payloads):
        match event:
            case {"type": "message_start", "message": message}:
                _messages_usage(said, message.get("usage") or {})
            case {"type": "content_block_start", "index": index, "content_block": block}:
                blocks[index] = {"type": block["type"], "name": block.get("name"), "said": "", "open": True}
                blocks[index]["said"] += block.get("text") or block.get("thinking") or ""
                order.append(index)
            case {"type": "content_block_delta", "index": index, "delta": delta}:
                assert blocks[index]["open"]
                blocks[index]["said"] += delta.get("text") or delta.get("thinking") or delta.get("partial_json") or ""
            case {"type": "content_block_stop", "index": index}:
                assert blocks[index]["open"]
                blocks[index]["open"] = False
            case {"type": "message_delta", "delta": delta}:
                assert said.reason is None, "two stop reasons"
                assert not any(block["open"] for block in blocks.values()), "a block is left open"
                said.reason = delta["stop_reason"]
                _messages_usage(said, event.get("usage") or {})
            case {"type": "error", "error": error}:
                assert not any(block["open"] for block in blocks.values()), "a block is left open"
                said.error = error
    assert order == sorted(order), order
    _messages_blocks(said, [blocks[index] for index in order])
    said.terminals = kinds.count("message_stop") + kinds.count("error")
    said.ends_with_terminal = bool(kinds) and kinds[-1] in {"message_stop", "error"}
    return said


def _messages_blocks(said: Said, blocks: Iterable[dict[str, Any]]) -> None:
    for block in blocks:
        match block["type"]:
            case "text":
                said.text += block["said"]
            case "thinking":
                said.reasoning += block["said"]
            case "tool_use":
                said.calls.append((block["name"], block["said"]))


def _messages_whole(answer: dict[str, Any]) -> Said:
    said = Said(terminals=1, reason=answer["stop_reason"], error=answer.get("error"))
    for block in answer["content"]:
        match block["type"]:
            case "text":
                said.text += block["text"]
            case "thinking":
                said.reasoning += block["thinking"]
            case "tool_use":
                said.calls.append((block["name"], json.dumps(block["input"], separators=(",", ":"))))
    _messages_usage(said, answer.get("usage") or {})
    return said


# --- responses ---

_RESPONSE_ENDS: Final = {"response.completed", "response.incomplete", "response.failed"}


def _responses_ask(model: str, stream: bool, prompt: str, limit: int | None) -> dict[str, Any]:
    return {"model": model, "input": prompt, "stream": stream} | ({"max_output_tokens": limit} if limit else {})


def _responses_stream(payloads: list[bytes]) -> Said:
    events = _objects(payloads)
    kinds = [event.get("type") for event in events]
    text, reasoning, refusal, calls = "", "", "", dict[int, list[str]]()
    ends: list[Said] = []
    for event in events:
        match event.get("type"):
            case "response.output_text.delta":
                text += event["delta"]
            case "response.refusal.delta":
                refusal += event["delta"]
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                reasoning += event["delta"]
            case "response.output_item.added" if event["item"]["type"] == "function_call":
                calls[event["output_index"]] = [event["item"]["name"], ""]
            case "response.function_call_arguments.delta":
                calls[event["output_index"]][1] += event["delta"]
            case kind if kind in _RESPONSE_ENDS:
                ends.append(_responses_whole(event["response"]))
    numbers = [event["sequence_number"] for event in events if "sequence_number" in event]
    assert numbers == sorted(set(numbers)), numbers
    streamed = Said(text, reasoning, refusal, [(name, arguments) for name, arguments in calls.values()])
    said = ends[-1] if ends else streamed
    assert (said.text, said.reasoning, said.refusal, said.calls) == (
        streamed.text, streamed.reasoning, streamed.refusal, streamed.calls,
    ), "the end says another answer"  # fmt: skip
    said.terminals = sum(kind in _RESPONSE_ENDS for kind in kinds)
    said.ends_with_terminal = bool(kinds) and kinds[-1] in _RESPONSE_ENDS
    return said


def _responses_whole(answer: dict[str, Any]) -> Said:
    said = Said(terminals=1, error=answer.get("error"))
    for item in answer["output"]:
        match item["type"]:
            case "message":
                said.text += "".join(part.get("text", "") for part in item["content"])
                said.refusal += "".join(part.get("refusal", "") for part in item["content"])
            case "reasoning":
                parts = [*(item.get("summary") or ()), *(item.get("content") or ())]
                said.reasoning += "".join(part["text"] for part in parts)
            case "function_call":
                said.calls.append((item["name"], item["arguments"]))
    details = answer.get("incomplete_details") or {}
    said.reason = details.get("reason") or answer["status"]
    if usage := answer.get("usage"):
        said.input_tokens, said.output_tokens = usage["input_tokens"], usage["output_tokens"]
        said.cached_tokens = usage["input_tokens_details"]["cached_tokens"]
        said.reasoning_tokens = usage["output_tokens_details"]["reasoning_tokens"]
    return said


_SCHEMA: Final = {"type": "object", "properties": {"text": {"type": "string"}}}

CHAT: Final = Dialect(
    "chat_completions", "chat", "/v1/chat/completions", _chat_ask, _chat_stream, _chat_whole,
    "spend_cap_exceeded", "length",
    {"type": "function", "function": {"name": "get_weather", "parameters": _SCHEMA}},
)  # fmt: skip
MESSAGES: Final = Dialect(
    "messages", "messages", "/v1/messages", _messages_ask, _messages_stream, _messages_whole,
    "spend_cap_exceeded", "max_tokens",
    {"name": "get_weather", "input_schema": _SCHEMA},
)  # fmt: skip
RESPONSES: Final = Dialect(
    "responses", "responses", "/v1/responses", _responses_ask, _responses_stream, _responses_whole,
    "spend_cap_exceeded", "max_output_tokens",
    {"type": "function", "name": "get_weather", "parameters": _SCHEMA, "strict": False},
)  # fmt: skip

DIALECTS: Final = (CHAT, MESSAGES, RESPONSES)


def dialect_of(path: str) -> Dialect:
    """The dialect that is spoken on a path."""
    return next((each for each in (MESSAGES, RESPONSES) if path.startswith(each.path)), CHAT)
