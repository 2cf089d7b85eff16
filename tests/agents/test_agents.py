"""Agent frameworks, as they come, through the real server: text, streams, tools, and every line of docs/agents.md."""

from functools import partial

import attrs
import pytest
import trio

from ainf.config.schema import ModelConfig
from tests.agents import in_claude, in_codex, in_langchain, in_openai_agents, in_pydantic_ai
from tests.agents.agents import Agent, Place, Said, lacking, shown
from tests.agents.page import EVENTS, written
from tests.gateway.live import Live, live

AGENTS: tuple[type[Agent], ...] = (
    in_langchain.LangchainChat,
    in_langchain.LangchainResponses,
    in_langchain.LangchainMessages,
    in_langchain.LanggraphChat,
    in_langchain.LanggraphMessages,
    in_pydantic_ai.PydanticAiChat,
    in_pydantic_ai.PydanticAiResponses,
    in_pydantic_ai.PydanticAiMessages,
    in_openai_agents.OpenaiAgentsChat,
    in_openai_agents.OpenaiAgentsResponses,
    in_claude.ClaudeAgentSdk,
    in_claude.ClaudeCode,
    in_codex.Codex,
    in_codex.CodexOnce,
)
agents = pytest.mark.parametrize("agent", AGENTS, ids=lambda agent: agent.__name__)
pairs = pytest.mark.parametrize(
    ("agent", "format_"),
    [pytest.param(agent, each, id=f"{agent.__name__}-{each}") for agent in AGENTS for each in agent.formats],
)


def gateway(tmp_path, agent: type[Agent], model: str, settings: str = ""):
    """A gateway with a model that an agent can use; skipped where the agent is not installed."""
    if lack := lacking(agent):
        pytest.skip(lack)
    may_drop = ", ".join(f'"{name}"' for name in (*attrs.fields(ModelConfig).drop_params.default, *agent.drop_params))
    return live(tmp_path, model, more=f"{settings}\ndrop_params = [{may_drop}]")


def asks(here: Live) -> int:
    """How many requests came, admitted or not."""
    registry = here.running.gateway.services.telemetry.registry
    rejections = [sample.value for family in registry.collect() for sample in family.samples
                  if sample.name == "ainf_rejections_total"]  # fmt: skip
    return len(here.simulator.books.entries) + int(sum(rejections))


@pairs
async def test_text(tmp_path, home, agent, format_):
    """In each mode it has: the provider's text, asked for once, and billed by the provider's usage."""
    model = f"{format_}/sim-tokens-30"
    async with gateway(tmp_path, agent, model) as here:
        deeds = [getattr(agent(Place(here.url, here.key, home)), mode) for mode in agent.modes]
        answers: list[Said] = [await trio.to_thread.run_sync(deed, model) for deed in deeds]
        assert [len(answer.text) for answer in answers] == [120] * len(deeds)
        assert [answer.failure for answer in answers] == [None] * len(deeds)
        receipts = await here.receipts()
        assert [receipt["ending"] for receipt in receipts] == ["completed"] * len(deeds)
        assert {receipt["evidence"] for receipt in receipts} == {"reported"}
        assert [receipt["stream"] for receipt in receipts] == [mode == "stream" for mode in agent.modes]
        assert asks(here) == len(deeds)


@pairs
async def test_a_tool(tmp_path, home, agent, format_):
    """A call comes through whole, its result goes back to the provider, and the answer follows: two exchanges."""
    model = f"{format_}/sim-tools-tokens-9"
    async with gateway(tmp_path, agent, model) as here:
        answer: Said = await trio.to_thread.run_sync(agent(Place(here.url, here.key, home)).use_tool, model)
        assert (len(answer.text), answer.failure) == (36, None)
        (result,) = answer.tool_results
        _, second = here.simulator.books.entries
        assert result[:12].strip()
        assert result[:12].encode() in second.request_body
        assert [receipt["ending"] for receipt in await here.receipts()] == ["completed"] * 2
        assert asks(here) == 2


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.name)
@pairs
async def test_what_it_makes_of(tmp_path, home, agent, format_, event):
    """It is what docs/agents.md says; and each request that it made is settled once, for what it was."""
    model = f"{format_}/{event.behaviour}"
    async with gateway(tmp_path, agent, model, event.settings) as here:
        if event.cap_nusd is not None:
            await here.set_cap(event.cap_nusd)
        deed = partial(getattr(agent(Place(here.url, here.key, home)), agent.modes[-1]), model)
        words, message = await trio.to_thread.run_sync(shown, deed)
        if asks(here) > 1:
            words += f", asked {asks(here)} times"
        assert words == written()[agent.framework, agent.protocol][event.name], message
        receipts = await here.receipts()
        assert {receipt["ending"] for receipt in receipts} == ({event.ending} if event.ending else set())
        if event.cap_nusd is not None:
            assert sum(receipt["settled_nusd"] for receipt in receipts) <= event.cap_nusd


def test_the_page_has_a_row_for_each():
    """And none for anything else."""
    assert list(written()) == [(agent.framework, agent.protocol) for agent in AGENTS]
