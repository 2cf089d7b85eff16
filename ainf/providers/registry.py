"""The vendors that a provider may be configured as, by name."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ainf.providers.anthropic import ANTHROPIC
from ainf.providers.base import Provider
from ainf.providers.gemini import GEMINI
from ainf.providers.groq import GROQ
from ainf.providers.mistral import MISTRAL
from ainf.providers.ollama import OLLAMA
from ainf.providers.openai import OPENAI
from ainf.providers.openai_compatible import OPENAI_COMPATIBLE
from ainf.providers.openai_responses import OPENAI_RESPONSES
from ainf.providers.openrouter import OPENROUTER
from ainf.providers.together import TOGETHER
from ainf.providers.vllm import VLLM
from ainf.providers.xai import XAI

_ALL: Final[tuple[Provider, ...]] = (
    OPENAI,
    OPENAI_RESPONSES,
    ANTHROPIC,
    GEMINI,
    MISTRAL,
    XAI,
    TOGETHER,
    GROQ,
    OPENROUTER,
    VLLM,
    OLLAMA,
    OPENAI_COMPATIBLE,
)

PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType({provider.name: provider for provider in _ALL})


def document() -> str:
    """Return the table of what is declared of every vendor, as Markdown (docs/providers.md)."""
    head = [
        "| vendor | speaks | base URL | key | streams | tools | tells usage | an aborted stream is billed as "
        "| reasoning that is not shown | output limit |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    return "\n".join([*head, *map(_row, PROVIDERS.values())])


def _row(provider: Provider) -> str:
    facts = provider.facts
    cells = [
        f"`{provider.name}`",
        ", ".join(provider.formats.values()),
        "each its own" if facts.base_url is None else f"`{facts.base_url}`",
        "required" if facts.needs_key else "if it wants one",
        _yes(facts.streams),
        _yes(facts.tools),
        _yes(facts.reports_usage),
        facts.aborted_billing,
        facts.hidden_reasoning,
        f"`{facts.max_tokens_field}`" if "chat" in provider.formats.values() else "the format's own",
    ]
    return f"| {' | '.join(cells)} |"


def _yes(fact: bool) -> str:  # noqa: FBT001 - the fact is the argument
    return "yes" if fact else "no"
