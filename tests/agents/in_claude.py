"""Claude Code by its command, and by the SDK that runs its own copy of it."""

import json
import os
import subprocess
from typing import Any

import trio

from tests.agents.agents import PROMPT, REPORT, Place, Said, command

LONGEST_S = 40
DROPPED = ("context_management",)
FORMATS = ("messages", "chat", "responses")
"""It says instructions behind the first question, which Gemini has no place for."""


def settings(place: Place, model: str) -> dict[str, str]:
    """The variables that point Claude Code at a gateway, with everything off that is no inference."""
    return {
        "ANTHROPIC_BASE_URL": place.url,
        "ANTHROPIC_AUTH_TOKEN": place.key,
        "ANTHROPIC_MODEL": model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": model,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "ENABLE_TOOL_SEARCH": "false",
        "CLAUDE_CONFIG_DIR": str(place.home / ".claude"),
    }


class ClaudeCode:
    framework, protocol, package = "claude-code", "messages", "claude (command)"
    modes, formats, drop_params = ("stream",), FORMATS, DROPPED

    def __init__(self, place: Place) -> None:
        self.place = place

    def stream(self, model: str) -> Said:
        return self._run(model, "--tools=")

    def use_tool(self, model: str) -> Said:
        return self._run(model, "--tools=Read")

    def _run(self, model: str, *options: str) -> Said:
        found = command("claude")
        assert found is not None
        run = subprocess.run(
            [found, "--print", "--output-format", "stream-json", "--verbose", *options, PROMPT],
            cwd=self.place.home, env=os.environ | settings(self.place, model), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=LONGEST_S, check=False,
        )  # fmt: skip
        lines = [json.loads(line) for line in run.stdout.splitlines()]
        (result,) = [line for line in lines if line["type"] == "result"]
        contents = [line["message"]["content"] for line in lines if line["type"] == "user"]
        results = [part["content"] for content in contents for part in content if part["type"] == "tool_result"]
        return said(result["result"], result["stop_reason"], is_error=result["is_error"], results=tuple(results))


class ClaudeAgentSdk:
    framework, protocol, package = "claude-agent-sdk", "messages", "claude_agent_sdk"
    modes, formats, drop_params = ("stream",), FORMATS, DROPPED

    def __init__(self, place: Place) -> None:
        self.place = place

    def stream(self, model: str) -> Said:
        return trio.run(self._run, model)

    def use_tool(self, model: str) -> Said:
        return trio.run(self._run, model, True)

    async def _run(self, model: str, with_tool: bool = False) -> Said:
        from claude_agent_sdk import (
            ClaudeAgentOptions,
            ResultMessage,
            ToolResultBlock,
            UserMessage,
            create_sdk_mcp_server,
            query,
            tool,
        )

        @tool("get_weather", "Tell the weather somewhere.", {"text": str})
        async def get_weather(args: dict[str, Any]) -> dict[str, Any]:
            return {"content": [{"type": "text", "text": REPORT if args["text"] else ""}]}

        tools = {"tools": create_sdk_mcp_server("weather", tools=[get_weather])} if with_tool else {}
        options = ClaudeAgentOptions(
            tools=[], mcp_servers=tools, allowed_tools=["mcp__tools__get_weather"], cwd=self.place.home,
            env=settings(self.place, model), include_partial_messages=True,
        )  # fmt: skip
        results: list[str] = []
        with trio.fail_after(LONGEST_S):
            async for message in query(prompt=PROMPT, options=options):
                if isinstance(message, UserMessage):
                    results += [
                        item["text"]
                        for part in message.content
                        if isinstance(part, ToolResultBlock)
                        for item in part.content
                    ]
                if isinstance(message, ResultMessage):
                    last = message
        return said(last.result or "", last.stop_reason, is_error=last.is_error, results=tuple(results))


def said(text: str, reason: str | None, *, is_error: bool, results: tuple[str, ...]) -> Said:
    return Said(text, reason, text if is_error else None, results)
