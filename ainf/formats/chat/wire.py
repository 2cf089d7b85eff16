"""The chat-completions wire: typed views of a chunk and of a whole answer, with only what we read from them.

Source: OpenAI's API reference, "chat completion chunk object" and "chat completion object"; beside them the fields of
compatible providers that carry output or usage (``reasoning_content`` of DeepSeek and vLLM, ``reasoning`` of OpenRouter
and newer vLLM, ``reasoning_details`` of OpenRouter, ``x_groq.usage`` of Groq, ``choices[0].usage`` of Moonshot,
``{"object": "error"}`` of vLLM, content in parts of Mistral).

Decoding is tolerant in two steps. A view is decoded by type (one decode for all payloads of a read); what does not fit
is *opaque*: it is read loosely, for the output that can be made out and for evidence (finish reason, usage, error).
"""

import json
from typing import Any, Final

import msgspec

from ainf.formats.chat.content import Content, loose_content, parts_bytes
from ainf.formats.chat.reasoning import told_in
from ainf.formats.loose import load_loosely, text_bytes, text_or_none
from ainf.formats.views import view_decoder, views_decoder

DONE: Final = b"[DONE]"


class FunctionView(msgspec.Struct, gc=False):
    """A function's name and JSON arguments, or a piece of them."""

    name: str | None = None
    arguments: str | None = None


class CustomView(msgspec.Struct, gc=False):
    """A custom tool's name and free-form input, or a piece of it."""

    name: str | None = None
    input: str | None = None


class ToolCallView(msgspec.Struct, gc=False):
    """A tool call, or a piece of one."""

    index: Any = None
    id: str | None = None
    function: FunctionView | None = None
    custom: CustomView | None = None


class MessageView(msgspec.Struct, gc=False):
    """A message, or a delta of one."""

    content: Content | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: Any = None
    refusal: str | None = None
    tool_calls: list[ToolCallView] | None = None
    function_call: FunctionView | None = None


class ChoiceView(msgspec.Struct, gc=False):
    """A choice of a chunk (``delta``) or of a whole answer (``message``)."""

    delta: MessageView | None = None
    message: MessageView | None = None
    finish_reason: str | None = None
    usage: Any = None


class ChunkView(msgspec.Struct, gc=False):
    """A chunk, or a whole answer, once its head is known."""

    choices: list[ChoiceView] | None = None
    usage: Any = None
    error: Any = None
    x_groq: Any = None


class HeadedView(ChunkView, gc=False):
    """The same with what names the answer, and with what an error says that has no object of its own."""

    id: Any = None
    model: Any = None
    created: Any = None
    object: Any = None
    message: Any = None
    type: Any = None
    code: Any = None
    param: Any = None


decode_views: Final = views_decoder(ChunkView)
"""Returns the views of all payloads, or None when any of them does not fit; see ``views_decoder``."""
decode_view: Final = view_decoder(HeadedView)
"""Returns the view of one payload, or None where it does not fit."""


def decode_loosely(payload: bytes) -> HeadedView | None:
    """Return what can be read of a payload that is no typed view; None where it is no JSON object at all.

    Invalid UTF-8 becomes U+FFFD, lone surrogates stay in the strings, fields of a wrong type count as absent.
    """
    document = load_loosely(payload)
    if document is None:
        return None
    view = HeadedView(**{name: document.get(name) for name in HeadedView.__struct_fields__ if name != "choices"})
    choices = document.get("choices")
    if isinstance(choices, list):
        view.choices = [_loose_choice(choice) for choice in choices if isinstance(choice, dict)]
    return view


def visible_bytes(message: MessageView) -> int:
    """Return how much visible output a message or delta holds: text, reasoning, refusal, names and arguments.

    A provider that sends its reasoning under several names sends it once.
    """
    size = 0
    content = message.content
    if content:
        size = text_bytes(content) if isinstance(content, str) else parts_bytes(content)
    if message.reasoning_content:
        size += text_bytes(message.reasoning_content)
    elif message.reasoning:
        size += text_bytes(message.reasoning)
    elif message.reasoning_details:
        size += text_bytes(told_in(message.reasoning_details))
    if message.refusal:
        size += text_bytes(message.refusal)
    if message.tool_calls:
        for call in message.tool_calls:
            size += _function_bytes(call.function)
            if call.custom is not None:
                size += text_bytes(call.custom.name) + text_bytes(call.custom.input)
    if message.function_call is not None:
        size += _function_bytes(message.function_call)
    return size


def view_bytes(view: ChunkView) -> int:
    """Return the visible output in all choices of a chunk or answer."""
    size = 0
    for choice in view.choices or ():
        message = choice.delta or choice.message
        if message is not None:
            size += visible_bytes(message)
    return size


def finish_reason_of(view: ChunkView) -> str | None:
    """Return the evidence of an end, if the view holds it. One choice is all that is ever asked for."""
    for choice in view.choices or ():
        if choice.finish_reason:
            return choice.finish_reason
    return None


def usage_of(view: ChunkView) -> Any:  # noqa: ANN401 - whatever a provider put there; read_usage judges it
    """Return the usage object of a view, wherever its provider puts it; None where it has none."""
    if view.usage is not None:
        return view.usage
    for choice in view.choices or ():
        if choice.usage is not None:
            return choice.usage
    if isinstance(view.x_groq, dict):
        return view.x_groq.get("usage")
    return None


def is_usage_only(view: ChunkView) -> bool:
    """Whether a chunk is the one that ``stream_options.include_usage`` adds: usage, and no choice."""
    return not view.choices and isinstance(view.usage, dict)


def _function_bytes(function: FunctionView | None) -> int:
    return 0 if function is None else text_bytes(function.name) + text_bytes(function.arguments)


def _loose_choice(choice: dict[str, Any]) -> ChoiceView:
    return ChoiceView(
        delta=_loose_message(choice.get("delta")),
        message=_loose_message(choice.get("message")),
        finish_reason=text_or_none(choice.get("finish_reason")),
        usage=choice.get("usage"),
    )


def _loose_message(message: Any) -> MessageView | None:  # noqa: ANN401 - judged here
    if not isinstance(message, dict):
        return None
    calls = message.get("tool_calls")
    return MessageView(
        content=loose_content(message.get("content")),
        reasoning_content=text_or_none(message.get("reasoning_content")),
        reasoning=text_or_none(message.get("reasoning")),
        reasoning_details=message.get("reasoning_details"),
        refusal=text_or_none(message.get("refusal")),
        tool_calls=[_loose_call(call) for call in calls if isinstance(call, dict)] if isinstance(calls, list) else None,
        function_call=_loose_function(message.get("function_call")),
    )


def _loose_call(call: dict[str, Any]) -> ToolCallView:
    custom = call.get("custom")
    return ToolCallView(
        index=call.get("index"),
        id=text_or_none(call.get("id")),
        function=_loose_function(call.get("function")),
        custom=_loose_custom(custom) if isinstance(custom, dict) else None,
    )


def _loose_custom(custom: dict[str, Any]) -> CustomView:
    return CustomView(text_or_none(custom.get("name")), text_or_none(custom.get("input")))


def _loose_function(function: Any) -> FunctionView | None:  # noqa: ANN401 - judged here
    if not isinstance(function, dict):
        return None
    arguments = function.get("arguments")
    if isinstance(arguments, dict):  # some providers send the arguments as the object that they should be the text of
        arguments = json.dumps(arguments, separators=(",", ":"))
    return FunctionView(text_or_none(function.get("name")), text_or_none(arguments))
