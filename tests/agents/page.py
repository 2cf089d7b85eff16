"""docs/agents.md: the table that the tests read."""

from pathlib import Path
from typing import Final

import attrs

PAGE: Final = Path(__file__).parent.parent.parent / "docs" / "agents.md"

_CAP: Final = "sim-tokens-500-unlimited-pace-1ms"
_FREE_INPUT: Final = '{ input = "0", cached_input = "0", cache_write = "0", long_cache_write = "0", output = "2.00" }'
"""Prompts of frameworks differ by thousands of tokens: only output uses up a cap here."""


@attrs.frozen
class Event:
    """Something that an agent has to make something of, and how it is brought about."""

    name: str
    """The column of the page."""
    behaviour: str
    ending: str | None
    """Of every exchange; None where none is opened."""
    settings: str = ""
    """Of the model."""
    cap_nusd: int | None = None


def _cap(mode: str) -> Event:
    settings = f'finish_reasons = "{mode}"\nprice = {_FREE_INPUT}\nslice_tokens = 8\nmin_output_tokens = 4'
    return Event(f"cap, {mode}", _CAP, "spend_cap_exceeded", settings, cap_nusd=200_000)


EVENTS: Final = (
    *map(_cap, ("extended", "strict", "loud")),
    Event("the provider breaks off", "sim-tokens-30-reset-after-5", "upstream_error"),
    Event("402", "sim-tokens-30", None, cap_nusd=1),
    Event("402 as 429", "sim-tokens-30", None, 'money_refusal = "429"', cap_nusd=1),
)


def written() -> dict[tuple[str, str], dict[str, str]]:
    """Return the table: framework and protocol -> event -> what the framework makes of it."""
    rows = [
        [cell.strip() for cell in line.strip("|\n").split("|")]
        for line in PAGE.read_text().splitlines()
        if line.startswith("| ") and line.count("|") == len(EVENTS) + 3
    ]
    names, *rows = rows
    return {(framework, protocol): dict(zip(names[2:], cells, strict=True)) for framework, protocol, *cells in rows}
