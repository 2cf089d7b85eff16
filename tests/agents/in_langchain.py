"""LangChain's chat models by themselves, and inside a graph of LangGraph."""

from abc import ABC, abstractmethod
from typing import Any

from tests.agents.agents import ALL_FORMATS, BOTH_MODES, PROMPT, REPORT, Place, Said


def get_weather(text: str) -> str:
    """Tell the weather somewhere."""
    return REPORT if text else ""


class _Langchain(ABC):
    package = "langchain_core"
    modes, formats, drop_params = BOTH_MODES, ALL_FORMATS, ()

    def __init__(self, place: Place) -> None:
        self.place = place

    def whole(self, model: str) -> Said:
        return _said(self.model(model).invoke(PROMPT))

    def stream(self, model: str) -> Said:
        chunks = iter(self.model(model).stream(PROMPT))
        answer: Any = next(chunks)
        for chunk in chunks:
            answer += chunk
        return _said(answer)

    def use_tool(self, model: str) -> Said:
        from langchain_core.messages import HumanMessage, ToolMessage

        asking = self.model(model).bind_tools([get_weather])
        talk: list[Any] = [HumanMessage(PROMPT)]
        talk.append(asking.invoke(talk))
        talk += [ToolMessage(get_weather(**call["args"]), tool_call_id=call["id"]) for call in talk[-1].tool_calls]
        return _said(asking.invoke(talk), tuple(message.text for message in talk[2:]))

    @abstractmethod
    def model(self, model: str) -> Any:
        """Return the model of the protocol."""


class LangchainChat(_Langchain):
    framework, protocol, package = "langchain-openai", "chat", "langchain_openai"

    def model(self, model: str) -> Any:
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(base_url=f"{self.place.url}/v1", api_key=self.place.key, model=model)


class LangchainResponses(_Langchain):
    framework, protocol, package = "langchain-openai", "responses", "langchain_openai"

    def model(self, model: str) -> Any:
        from langchain_openai import ChatOpenAI

        return ChatOpenAI(
            base_url=f"{self.place.url}/v1", api_key=self.place.key, model=model, use_responses_api=True
        )  # fmt: skip


class LangchainMessages(_Langchain):
    framework, protocol, package = "langchain-anthropic", "messages", "langchain_anthropic"

    def model(self, model: str) -> Any:
        from langchain_anthropic import ChatAnthropic

        return ChatAnthropic(base_url=self.place.url, api_key=self.place.key, model=model)


class _Langgraph:
    """A graph of a model and its tools, as LangGraph's guide builds one."""

    package = "langgraph"
    modes, formats, drop_params = BOTH_MODES, ALL_FORMATS, ()
    langchain: type[_Langchain]

    def __init__(self, place: Place) -> None:
        self.place = place

    def whole(self, model: str) -> Said:
        return _said(self.graph(model).invoke(self._asked())["messages"][-1])

    def stream(self, model: str) -> Said:
        *_, state = self.graph(model).stream(self._asked(), stream_mode=["messages", "values"])
        return _said(state[1]["messages"][-1])

    def use_tool(self, model: str) -> Said:
        talk = self.graph(model).invoke(self._asked())["messages"]
        return _said(talk[-1], tuple(message.text for message in talk if message.type == "tool"))

    def graph(self, model: str) -> Any:
        from langgraph.graph import START, MessagesState, StateGraph
        from langgraph.prebuilt import ToolNode, tools_condition

        asking = self.langchain(self.place).model(model).bind_tools([get_weather])
        graph = StateGraph(MessagesState)
        graph.add_node("model", lambda state: {"messages": [asking.invoke(state["messages"])]})
        graph.add_node("tools", ToolNode([get_weather]))
        graph.add_edge(START, "model")
        graph.add_conditional_edges("model", tools_condition)
        graph.add_edge("tools", "model")
        return graph.compile()

    @staticmethod
    def _asked() -> dict[str, Any]:
        return {"messages": [{"role": "user", "content": PROMPT}]}


class LanggraphChat(_Langgraph):
    framework, protocol, langchain = "langgraph", "chat", LangchainChat


class LanggraphMessages(_Langgraph):
    framework, protocol, langchain = "langgraph", "messages", LangchainMessages


def _said(message: Any, results: tuple[str, ...] = ()) -> Said:
    about = message.response_metadata
    incomplete = about.get("incomplete_details") or {}
    reason = about.get("finish_reason") or about.get("stop_reason") or incomplete.get("reason") or about.get("status")
    return Said(message.text, reason, tool_results=results)
