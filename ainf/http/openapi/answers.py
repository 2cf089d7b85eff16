"""What a generation, a count and embeddings answer: whole documents, and the payloads of streams' events.

These are the vendors' own documents. Where the provider speaks the client's format, they are handed on as they came;
else the gateway writes them. Of its own are how a cap and a failure are told, and ``usage.cost``.
"""

from typing import Final

from ainf.formats.chat.writer import NEUTRAL_REASON
from ainf.http.openapi.shapes import (
    NO_FIELDS,
    Fields,
    Schema,
    anything,
    constant,
    count,
    either,
    items,
    nullable,
    of_format,
    ref,
    text,
    word,
)

CAPPED: Final = "`spend_cap_exceeded`: a spend cap cut it (for keys or models with `finish_reasons` strict: {strict})"

_COST: Final = {
    "type": "number",
    "description": "US dollars that the exchange is charged; for keys with `inject_cost`, in the last usage told.",
}
_NUMBERS: Final = items({"type": "number"})


def _usage(required: Fields, optional: Fields) -> Schema:
    return of_format(required, {**optional, "cost": _COST})


def _details(*names: str) -> Schema:
    return nullable(of_format({}, {name: nullable(count()) for name in names}))


# --- chat completions ---

_FINISH: Final = (
    "Why it ended: `stop`, `length`, `tool_calls`, `function_call`, `content_filter`, or another word of the "
    f"provider's (of a provider of another format: `{NEUTRAL_REASON}`). {CAPPED.format(strict='`length`')}. "
)
_FUNCTION: Final = of_format({}, {"name": nullable(text()), "arguments": nullable(text("JSON."))})
_CUSTOM: Final = of_format({}, {"name": nullable(text()), "input": nullable(text())})
_CALL: Final = of_format(
    {},
    {
        "index": count("In a stream: to which of the calls it belongs."),
        "id": nullable(text()),
        "type": nullable(text("`function` or `custom`.")),
        "function": _FUNCTION,
        "custom": _CUSTOM,
    },
)
_SAID: Final[Fields] = {
    "role": nullable(text()),
    "content": nullable(either(text(), items({"type": "object"}))),
    "refusal": nullable(text()),
    "reasoning_content": nullable(text("Reasoning that the provider shows.")),
    "reasoning_details": nullable(
        items({"type": "object"}, "What the provider wants to be sent back with the message.")
    ),
    "tool_calls": nullable(items(_CALL)),
    "function_call": nullable(_FUNCTION),
}
_HEAD: Final[Fields] = {"id": text(), "created": count("Seconds since 1970."), "model": text()}
_ERROR: Final = ref("StreamError", "How it ended, where it was not completed (a cap only with `finish_reasons` loud).")


def _chat() -> dict[str, Schema]:
    choice = {"index": count(), "finish_reason": text(_FINISH)}
    chunk_choice = {
        "index": count(),
        "delta": of_format({}, _SAID),
        "finish_reason": nullable(text(_FINISH + "`error`: it failed, and `error` says how.")),
    }
    usage = ref("ChatUsage")
    return {
        "ChatUsage": _usage(
            {"prompt_tokens": count(), "completion_tokens": count("Reasoning included.")},
            {
                "total_tokens": count(),
                "prompt_tokens_details": _details("cached_tokens", "cache_write_tokens", "audio_tokens"),
                "completion_tokens_details": _details("reasoning_tokens", "audio_tokens"),
            },
        ),
        "ChatCompletion": of_format(
            {
                "object": constant("chat.completion"),
                **_HEAD,
                "choices": items(of_format({"message": of_format({}, _SAID), **choice}), minItems=1),
            },
            {"usage": nullable(usage), "error": _ERROR},
        ),
        "ChatChunk": of_format(
            {"object": constant("chat.completion.chunk"), **_HEAD, "choices": items(of_format(chunk_choice))},
            {"usage": nullable(usage), "error": _ERROR},
        ),
        "InferenceAnswer": {
            "description": "A chat completion, with what most callers want of it at the top.",
            "allOf": [
                ref("ChatCompletion"),
                of_format({
                    "content": nullable(text("The text of the answer; null where it has none.")),
                    "cost": ref("USD", "What the exchange is charged."),
                    "audit_url": text("Where the receipt is.", format="uri"),
                }),
            ],
        },
    }


# --- messages ---

_STOP: Final = (
    "Why it ended: `end_turn`, `max_tokens`, `stop_sequence`, `tool_use`, `refusal`, or another word of the "
    f"provider's (of a provider of another format: `{NEUTRAL_REASON}`). {CAPPED.format(strict='`max_tokens`')}."
)
_BLOCK: Final = of_format(
    {"type": text("`text`, `thinking`, `redacted_thinking`, `tool_use`, or another one of the provider's.")},
    {"text": text(), "thinking": text(), "signature": text(), "data": text(), "id": text(), "name": text(),
     "input": {"type": "object"}},
)  # fmt: skip
_DELTA: Final = of_format(
    {"type": text("`text_delta`, `thinking_delta`, `signature_delta`, `input_json_delta`, or another one.")},
    {"text": text(), "thinking": text(), "signature": text(), "partial_json": text()},
)


def _event(kind: str, required: Fields, optional: Fields = NO_FIELDS, description: str = "") -> Schema:
    return of_format({"type": constant(kind), **required}, optional, description)


def _others(kinds: list[str]) -> Schema:
    """Return the schema of events that a vendor may have beside those that are known."""
    return of_format({"type": {"type": "string", "not": {"enum": kinds}}}, description="Another one of the provider's.")


def _messages() -> dict[str, Schema]:
    begun: Fields = {"id": text(), "type": constant("message"), "role": constant("assistant"), "model": text()}
    usage, index = ref("MessagesUsage"), {"index": count()}
    ended: Fields = {"stop_reason": text(_STOP), "stop_sequence": nullable(text())}
    beginning = of_format({**begun, "content": items(_BLOCK)}, {"stop_reason": {"type": "null"}, "usage": usage})
    error = either(ref("AnthropicError"), description="The last event of a stream that failed; nothing follows it.")
    known = {
        "message_start": _event("message_start", {"message": beginning}),
        "content_block_start": _event("content_block_start", {**index, "content_block": _BLOCK}),
        "content_block_delta": _event("content_block_delta", {**index, "delta": _DELTA}),
        "content_block_stop": _event("content_block_stop", index),
        "message_delta": _event("message_delta", {"delta": of_format(ended)}, {"usage": usage}),
        "message_stop": _event("message_stop", NO_FIELDS, description="The last event of a stream that did not fail."),
        "error": error,
    }
    return {
        "MessagesUsage": _usage(
            {"output_tokens": count("Thinking included.")},
            {
                "input_tokens": nullable(count("Without those that were read from a cache or written to one.")),
                "cache_creation_input_tokens": nullable(count()),
                "cache_read_input_tokens": nullable(count()),
                "cache_creation": _details("ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"),
                "output_tokens_details": _details("thinking_tokens"),
            },
        ),
        "Message": of_format(
            {**begun, "content": items(_BLOCK), **ended},
            {
                "usage": usage,
                "error": anything("As in `AnthropicError`: a cap that cut it, with `finish_reasons` loud."),
            },
        ),
        "MessagesEvent": either(*known.values(), _others(list(known))),
        "TokenCount": of_format({"input_tokens": count()}),
    }


# --- responses ---

_ENDS: Final = ("response.completed", "response.incomplete", "response.failed")
_PARTS: Final = ("output_text", "refusal", "reasoning_text", "reasoning_summary_text")
_ARGUMENTS: Final = {"function_call_arguments": "arguments", "custom_tool_call_input": "input"}
_ITEM: Final = of_format(
    {"type": text("`message`, `reasoning`, `function_call`, `custom_tool_call`, or another one of the provider's.")},
    {
        "id": nullable(text()),
        "status": nullable(text()),
        "role": text(),
        "content": nullable(items({"type": "object"})),
        "summary": items({"type": "object"}),
        "encrypted_content": nullable(text()),
        "call_id": text(),
        "name": text(),
        "arguments": text("JSON."),
        "input": text(),
    },
)
_REASON: Final = (
    f"`max_output_tokens`, `content_filter`, or `{NEUTRAL_REASON}`. "
    f"{CAPPED.format(strict='`max_output_tokens`; loud: a failed response with the code `insufficient_quota`')}."
)


def _responses() -> dict[str, Schema]:
    response, place = ref("Response"), {"output_index": count()}
    known = {
        ("response.created", "response.in_progress"): {"response": response},
        ("response.output_item.added", "response.output_item.done"): {**place, "item": _ITEM},
        ("response.content_part.added", "response.content_part.done"): {**place, "part": {"type": "object"}},
        tuple(f"response.{stem}.delta" for stem in (*_PARTS, *_ARGUMENTS)): {**place, "delta": text()},
        tuple(f"response.{stem}.done" for stem in (*_PARTS, *_ARGUMENTS)): place,
        _ENDS: {"response": response},
    }
    events = [of_format({"type": word(kinds), "sequence_number": count(), **more}) for kinds, more in known.items()]
    events[-1]["description"] = "The last event of a stream, with the whole response; nothing follows it."
    return {
        "ResponsesUsage": _usage(
            {"input_tokens": count(), "output_tokens": count("Reasoning included.")},
            {
                "total_tokens": count(),
                "input_tokens_details": _details("cached_tokens", "cache_write_tokens"),
                "output_tokens_details": _details("reasoning_tokens"),
            },
        ),
        "Response": of_format(
            {
                "id": text(),
                "object": constant("response"),
                "created_at": {"type": "number", "description": "Seconds since 1970."},
                "status": word(("in_progress", "completed", "incomplete", "failed", "queued", "cancelled")),
                "model": text(),
                "output": items(_ITEM),
            },
            {
                "incomplete_details": nullable(of_format({"reason": text(_REASON)})),
                "error": nullable(_ERROR),
                "usage": nullable(ref("ResponsesUsage")),
            },
            "A response; what the request asked is repeated in it.",
        ),
        "ResponsesEvent": either(*events, _others([kind for kinds in known for kind in kinds])),
    }


# --- embeddings ---


def _embeddings() -> dict[str, Schema]:
    vector = either(_NUMBERS, text("Base64 of 32-bit floats, little-endian."))
    return {
        "Embeddings": of_format(
            {
                "object": constant("list"),
                "data": items(of_format({"object": constant("embedding"), "index": count(), "embedding": vector})),
                "model": text(),
            },
            {"usage": of_format({"prompt_tokens": count()}, {"total_tokens": count(), "cost": _COST})},
            "One vector for each input, in the order of the inputs.",
        )
    }


def schemas() -> dict[str, Schema]:
    """Return the schemas of answers and of streams' events, by name."""
    return _chat() | _messages() | _responses() | _embeddings()
