"""Request bodies: the fields that the gateway reads and checks. Null counts as absent, but for fields that must be."""

from collections.abc import Mapping
from typing import Any, Final

from ainf.formats.json import DEEPEST
from ainf.http.openapi.shapes import (
    Fields,
    Schema,
    anything,
    either,
    flag,
    items,
    nullable,
    of_format,
    ref,
    text,
    whole,
    word,
)
from ainf.protocols.checks import MODEL_CHARACTERS, MOST_TOKENS
from ainf.protocols.embeddings import MOST_INPUTS
from ainf.routing.hint import FIELD as HINT_FIELD
from ainf.routing.hint import HINT_SCHEMA

_NO_NUL: Final = "^[^\\u0000]*$"

_MODEL: Final = text(
    "A model of `GET /v1/models`, or a routing target, of which the gateway chooses the model.",
    minLength=1,
    maxLength=MODEL_CHARACTERS,
)
_STREAM: Final = nullable(flag("Whether the answer shall come as it is made, as server-sent events."))
_NO_STREAM: Final = nullable({"const": False, "description": "There is nothing to stream."})
_OBJECTS: Final = nullable(items({"type": "object"}))
_USER: Final = nullable(text("An id of the end user.", pattern=_NO_NUL))
_METADATA: Final = nullable({"type": "object", "description": "No string in it holds a NUL."})


def _limit(description: str) -> Schema:
    return whole(description, minimum=1, maximum=MOST_TOKENS)


_PART: Final = of_format({}, {"type": text("Text, or an attachment: image, sound, video, file.")})
_CHAT_MESSAGE: Final = of_format(
    {"role": text()},
    {"content": nullable(either(text(), items(either(_PART, text())))), "tool_calls": _OBJECTS},
)
_CHAT_OPTIONS: Final = of_format(
    {}, {"include_usage": nullable(flag("Whether a last chunk shall tell the usage of all."))}
)
_MESSAGE: Final = of_format({"role": text(), "content": either(text(), items(_PART))})
_THINKING: Final = of_format({}, {"budget_tokens": nullable(_limit("Below `max_tokens`."))})


_ROUTED: Final[Fields] = {HINT_FIELD: ref("RoutingHint")}


def _chat() -> Schema:
    return of_format(
        {"model": _MODEL, "messages": items(_CHAT_MESSAGE, minItems=1)},
        {
            "stream": _STREAM,
            "stream_options": nullable(_CHAT_OPTIONS),
            "max_completion_tokens": nullable(_limit("The most output, reasoning included.")),
            "max_tokens": nullable(_limit("The older name of `max_completion_tokens`; if both are there, they agree.")),
            "n": nullable({"const": 1, "description": "One choice a request."}),
            "tools": _OBJECTS,
            "tool_choice": nullable(either(text(), {"type": "object"})),
            "functions": _OBJECTS,
            "function_call": nullable(either(text(), {"type": "object"})),
            "response_format": nullable({"type": "object"}),
            "user": _USER,
            "metadata": _METADATA,
            **_ROUTED,
        },
        "A request for a chat completion, as OpenAI's reference has it.",
    )


def _messages(*, is_count: bool) -> Schema:
    limit = _limit("The most output, thinking included.")
    required = {"model": _MODEL, "messages": items(_MESSAGE, minItems=1)}
    optional = {
        "system": nullable(either(text(), items({"type": "object"}))),
        "tools": _OBJECTS,
        "tool_choice": nullable({"type": "object"}),
        "thinking": nullable(_THINKING),
        "stop_sequences": nullable(items(text())),
        "metadata": _METADATA,
        **_ROUTED,
    }
    if is_count:
        optional |= {"max_tokens": nullable(limit), "stream": _NO_STREAM}
        return of_format(required, optional, "What shall be counted: a request as `/v1/messages` takes it.")
    optional |= {"stream": _STREAM}
    return of_format(
        required | {"max_tokens": limit}, optional, "A request for a message, as Anthropic's reference has it."
    )


def _responses() -> Schema:
    return of_format(
        {"model": _MODEL},
        {
            "input": anything("Text, or a list of items; a provider of the same format says what is wrong with it."),
            "instructions": anything("A system message."),
            "stream": _STREAM,
            "max_output_tokens": nullable(_limit("The most output, reasoning included.")),
            "tools": _OBJECTS,
            "previous_response_id": nullable(
                text("Goes on from a response that the model's provider stored for the same account.", pattern=_NO_NUL)
            ),
            "user": _USER,
            "metadata": _METADATA,
            **_ROUTED,
        },
        "A request for a response, as OpenAI's reference has it. `background` is refused.",
    )


def _embeddings() -> Schema:
    tokens = items({"type": "integer"})
    return of_format(
        {
            "model": _MODEL | {"description": "A model of `GET /v1/models` that gives embeddings."},
            "input": either(
                text(minLength=1),
                tokens | {"minItems": 1},
                items(text(), minItems=1, maxItems=MOST_INPUTS),
                items(tokens, minItems=1, maxItems=MOST_INPUTS),
                description="One input or several, each a text or a list of tokens.",
            ),
        },
        {
            "encoding_format": nullable(word(("float", "base64"))),
            "dimensions": nullable(whole(minimum=1)),
            "user": _USER,
            "stream": _NO_STREAM,
        },
        "A request for embeddings, as OpenAI's reference has it.",
    )


def schemas() -> dict[str, Schema]:
    """Return the schemas of request bodies, by name."""
    return {
        "RoutingHint": dict(HINT_SCHEMA),
        "ChatRequest": _chat(),
        "MessagesRequest": _messages(is_count=False),
        "CountTokensRequest": _messages(is_count=True),
        "ResponsesRequest": _responses(),
        "EmbeddingsRequest": _embeddings(),
    }


_ASK: Final = [{"role": "user", "content": "Where is the windmill?"}]
_WEATHER: Final = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
_TARGET: Final = "ainf-inference"
_PINNED: Final = "gpt-5-mini"

_EXAMPLES: Final[Mapping[str, Mapping[str, tuple[str, dict[str, Any]]]]] = {
    "ChatRequest": {
        "pinned": ("One model, whole.", {"model": _PINNED, "messages": _ASK}),
        "streamed": (
            "A stream that tells its usage, of at most 500 tokens.",
            {
                "model": _PINNED,
                "messages": _ASK,
                "stream": True,
                "stream_options": {"include_usage": True},
                "max_completion_tokens": 500,
            },
        ),
        "tools": (
            "With a tool to call.",
            {
                "model": _PINNED,
                "messages": _ASK,
                "tools": [{"type": "function", "function": {"name": "weather", "parameters": _WEATHER}}],
            },
        ),
        "routed": (
            "The cheapest model that is good enough, for at most two cents.",
            {
                "model": _TARGET,
                "messages": _ASK,
                HINT_FIELD: {"min_quality": 0.7, "max_cost": "0.02", "task_type": "code"},
            },
        ),
    },
    "MessagesRequest": {
        "pinned": ("One model, whole.", {"model": "claude-haiku-4-5", "max_tokens": 500, "messages": _ASK}),
        "streamed": (
            "A stream, with a system prompt and a tool.",
            {
                "model": "claude-haiku-4-5",
                "max_tokens": 500,
                "stream": True,
                "system": "Be brief.",
                "messages": _ASK,
                "tools": [{"name": "weather", "input_schema": _WEATHER}],
            },
        ),
        "routed": (
            "One of the best models.",
            {"model": _TARGET, "max_tokens": 500, "messages": _ASK, HINT_FIELD: {"min_quality": "frontier"}},
        ),
    },
    "CountTokensRequest": {"plain": ("Of one message.", {"model": "claude-haiku-4-5", "messages": _ASK})},
    "ResponsesRequest": {
        "pinned": ("One model, whole.", {"model": _PINNED, "input": "Where is the windmill?"}),
        "streamed": (
            "A stream, with instructions and a tool.",
            {
                "model": _PINNED,
                "input": _ASK,
                "instructions": "Be brief.",
                "stream": True,
                "tools": [{"type": "function", "name": "weather", "parameters": _WEATHER, "strict": False}],
            },
        ),
        "routed": (
            "With the dial towards cost.",
            {"model": _TARGET, "input": "Where is the windmill?", HINT_FIELD: {"routing_preference": "cost"}},
        ),
    },
    "EmbeddingsRequest": {
        "texts": ("Two texts.", {"model": "text-embedding-3-small", "input": ["a mill", "a wind"]}),
    },
}


def bodies() -> dict[str, Any]:
    """Return the request bodies as components, by the names of their schemas, each with its examples."""
    return {name: _body(name, examples) for name, examples in _EXAMPLES.items()}


def _body(name: str, examples: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    shown = {title: {"summary": summary, "value": value} for title, (summary, value) in examples.items()}
    return {
        "required": True,
        "description": f"One JSON object in UTF-8, at most {DEEPEST} levels deep, with numbers of at most 64 bits.",
        "content": {"application/json": {"schema": ref(name), "examples": shown}},
    }
