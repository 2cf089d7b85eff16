"""The helpers of the SDKs, as a user calls them, and what each hands back, in words."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import anthropic
import attrs
import httpx
import openai
from pydantic import BaseModel

_QUESTION: Final = "Where is the windmill?"
_MESSAGES: Final = [{"role": "user", "content": _QUESTION}]


class Place(BaseModel):
    """What typed helpers are asked for."""

    city: str


Deed = Callable[..., str]
"""(client, model, keep, the request's other fields) -> what it returned, in a word; ``keep`` is given what of the
answer's text its user has in hand, when he has it."""

Keep = Callable[[str], object]


def drop(text: str) -> None:
    """Keep nothing."""


@attrs.frozen
class Helper:
    """One way to ask."""

    title: str
    deed: Deed
    hands_over: bool = False
    """Whether its user has the text piece by piece, as it comes."""
    tells_reason: bool = True
    """Whether what it returns says how the answer ended, for those who look."""


@attrs.frozen
class Sdk:
    """The helpers of one protocol."""

    protocol: str
    client: Callable[..., Any]
    """(the gateway's URL, a key, the SDK's own options) -> a client."""
    helpers: tuple[Helper, ...]
    limit: Mapping[str, int]
    """The field of the request that limits its output, to less than is said."""


def raised(error: Exception) -> str:
    """An exception in a word: its class, and our code where it has one."""
    code = code_of(error)
    return f"raises `{type(error).__name__}`" + (f": `{code}`" if code else "")


def code_of(error: Exception) -> str | None:
    """Our code, from where the class of an exception has it."""
    body = getattr(error, "body", None)
    if isinstance(error, anthropic.APIError) and isinstance(body, dict):
        body = body["error"]
    return body["code"] if isinstance(body, dict) else None


def _typed(reason: str, parsed: object) -> str:
    return f"`{reason}`, parsed" if parsed is not None else f"`{reason}`, `None`"


# --- openai: chat ---


def _chat_create(client: openai.OpenAI, model: str, keep: Keep = drop, **fields: Any) -> str:
    answer = client.chat.completions.create(model=model, messages=_MESSAGES, **fields)
    keep(answer.choices[0].message.content or "")
    return f"`{answer.choices[0].finish_reason}`"


def _chat_chunks(client: openai.OpenAI, model: str, keep: Keep = drop, **fields: Any) -> str:
    reason = None
    for chunk in client.chat.completions.create(model=model, messages=_MESSAGES, stream=True, **fields):
        for choice in chunk.choices:
            keep(choice.delta.content or "")
            reason = choice.finish_reason
    return f"`{reason}`"


def _chat_parse(client: openai.OpenAI, model: str, keep: Keep = drop, **fields: Any) -> str:
    answer = client.chat.completions.parse(model=model, messages=_MESSAGES, response_format=Place, **fields)
    keep(answer.choices[0].message.content or "")
    return _typed(answer.choices[0].finish_reason, answer.choices[0].message.parsed)


def _chat_stream(client: openai.OpenAI, model: str, keep: Keep = drop, **fields: Any) -> str:
    with client.chat.completions.stream(model=model, messages=_MESSAGES, **fields) as events:
        (choice,) = events.get_final_completion().choices
        keep(choice.message.content or "")
        return f"`{choice.finish_reason}`"


def _chat_stream_typed(client: openai.OpenAI, model: str, keep: Keep = drop, **fields: Any) -> str:
    with client.chat.completions.stream(model=model, messages=_MESSAGES, response_format=Place, **fields) as events:
        (choice,) = events.get_final_completion().choices
        keep(choice.message.content or "")
        return _typed(choice.finish_reason, choice.message.parsed)


# --- openai: responses ---


def _reason_of(response: Any) -> str:
    if response.error is not None:
        return f"{response.status}`: `{response.error.code}"
    return response.incomplete_details.reason if response.incomplete_details else response.status


def _responses_create(client: openai.OpenAI, model: str, keep: Keep = drop, **fields: Any) -> str:
    answer = client.responses.create(model=model, input=_QUESTION, **fields)
    keep(answer.output_text)
    return f"`{_reason_of(answer)}`"


def _responses_events(client: openai.OpenAI, model: str, keep: Keep = drop, **fields: Any) -> str:
    last = None
    for last in client.responses.create(model=model, input=_QUESTION, stream=True, **fields):
        if last.type == "response.output_text.delta":
            keep(last.delta)
    return f"`{_reason_of(last.response)}`"


def _responses_parse(client: openai.OpenAI, model: str, keep: Keep = drop, **fields: Any) -> str:
    answer = client.responses.parse(model=model, input=_QUESTION, text_format=Place, **fields)
    keep(answer.output_text)
    return _typed(_reason_of(answer), answer.output_parsed)


def _responses_stream(client: openai.OpenAI, model: str, keep: Keep = drop, **fields: Any) -> str:
    with client.responses.stream(model=model, input=_QUESTION, **fields) as events:
        answer = events.get_final_response()
        keep(answer.output_text)
        return f"`{_reason_of(answer)}`"


def _responses_stream_typed(client: openai.OpenAI, model: str, keep: Keep = drop, **fields: Any) -> str:
    with client.responses.stream(model=model, input=_QUESTION, text_format=Place, **fields) as events:
        answer = events.get_final_response()
        keep(answer.output_text)
        return _typed(_reason_of(answer), answer.output_parsed)


# --- anthropic ---


def _asked(fields: dict[str, Any]) -> dict[str, Any]:
    return {"max_tokens": 4096, "messages": _MESSAGES} | fields


def _text_of(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


def _messages_create(client: anthropic.Anthropic, model: str, keep: Keep = drop, **fields: Any) -> str:
    answer = client.messages.create(model=model, **_asked(fields))
    keep(_text_of(answer))
    return f"`{answer.stop_reason}`"


def _messages_parse(client: anthropic.Anthropic, model: str, keep: Keep = drop, **fields: Any) -> str:
    answer = client.messages.parse(model=model, output_format=Place, **_asked(fields))
    keep(_text_of(answer))
    return _typed(str(answer.stop_reason), answer.parsed_output)


def _messages_runner(client: anthropic.Anthropic, model: str, keep: Keep = drop, **fields: Any) -> str:
    @anthropic.beta_tool
    def look(where: str) -> str:
        """Look somewhere."""
        return f"Nothing in {where}."

    *_, last = client.beta.messages.tool_runner(model=model, tools=[look], thread=False, **_asked(fields))
    keep(_text_of(last))
    return f"`{last.stop_reason}`"


def _messages_events(client: anthropic.Anthropic, model: str, keep: Keep = drop, **fields: Any) -> str:
    reasons = []
    for event in client.messages.create(model=model, stream=True, **_asked(fields)):
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            keep(event.delta.text)
        elif event.type == "message_delta":
            reasons.append(event.delta.stop_reason)
    (reason,) = reasons
    return f"`{reason}`"


def _messages_final(client: anthropic.Anthropic, model: str, keep: Keep = drop, **fields: Any) -> str:
    with client.messages.stream(model=model, **_asked(fields)) as events:
        answer = events.get_final_message()
        keep(_text_of(answer))
        return f"`{answer.stop_reason}`"


def _messages_text(client: anthropic.Anthropic, model: str, keep: Keep = drop, **fields: Any) -> str:
    with client.messages.stream(model=model, **_asked(fields)) as events:
        pieces = 0
        for piece in events.text_stream:
            keep(piece)
            pieces += 1
        return "the text" if pieces else "no text"


def _messages_final_text(client: anthropic.Anthropic, model: str, keep: Keep = drop, **fields: Any) -> str:
    with client.messages.stream(model=model, **_asked(fields)) as events:
        text = events.get_final_text()
        keep(text)
        return "the text" if text else "no text"


def _messages_stream_typed(client: anthropic.Anthropic, model: str, keep: Keep = drop, **fields: Any) -> str:
    with client.messages.stream(model=model, output_format=Place, **_asked(fields)) as events:
        answer = events.get_final_message()
        keep(_text_of(answer))
        return _typed(str(answer.stop_reason), answer.parsed_output)


# --- no SDK ---


def _httpx_asked(model: str, fields: dict[str, Any], *, stream: bool) -> dict[str, Any]:
    headers = fields.pop("extra_headers", {})
    return {"json": {"model": model, "messages": _MESSAGES, "stream": stream} | fields, "headers": headers}


def _httpx_post(client: httpx.Client, model: str, keep: Keep = drop, **fields: Any) -> str:
    answer = client.post("/v1/chat/completions", **_httpx_asked(model, fields, stream=False)).raise_for_status()
    (choice,) = answer.json()["choices"]
    keep(choice["message"]["content"])
    return f"`{choice['finish_reason']}`"


def _httpx_stream(client: httpx.Client, model: str, keep: Keep = drop, **fields: Any) -> str:
    reason = None
    with client.stream("POST", "/v1/chat/completions", **_httpx_asked(model, fields, stream=True)) as answer:
        answer.raise_for_status()
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                for choice in json.loads(line.removeprefix("data: "))["choices"]:
                    keep(choice["delta"].get("content") or "")
                    reason = choice["finish_reason"]
    return f"`{reason}`"


def _httpx(url: str, key: str, *, http_client: httpx.Client) -> httpx.Client:
    http_client.base_url = url  # type: ignore[assignment] - its setter takes text
    http_client.headers["authorization"] = f"Bearer {key}"
    return http_client


def _openai(url: str, key: str, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{url}/v1", api_key=key, timeout=20, **options)


def _anthropic(url: str, key: str, **options: Any) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=url, api_key=key, timeout=20, **options)


CHAT: Final = Sdk("chat", _openai, (
    Helper("`create`", _chat_create),
    Helper("`parse`", _chat_parse),
    Helper("`create(stream=True)`", _chat_chunks, hands_over=True),
    Helper("final completion of `stream()`", _chat_stream),
    Helper("`stream(response_format=)`", _chat_stream_typed),
), {"max_completion_tokens": 5})  # fmt: skip
RESPONSES: Final = Sdk("responses", _openai, (
    Helper("`create`", _responses_create),
    Helper("`parse`", _responses_parse),
    Helper("last event of `create(stream=True)`", _responses_events, hands_over=True),
    Helper("final response of `stream()`", _responses_stream),
    Helper("`stream(text_format=)`", _responses_stream_typed),
), {"max_output_tokens": 5})  # fmt: skip
MESSAGES: Final = Sdk("messages", _anthropic, (
    Helper("`create`", _messages_create),
    Helper("`parse`", _messages_parse),
    Helper("`tool_runner(thread=False)`", _messages_runner),
    Helper("`create(stream=True)`", _messages_events, hands_over=True),
    Helper("final message of `stream()`", _messages_final),
    Helper("`text_stream`", _messages_text, hands_over=True, tells_reason=False),
    Helper("`get_final_text`", _messages_final_text, tells_reason=False),
    Helper("`stream(output_format=)`", _messages_stream_typed),
), {"max_tokens": 5})  # fmt: skip

RAW: Final = Sdk("httpx", _httpx, (
    Helper("`post`, `raise_for_status`", _httpx_post),
    Helper("`stream`, `raise_for_status`", _httpx_stream, hands_over=True),
), {"max_completion_tokens": 5})  # fmt: skip

SDKS: Final = (CHAT, RESPONSES, MESSAGES)
