"""Pydantic AI over each of its models that speaks one of our protocols."""

import asyncio
from abc import ABC, abstractmethod
from typing import Any

from tests.agents.agents import ALL_FORMATS, BOTH_MODES, PROMPT, REPORT, Place, Said


def get_weather(text: str) -> str:
    """Tell the weather somewhere."""
    return REPORT if text else ""


class _PydanticAi(ABC):
    framework, package = "pydantic-ai", "pydantic_ai"
    modes, formats, drop_params = BOTH_MODES, ALL_FORMATS, ()

    def __init__(self, place: Place) -> None:
        self.place = place

    def whole(self, model: str) -> Said:
        return asyncio.run(self._whole(model))

    def stream(self, model: str) -> Said:
        return asyncio.run(self._stream(model))

    def use_tool(self, model: str) -> Said:
        return asyncio.run(self._whole(model, get_weather))

    @abstractmethod
    def model(self, model: str) -> Any:
        """Return the model of the protocol."""

    async def _whole(self, model: str, *tools: Any) -> Said:
        return _said((await self._agent(model, *tools).run(PROMPT)).all_messages())

    async def _stream(self, model: str) -> Said:
        async with self._agent(model).run_stream(PROMPT) as run:
            async for _ in run.stream_text(delta=True):
                pass
            return _said(run.all_messages())

    def _agent(self, model: str, *tools: Any) -> Any:
        from pydantic_ai import Agent

        return Agent(self.model(model), tools=tools)

    def _openai(self) -> Any:
        from pydantic_ai.providers.openai import OpenAIProvider

        return OpenAIProvider(base_url=f"{self.place.url}/v1", api_key=self.place.key)


class PydanticAiChat(_PydanticAi):
    protocol = "chat"

    def model(self, model: str) -> Any:
        from pydantic_ai.models.openai import OpenAIChatModel

        return OpenAIChatModel(model, provider=self._openai())


class PydanticAiResponses(_PydanticAi):
    protocol = "responses"

    def model(self, model: str) -> Any:
        from pydantic_ai.models.openai import OpenAIResponsesModel

        return OpenAIResponsesModel(model, provider=self._openai())


class PydanticAiMessages(_PydanticAi):
    protocol = "messages"

    def model(self, model: str) -> Any:
        from pydantic_ai.models.anthropic import AnthropicModel
        from pydantic_ai.providers.anthropic import AnthropicProvider

        return AnthropicModel(model, provider=AnthropicProvider(base_url=self.place.url, api_key=self.place.key))


def _said(messages: list[Any]) -> Said:
    last = messages[-1]
    details = last.provider_details or {}
    parts = [part for message in messages for part in message.parts]
    return Said(
        "".join(part.content for part in last.parts if part.part_kind == "text"),
        details.get("finish_reason") or last.finish_reason,
        tool_results=tuple(part.content for part in parts if part.part_kind == "tool-return"),
    )
