"""What an inference may need of a protocol and of a provider's format: the rows of the table of coverage.

Each feature is asked in every protocol's own words, of a simulated provider that does what the feature needs. Its check
reads what the client was told and what the provider was sent.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from tests.gateway.dialects import PROMPT, Said

PIXEL: Final = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF: Final = "JVBERi0xLjQKJSBhIGRvY3VtZW50IG9mIG5vIHBhZ2VzCiUlRU9G"
CAT_URL: Final = "https://example.com/cat.png"
_SCHEMA: Final = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}

Check = Callable[[Said], None]


def _no_check(said: Said) -> None:
    del said


@attrs.frozen
class Feature:
    """One row."""

    name: str
    title: str
    """What the table calls it."""
    model: str = "sim-tokens-6"
    """How the provider behaves."""
    fields: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    """Client format -> what its request says beside the usual."""
    check: Check = _no_check
    sent: tuple[str, ...] = ()
    """Texts that the provider's request must hold."""
    more: str = ""
    """Settings of the model."""
    is_failure: bool = False
    """The answer ends as an error, in the client's own words."""


def _user(format_: str, *parts: dict[str, Any]) -> dict[str, Any]:
    """One message of a user with these parts, in a client format's words."""
    key = "input" if format_ == "responses" else "messages"
    text = {"type": "input_text" if format_ == "responses" else "text", "text": PROMPT}
    return {key: [{"role": "user", "content": [text, *parts]}]}


def _says(text: str) -> Check:
    def check(said: Said) -> None:
        assert said.error is None
        assert getattr(said, text)

    return check


def _reason(*words: str) -> Check:
    def check(said: Said) -> None:
        assert said.error is None
        assert said.reason in words, said.reason

    return check


def _calls(count: int) -> Check:
    def check(said: Said) -> None:
        assert said.reason in {"tool_calls", "tool_use", "completed"}
        assert len(said.calls) == count
        for name, arguments in said.calls:
            assert name == "get_weather"
            assert json.loads(arguments)["text"]

    return check


def _counts(**least: int) -> Check:
    def check(said: Said) -> None:
        for name, value in least.items():
            assert getattr(said, name) == value, (name, getattr(said, name))

    return check


def _filtered(said: Said) -> None:
    assert said.error is None
    assert said.reason in {"content_filter", "refusal"}


def _failed(said: Said) -> None:
    assert said.error is not None
    assert said.error["code"]
    assert said.error["message"]


def _capped(said: Said) -> None:
    assert said.reason == "spend_cap_exceeded"


_TOOLS: Final = {
    "chat": {"tools": [{"type": "function", "function": {"name": "get_weather", "parameters": _SCHEMA}}]},
    "messages": {"tools": [{"name": "get_weather", "input_schema": _SCHEMA}]},
    "responses": {"tools": [{"type": "function", "name": "get_weather", "parameters": _SCHEMA, "strict": False}]},
}


def _choice(chat: Any, messages: Any, responses: Any) -> Mapping[str, Mapping[str, Any]]:
    return {
        "chat": _TOOLS["chat"] | {"tool_choice": chat},
        "messages": _TOOLS["messages"] | {"tool_choice": messages},
        "responses": _TOOLS["responses"] | {"tool_choice": responses},
    }


_ARGUMENTS: Final = '{"text":"rain"}'
_ROUND_TRIP: Final = {
    "chat": {
        "messages": [
            {"role": "user", "content": PROMPT},
            {
                "role": "assistant",
                "content": "I look.",
                "tool_calls": [
                    {"id": f"call_{number}", "type": "function",
                     "function": {"name": "get_weather", "arguments": _ARGUMENTS}} for number in (1, 2)
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": "wet-result"},
            {"role": "tool", "tool_call_id": "call_2", "content": "dry-result"},
        ],
        **_TOOLS["chat"],
    },
    "messages": {
        "messages": [
            {"role": "user", "content": PROMPT},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "call_1", "name": "get_weather", "input": {"text": "rain"}},
                    {"type": "tool_use", "id": "call_2", "name": "get_weather", "input": {"text": "rain"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "call_1", "content": "wet-result"},
                    {"type": "tool_result", "tool_use_id": "call_2",
                     "content": [{"type": "text", "text": "dry-result"}]},
                ],
            },
        ],
        **_TOOLS["messages"],
    },
    "responses": {
        "input": [
            {"role": "user", "content": PROMPT},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]},
            {"type": "function_call", "call_id": "call_1", "name": "get_weather", "arguments": _ARGUMENTS},
            {"type": "function_call", "call_id": "call_2", "name": "get_weather", "arguments": _ARGUMENTS},
            {"type": "function_call_output", "call_id": "call_1", "output": "wet-result"},
            {"type": "function_call_output", "call_id": "call_2", "output": "dry-result"},
        ],
        **_TOOLS["responses"],
    },
}  # fmt: skip


def _everywhere(**fields: Any) -> Mapping[str, Mapping[str, Any]]:
    return dict.fromkeys(("chat", "messages", "responses"), fields)


FEATURES: Final = (
    Feature("text", "text", check=_says("text")),
    Feature("reasoning", "reasoning in the answer", "sim-tokens-6-reasoning-5", check=_says("reasoning")),
    Feature("refusal", "refusal", "sim-tokens-6-refusal", check=_reason("stop", "end_turn", "completed", "refusal",
                                                                         "content_filter")),
    Feature("content_filter", "content filter", "sim-tokens-6-finish-content_filter", check=_filtered),
    Feature("length", "output limit reached", "sim-tokens-30",
            {"chat": {"max_completion_tokens": 5}, "messages": {"max_tokens": 5},
             "responses": {"max_output_tokens": 5}},
            _reason("length", "max_tokens", "max_output_tokens")),
    Feature("tool_call", "a tool call", "sim-tools-tokens-9", _TOOLS, _calls(1)),
    Feature("parallel_calls", "parallel tool calls, split arguments", "sim-parallel-tools-tokens-9", _TOOLS, _calls(2)),
    Feature("tool_results", "tool results of parallel calls", fields=_ROUND_TRIP, check=_says("text"),
            sent=("wet-result", "dry-result", "I look.", "rain")),
    Feature("tool_required", "a tool must be called", "sim-tools-tokens-9",
            _choice("required", {"type": "any"}, "required"), _calls(1)),
    Feature("tool_named", "one named tool must be called", "sim-tools-tokens-9",
            _choice({"type": "function", "function": {"name": "get_weather"}}, {"type": "tool", "name": "get_weather"},
                    {"type": "function", "name": "get_weather"}), _calls(1)),
    Feature("one_call_at_a_time", "no parallel calls", "sim-tools-tokens-9",
            {"chat": _TOOLS["chat"] | {"parallel_tool_calls": False},
             "messages": _TOOLS["messages"] | {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
             "responses": _TOOLS["responses"] | {"parallel_tool_calls": False}}, _calls(1)),
    Feature("custom_tool", "a tool of free-form input", "sim-tokens-6",
            {"chat": {"tools": [{"type": "custom", "custom": {"name": "shell"}}]},
             "messages": {"tools": [{"type": "bash_20250124", "name": "bash"}]},
             "responses": {"tools": [{"type": "custom", "name": "shell"}]}}),
    Feature("system", "system prompt", fields={
        "chat": {"messages": [{"role": "system", "content": "Be brief-and-kind."},
                              {"role": "user", "content": PROMPT}]},
        "messages": {"system": "Be brief-and-kind."},
        "responses": {"instructions": "Be brief-and-kind."}}, check=_says("text"), sent=("brief-and-kind",)),
    Feature("image_data", "image in the body", fields={
        "chat": _user("chat", {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PIXEL}"}}),
        "messages": _user("messages", {"type": "image", "source": {"type": "base64", "media_type": "image/png",
                                                                   "data": PIXEL}}),
        "responses": _user("responses", {"type": "input_image", "detail": "auto",
                                         "image_url": f"data:image/png;base64,{PIXEL}"})}, check=_says("text"),
        sent=(PIXEL,)),
    Feature("image_url", "image by URL", fields={
        "chat": _user("chat", {"type": "image_url", "image_url": {"url": CAT_URL}}),
        "messages": _user("messages", {"type": "image", "source": {"type": "url", "url": CAT_URL}}),
        "responses": _user("responses", {"type": "input_image", "detail": "auto", "image_url": CAT_URL})},
        check=_says("text"), sent=(CAT_URL,)),
    Feature("document", "PDF in the body", fields={
        "chat": _user("chat", {"type": "file", "file": {"filename": "a.pdf",
                                                        "file_data": f"data:application/pdf;base64,{PDF}"}}),
        "messages": _user("messages", {"type": "document", "source": {"type": "base64", "data": PDF,
                                                                      "media_type": "application/pdf"}}),
        "responses": _user("responses", {"type": "input_file", "filename": "a.pdf",
                                         "file_data": f"data:application/pdf;base64,{PDF}"})}, check=_says("text"),
        sent=(PDF,)),
    Feature("effort", "how hard to think", "sim-tokens-6-reasoning-5", {
        "chat": {"reasoning_effort": "high"}, "messages": {"thinking": {"type": "adaptive"},
                                                           "output_config": {"effort": "high"}},
        "responses": {"reasoning": {"effort": "high", "summary": "auto"}}}, _says("text")),
    Feature("thinking_budget", "a budget for thinking", "sim-tokens-6-reasoning-5", {
        "messages": {"thinking": {"type": "enabled", "budget_tokens": 1024}}}, _says("text")),
    Feature("json_schema", "answer by a JSON schema", fields={
        "chat": {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": _SCHEMA,
                                                                            "strict": True}}},
        "messages": {"output_config": {"format": {"type": "json_schema", "schema": _SCHEMA}}},
        "responses": {"text": {"format": {"type": "json_schema", "name": "a", "schema": _SCHEMA, "strict": True}}}},
        check=_says("text"), sent=("additionalProperties",)),
    Feature("json_mode", "answer in any JSON", fields={
        "chat": {"response_format": {"type": "json_object"}},
        "responses": {"text": {"format": {"type": "json_object"}}}}, check=_says("text")),
    Feature("temperature", "temperature and top_p", fields=_everywhere(temperature=0.5, top_p=0.9),
            check=_says("text"), sent=("0.5", "0.9")),
    Feature("stop", "stop sequences", fields={"chat": {"stop": ["halt-here"]}, "messages": {
        "stop_sequences": ["halt-here"]}}, check=_says("text"), sent=("halt-here",)),
    Feature("top_k", "top_k", fields={"chat": {"top_k": 4041}, "messages": {"top_k": 4041}}, check=_says("text"),
            sent=("4041",)),
    Feature("seed", "seed", fields={"chat": {"seed": 70717}}, check=_says("text"), sent=("70717",)),
    Feature("penalties", "penalties", fields={"chat": {"frequency_penalty": 0.625, "presence_penalty": 0.375}},
            check=_says("text"), sent=("0.625", "0.375")),
    Feature("logprobs", "log probabilities", fields={
        "chat": {"logprobs": True, "top_logprobs": 2},
        "responses": {"include": ["message.output_text.logprobs"], "top_logprobs": 2}}, check=_says("text")),
    Feature("end_user", "end user's id", fields={"chat": {"user": "end-user-17"}, "messages": {
        "metadata": {"user_id": "end-user-17"}}, "responses": {"user": "end-user-17"}}, check=_says("text"),
            sent=("end-user-17",)),
    Feature("cache_control", "cache marks", fields={
        "messages": {"system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]}},
        check=_says("text")),
    Feature("stored", "a stored response to go on from", fields={"responses": {"previous_response_id": "resp_none"}}),
    Feature("usage", "usage", "sim-tokens-6-usage-always", check=_counts(input_tokens=4, output_tokens=6)),
    Feature("usage_cached", "usage: cached input", "sim-tokens-6-cached-2", check=_counts(cached_tokens=2)),
    Feature("usage_reasoning", "usage: hidden reasoning", "sim-tokens-6-hidden-reasoning-5",
            check=_counts(output_tokens=11, reasoning_tokens=5)),
    Feature("error_status", "refused by the provider", "sim-error-500", check=_failed, is_failure=True),
    Feature("error_in_band", "error in the stream", "sim-tokens-9-error-after-3", check=_failed, is_failure=True),
    Feature("truncated", "cut off by the provider", "sim-tokens-9-eof-after-3", check=_failed, is_failure=True),
    Feature("no_streams", "a provider that cannot stream", "sim-tokens-6-no-stream", check=_says("text"),
            more='streaming = "wrap"'),
    Feature("json_for_sse", "JSON in answer to a stream request", "sim-tokens-6-json-for-sse", check=_says("text")),
    Feature("sse_for_json", "a stream in answer to a JSON request", "sim-tokens-6-sse-for-json", check=_says("text")),
)  # fmt: skip
