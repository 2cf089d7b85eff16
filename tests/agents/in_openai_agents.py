"""OpenAI's Agents SDK over both of its models."""

import asyncio
from abc import ABC, abstractmethod
from typing import Any

from tests.agents.agents import ALL_FORMATS, BOTH_MODES, PROMPT, REPORT, Place, Said


class _OpenaiAgents(ABC):
    framework, package = "openai-agents", "agents"
    modes, formats, drop_params = BOTH_MODES, ALL_FORMATS, ()

    def __init__(self, place: Place) -> None:
        self.place = place

    def whole(self, model: str) -> Said:
        return asyncio.run(self._run(model))

    def stream(self, model: str) -> Said:
        return asyncio.run(self._run(model, stream=True))

    def use_tool(self, model: str) -> Said:
        return asyncio.run(self._run(model, with_tool=True))

    @abstractmethod
    def model(self, model: str, client: Any) -> Any:
        """Return the model of the protocol."""

    async def _run(self, model: str, *, stream: bool = False, with_tool: bool = False) -> Said:
        from agents import Agent, Runner, function_tool
        from openai import AsyncOpenAI

        @function_tool
        def get_weather(text: str) -> str:
            """Tell the weather somewhere."""
            return REPORT if text else ""

        async with AsyncOpenAI(base_url=f"{self.place.url}/v1", api_key=self.place.key) as client:
            agent = Agent(name="agent", model=self.model(model, client), tools=[get_weather] if with_tool else [])
            if not stream:
                return _said(await Runner.run(agent, PROMPT))
            run = Runner.run_streamed(agent, PROMPT)
            async for _ in run.stream_events():
                pass
            return _said(run)


class OpenaiAgentsChat(_OpenaiAgents):
    protocol = "chat"

    def model(self, model: str, client: Any) -> Any:
        from agents import OpenAIChatCompletionsModel

        return OpenAIChatCompletionsModel(model=model, openai_client=client)


class OpenaiAgentsResponses(_OpenaiAgents):
    protocol = "responses"

    def model(self, model: str, client: Any) -> Any:
        from agents import OpenAIResponsesModel

        return OpenAIResponsesModel(model=model, openai_client=client)


def _said(run: Any) -> Said:
    results = tuple(item.output for item in run.new_items if item.type == "tool_call_output_item")
    return Said(str(run.final_output or ""), tool_results=results)
