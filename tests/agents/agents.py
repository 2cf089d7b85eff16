"""What every agent framework under test has in common: the deeds, what came of them, and which ones there are."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Final, Protocol

import attrs

PROMPT: Final = "What is the weather in Delft?"
REPORT: Final = "sunny, as ever"
"""What the tool gives."""

BOTH_MODES: Final = ("whole", "stream")
ALL_FORMATS: Final = ("chat", "messages", "responses", "gemini")

_OTHERS_SETTINGS: Final = ("ANTHROPIC_", "CLAUDE", "CODEX_", "LANGCHAIN_", "LANGGRAPH_", "LANGSMITH_", "OPENAI_")
_PROXIES: Final = frozenset({"http_proxy", "https_proxy", "all_proxy", "no_proxy"})


@attrs.frozen
class Said:
    """What a framework hands to its user as an answer."""

    text: str
    reason: str | None = None
    """Why the model stopped, if the framework tells."""
    failure: str | None = None
    """What it calls a failure that it hands over as an answer."""
    tool_results: tuple[str, ...] = ()
    """What its tools gave, as it hands it on to the model."""


@attrs.frozen
class Place:
    """Where an agent runs: its gateway, and a folder that is all that it can call home."""

    url: str
    key: str
    home: Path


class Agent(Protocol):
    """A framework and the protocol that it speaks. Deeds are done in a thread, and raise what the framework raises."""

    framework: ClassVar[str]
    protocol: ClassVar[str]
    package: ClassVar[str]
    """The module that it needs; or the command, for those of npm."""
    modes: ClassVar[tuple[str, ...]]
    """The methods by which it asks, the one that streams last: ``("whole", "stream")``, or only ``stream``."""
    formats: ClassVar[tuple[str, ...]]
    """The provider formats that can take what it says."""
    drop_params: ClassVar[tuple[str, ...]]
    """What it says that no other format can: left out by the operator's leave."""

    def __init__(self, place: Place) -> None: ...

    def stream(self, model: str) -> Said:
        """Ask, and take the answer as it comes."""
        ...

    def use_tool(self, model: str) -> Said:
        """Ask with a tool, answer the model's call, and take what it says then."""
        ...


def hermetic_environment(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return an environment in which no setting of the person who runs the tests reaches a framework."""
    ours = {
        name: value
        for name, value in environment.items()
        if not name.upper().startswith(_OTHERS_SETTINGS) and name.lower() not in _PROXIES
    }
    return ours | {
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / ".config"),
        "LANGSMITH_TRACING": "false",
        "OPENAI_AGENTS_DISABLE_TRACING": "1",
    }


def command(name: str) -> str | None:
    """Return the path of a command that npm installed beside this Python, or anywhere on the path."""
    beside = Path(sys.prefix) / "node_modules" / ".bin"
    return shutil.which(name, path=os.pathsep.join((str(beside), os.environ.get("PATH", os.defpath))))


def lacking(agent: type[Agent]) -> str | None:
    """Return what an agent needs and how to get it; None where it is there."""
    module, _, is_command = agent.package.partition(" ")
    if is_command:
        if command(module) is None:
            return f"the command {module} is not there: `make agents` installs it where npm is"
    elif importlib.util.find_spec(module) is None:
        return f"{module} is not installed: `make agents` does, or `pip install -e '.[agents]'`"
    return None


def shown(deed: Callable[[], Said]) -> tuple[str, str]:
    """Return what came of a deed in the words of docs/agents.md, and the message with it if it failed."""
    try:
        said = deed()
    except Exception as error:  # noqa: BLE001 - whatever a framework raises is what is to be shown
        return f"raises `{type(error).__name__}`", str(error)
    if said.failure is not None:
        return "error", said.failure
    words = "answer" if said.text else "empty answer"
    return (f"{words}, `{said.reason}`" if said.reason is not None else words), ""
