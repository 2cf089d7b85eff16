"""The same question in every format, and what makes of an answer's frames the models of each vendor's package."""

import json
from collections.abc import Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

import attrs
import trio
from anthropic.types import Message, RawMessageStreamEvent
from google.genai.types import GenerateContentResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from ainf.simulator import Simulator
from tests.simulator.client import post, send

TEXT = "hello simulator"
ARGUMENTS = {"type": "object", "properties": {"where": {"type": "string"}}}
TOOLS = (("look", ARGUMENTS), ("wait", {"type": "object"}))


@attrs.frozen(eq=False)
class Format:
    """How to ask in a format, and how to read the answer."""

    name: str
    path: Callable[[str, bool], str]
    body: Callable[[str, bool], dict]
    limited: Callable[[int], dict]
    tools: Callable[[tuple], dict]
    frame: TypeAdapter
    whole: type[BaseModel]
    headers: Mapping[str, str] = {}

    def request(self, model="sim", *, stream=True, limit=None, functions=(), headers=None, **fields) -> bytes:
        body = self.body(model, stream)
        body |= {} if limit is None else self.limited(limit)
        body |= self.tools(functions) if functions else {}
        named = {**self.headers, **(headers or {})}
        lines = [f"{name}: {value}" for name, value in named.items()]
        return post(json.dumps(body | fields).encode(), path=self.path(model, stream), headers=lines)


def _chat(model, stream):
    options = {"stream_options": {"include_usage": True}} if stream else {}
    return {"model": model, "stream": stream, "messages": [{"role": "user", "content": TEXT}], **options}


def _messages(model, stream):
    return {"model": model, "stream": stream, "max_tokens": 10**6, "messages": [{"role": "user", "content": TEXT}]}


def _gemini_path(model, stream):
    return f"/v1beta/models/{model}:" + ("streamGenerateContent?alt=sse" if stream else "generateContent")


CHAT = Format(
    "chat",
    path=lambda *_: "/v1/chat/completions",
    body=_chat,
    limited=lambda limit: {"max_tokens": limit},
    tools=lambda tools: {
        "tools": [{"type": "function", "function": {"name": name, "parameters": schema}} for name, schema in tools]
    },
    frame=TypeAdapter(ChatCompletionChunk),
    whole=ChatCompletion,
)
MESSAGES = Format(
    "messages",
    path=lambda *_: "/v1/messages",
    body=_messages,
    limited=lambda limit: {"max_tokens": limit},
    tools=lambda tools: {"tools": [{"name": name, "input_schema": schema} for name, schema in tools]},
    frame=TypeAdapter(RawMessageStreamEvent),
    whole=Message,
    headers={"anthropic-version": "2023-06-01"},
)
RESPONSES = Format(
    "responses",
    path=lambda *_: "/v1/responses",
    body=lambda model, stream: {"model": model, "stream": stream, "input": TEXT},
    limited=lambda limit: {"max_output_tokens": limit},
    tools=lambda tools: {"tools": [{"type": "function", "name": name, "parameters": schema} for name, schema in tools]},
    frame=TypeAdapter(ResponseStreamEvent),
    whole=Response,
)
GEMINI = Format(
    "gemini",
    path=_gemini_path,
    body=lambda *_: {"contents": [{"role": "user", "parts": [{"text": TEXT}]}]},
    limited=lambda limit: {"generationConfig": {"maxOutputTokens": limit}},
    tools=lambda tools: {
        "tools": [{"functionDeclarations": [{"name": name, "parameters": schema} for name, schema in tools]}]
    },
    frame=TypeAdapter(GenerateContentResponse),
    whole=GenerateContentResponse,
)
FORMATS = (CHAT, MESSAGES, RESPONSES, GEMINI)

WELL_FORMED = [
    "sim",
    "sim-tokens-0",
    "sim-tokens-1",
    "sim-per-frame-7",
    "sim-tools",
    "sim-tools-tokens-1",
    "sim-parallel-tools",
    "sim-parallel-tools-per-frame-3",
    "sim-parallel-tools-reasoning-3",
    "sim-reasoning-5",
    "sim-reasoning-5-raw-reasoning",
    "sim-reasoning-5-signature",
    "sim-hidden-reasoning-5",
    "sim-hidden-reasoning-5-tools",
    "sim-hidden-reasoning-5-signature",
    "sim-hidden-reasoning-2-reasoning-3",
    "sim-refusal",
    "sim-blocked",
    "sim-finish-content_filter",
    "sim-finish-length",
    "sim-cached-2",
    "sim-cache-write-1-cache-write-1h-2",
    "sim-pace-20ms",
    "sim-delay-1s",
    "sim-burst",
    "sim-drip",
    "sim-usage-always",
    "sim-usage-continuous",
    "sim-usage-in-finish",
    "sim-comments",
    "sim-finish-with-content",
    "sim-multi-data",
    "sim-no-done",
    "bench-json",
    "bench-burst",
    "bench-paced",
]
"""Behaviours whose answers are right in every format."""


async def ask(format_, model="sim", *, simulator=None, **fields):
    """One request on a connection in memory, to its end."""
    return await send(simulator or Simulator(), format_.request(model, **fields))


def frames(format_, taken):
    """The stream's frames as models of the vendor's package, checked strictly."""
    payloads = [payload for payload in taken.payloads if payload != b"[DONE]"]
    return [format_.frame.validate_json(payload, strict=True) for payload in payloads]


def whole(format_, taken):
    """The document as the vendor's model, checked strictly."""
    return format_.whole.model_validate_json(taken.body, strict=True)


def unknown_fields(value):
    """The names of fields, at any depth, that a model does not know."""
    if isinstance(value, BaseModel):
        names = set(value.model_extra or ())
        return names.union(*(unknown_fields(inner) for _, inner in value))
    if isinstance(value, list):
        return set().union(*map(unknown_fields, value))
    return set()


@asynccontextmanager
async def listening(simulator):
    """The simulator on a loopback port; yields what runs a vendor's blocking client beside it."""
    async with trio.open_nursery() as nursery:
        await nursery.start(simulator.serve)
        yield lambda call, *args, **fields: trio.to_thread.run_sync(partial(call, *args, **fields))
        nursery.cancel_scope.cancel()
