"""The SDKs as they come, one class a protocol, with the same deeds: what a user of each would write."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import anthropic
import attrs
import openai

PROMPT = "What is the weather in Delft?"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}


@attrs.frozen
class Answered:
    """What an SDK made of an answer."""

    text: str
    reason: str | None
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    calls: int = 0
    raw: Any = None


class ChatSdk:
    """openai: ``client.chat.completions``."""

    name = "chat"
    stop, error = "stop", openai.APIError

    def __init__(self, url: str, key: str, retries: int = 0):
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=retries, timeout=20)

    def whole(self, model: str, **fields: Any) -> Answered:
        messages = fields.pop("messages", [{"role": "user", "content": PROMPT}])
        return self._answered(self.client.chat.completions.create(model=model, messages=messages, **fields))

    def stream(self, model: str, **fields: Any) -> Answered:
        messages = fields.pop("messages", [{"role": "user", "content": PROMPT}])
        with self.client.chat.completions.stream(
            model=model, messages=messages, stream_options={"include_usage": True}, **fields
        ) as events:
            return self._answered(events.get_final_completion())

    def break_off(self, model: str, after: int) -> None:
        messages = [{"role": "user", "content": PROMPT}]
        with self.client.chat.completions.create(model=model, messages=messages, stream=True) as events:
            for number, _ in enumerate(events):
                if number == after:
                    return

    def tool_talk(self, model: str, ask: Callable[..., Answered]) -> Answered:
        tools = [{"type": "function", "function": {"name": "get_weather", "parameters": SCHEMA}}]
        messages: list[Any] = [{"role": "user", "content": PROMPT}]
        first = ask(model, messages=messages, tools=tools)
        assert (first.reason, first.calls) == ("tool_calls", 2)
        message = first.raw.choices[0].message
        messages.append({
            "role": "assistant",
            "content": message.content,
            "tool_calls": [
                {"id": call.id, "type": "function",
                 "function": {"name": call.function.name, "arguments": call.function.arguments}}
                for call in message.tool_calls
            ],
        })  # fmt: skip
        for call in message.tool_calls:
            assert json.loads(call.function.arguments)
            messages.append({"role": "tool", "tool_call_id": call.id, "content": "sunny"})
        return ask(model, messages=messages, tools=tools)

    @staticmethod
    def _answered(answer: Any) -> Answered:
        (choice,) = answer.choices
        details = answer.usage.prompt_tokens_details
        return Answered(
            choice.message.content or "", choice.finish_reason, answer.usage.prompt_tokens,
            answer.usage.completion_tokens, details.cached_tokens or 0 if details else 0,
            len(choice.message.tool_calls or ()), answer,
        )  # fmt: skip


class ResponsesSdk:
    """openai: ``client.responses``."""

    name = "responses"
    stop, error = "completed", openai.APIError

    def __init__(self, url: str, key: str, retries: int = 0):
        self.client = openai.OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=retries, timeout=20)

    def whole(self, model: str, **fields: Any) -> Answered:
        return self._answered(self.client.responses.create(model=model, **({"input": PROMPT} | fields)))

    def stream(self, model: str, **fields: Any) -> Answered:
        with self.client.responses.stream(model=model, **({"input": PROMPT} | fields)) as events:
            seen = list(events)
            failed = [event for event in seen if event.type == "response.failed"]
            if failed:
                raise openai.APIError(failed[0].response.error.message, None, body=None)  # type: ignore[arg-type]
            return self._answered(events.get_final_response())

    def break_off(self, model: str, after: int) -> None:
        with self.client.responses.create(model=model, input=PROMPT, stream=True) as events:
            for number, _ in enumerate(events):
                if number == after:
                    return

    def tool_talk(self, model: str, ask: Callable[..., Answered]) -> Answered:
        tools = [{"type": "function", "name": "get_weather", "parameters": SCHEMA, "strict": False}]
        talk: list[Any] = [{"role": "user", "content": PROMPT}]
        first = ask(model, input=talk, tools=tools)
        assert (first.reason, first.calls) == ("completed", 2)
        talk += first.raw.output
        for item in first.raw.output:
            if item.type == "function_call":
                assert json.loads(item.arguments)
                talk.append({"type": "function_call_output", "call_id": item.call_id, "output": "sunny"})
        return ask(model, input=talk, tools=tools)

    @staticmethod
    def _answered(answer: Any) -> Answered:
        reason = answer.incomplete_details.reason if answer.incomplete_details else answer.status
        return Answered(
            answer.output_text, reason, answer.usage.input_tokens, answer.usage.output_tokens,
            answer.usage.input_tokens_details.cached_tokens,
            sum(item.type == "function_call" for item in answer.output), answer,
        )  # fmt: skip


class MessagesSdk:
    """anthropic: ``client.messages``."""

    name = "messages"
    stop, error = "end_turn", anthropic.APIError

    def __init__(self, url: str, key: str, retries: int = 0):
        self.client = anthropic.Anthropic(base_url=url, api_key=key, max_retries=retries, timeout=20)

    def whole(self, model: str, **fields: Any) -> Answered:
        return self._answered(self.client.messages.create(model=model, **(self._asked() | fields)))

    def stream(self, model: str, **fields: Any) -> Answered:
        with self.client.messages.stream(model=model, **(self._asked() | fields)) as events:
            return self._answered(events.get_final_message())

    def break_off(self, model: str, after: int) -> None:
        with ExitStack() as stack:
            events = stack.enter_context(self.client.messages.stream(model=model, **self._asked()))
            for number, _ in enumerate(events):
                if number == after:
                    return

    def tool_talk(self, model: str, ask: Callable[..., Answered]) -> Answered:
        tools = [{"name": "get_weather", "input_schema": SCHEMA}]
        messages: list[Any] = [{"role": "user", "content": PROMPT}]
        first = ask(model, messages=messages, tools=tools)
        assert (first.reason, first.calls) == ("tool_use", 2)
        messages.append({"role": "assistant", "content": first.raw.content})
        results = [
            {"type": "tool_result", "tool_use_id": block.id, "content": "sunny"}
            for block in first.raw.content
            if block.type == "tool_use" and block.input
        ]
        messages.append({"role": "user", "content": results})
        return ask(model, messages=messages, tools=tools)

    @staticmethod
    def _asked() -> dict[str, Any]:
        return {"max_tokens": 4096, "messages": [{"role": "user", "content": PROMPT}]}

    @staticmethod
    def _answered(answer: Any) -> Answered:
        usage = answer.usage
        cached, written = usage.cache_read_input_tokens or 0, usage.cache_creation_input_tokens or 0
        return Answered(
            "".join(block.text for block in answer.content if block.type == "text"), answer.stop_reason,
            usage.input_tokens + cached + written, usage.output_tokens, cached,
            sum(block.type == "tool_use" for block in answer.content), answer,
        )  # fmt: skip


SDKS = (ChatSdk, ResponsesSdk, MessagesSdk)
