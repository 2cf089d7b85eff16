"""What clients do at each of the gateway's signals: the tables behind docs/signals.md.

``test_live_signals.py`` runs every cell of the SDKs against a gateway and holds it against what stands here;
``python -m tests.gateway.signals`` writes the page from it, with the agent frameworks' rows as ``docs/agents.md`` has
them.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs

from tests.agents.page import EVENTS, written
from tests.gateway.client_helpers import RAW, SDKS, Helper, Sdk
from tests.gateway.clients import ENDINGS, Ending, expected

PAGE: Final = Path(__file__).parents[2] / "docs" / "signals.md"

CLIENTS: Final = (*SDKS, RAW)
TITLES: Final = {
    "chat": "OpenAI SDK, chat completions",
    "responses": "OpenAI SDK, responses",
    "messages": "Anthropic SDK",
    "httpx": "No SDK: httpx over chat completions",
}


@attrs.frozen
class Refusal:
    """A request that is not admitted."""

    name: str
    title: str
    raises: Mapping[str, str]
    """Protocol -> the class of the exception."""
    requests: int = 1
    """How many an SDK sends, with its default of two retries; a client without an SDK sends one."""
    code: str = ""


def _raises(openai: str, anthropic: str) -> Mapping[str, str]:
    return {"chat": openai, "responses": openai, "messages": anthropic, "httpx": "HTTPStatusError"}


REFUSALS: Final = (
    Refusal("402", "402 `spend_cap_exceeded`, `insufficient_funds`", _raises("APIStatusError", "PaymentRequiredError")),
    Refusal("429", '429 `insufficient_quota` (`money_refusal = "429"`)', _raises("RateLimitError", "RateLimitError")),
    Refusal("409", "409 `idempotency_in_progress`", _raises("ConflictError", "ConflictError"), 3),
    Refusal("422", "422 `idempotency_mismatch`", _raises("UnprocessableEntityError", "UnprocessableEntityError")),
)
RATE_LIMITED: Final = "429 `rate_limited`, `retry-after: 60`"
"""A refusal that is over when the client has waited as long as it was told."""

SHOWN: Final = tuple(
    ending for ending in ENDINGS if ending.name in {"cap_extended", "cap_strict", "cap_loud", "error", "completed"}
)
"""The endings of a request that was admitted; each SDK's protocol is relayed."""

_RAW_WORDS: Final = {
    "completed": ("`stop`", "`stop`"),
    "cap_extended": ("`spend_cap_exceeded`", "`spend_cap_exceeded`"),
    "cap_strict": ("`length`", "`length`"),
    "cap_loud": ("`spend_cap_exceeded`", "`spend_cap_exceeded`"),
    "error": ("raises `HTTPStatusError`", "`error`"),
}


@attrs.frozen
class Seen:
    """What a client made of a signal."""

    requests: int
    text: str
    """What its user has in hand: "no text", "a part", "all"."""
    word: str
    """What it returned or raised."""

    def __str__(self) -> str:
        times = {1: "", 2: "asked twice, "}.get(self.requests, f"asked {self.requests} times, ")
        return f"{times}{self.text}, {self.word}"


def at_refusal(client: Sdk, refusal: Refusal) -> Seen:
    """What every helper of a client makes of a refusal."""
    asked = 1 if client is RAW else refusal.requests
    return Seen(asked, "no text", f"raises `{refusal.raises[client.protocol]}`")


def at_rate_limit(client: Sdk, number: int) -> Seen:
    """What a helper makes of a rate limit that is over when it has waited as long as it was told."""
    if client is RAW:
        return Seen(1, "no text", "raises `HTTPStatusError`")
    return attrs.evolve(at_ending(client, number, ENDINGS[0]), requests=2)


def at_ending(client: Sdk, number: int, ending: Ending) -> Seen:
    """What a helper makes of an ending."""
    word = (_RAW_WORDS[ending.name] if client is RAW else expected(client, ending))[number].partition(":")[0]
    if ending.name == "completed":
        return Seen(1, "all", word)
    has_text = client.helpers[number].hands_over or not word.startswith("raises")
    return Seen(1, "a part" if has_text else "no text", word)


_HEAD: Final = """# What clients do at each signal

Made by `python -m tests.gateway.signals`, checked by `tests/gateway/test_live_signals.py`: the unmodified OpenAI SDK
(3.54) and Anthropic SDK (2.12), with their default of two retries, against a gateway on a socket. A cell says how often
the question was asked over HTTP (once, where it does not say), how much of the answer's text its user has in hand, and
what is returned (the reason of the end) or raised. [clients.md](clients.md) has every other ending.

What it comes to:

- **A refusal for money is asked once** by every SDK, whichever status it has, since they obey `x-should-retry: false`
  before they look at the status. Frameworks that look at the status alone differ (below): for them there is
  `money_refusal`, of the key or the model.
- **A client that obeys nothing** and asks again after each refusal for money meets its key's `requests_per_minute`:
  402, 402, ..., then 429 `rate_limited` with a `retry-after`; no provider is called.
- **A rate limit is waited for.** `retry-after` is a whole number of seconds, at most 60, for SDKs obey no longer ones.
- **A cap in a stream is no exception** in any SDK but under `loud`: whoever reads text alone (`text_stream`,
  `delta.content`) takes the part for the whole. `strict` is for typed clients; `loud` for those that show no reason.
- **What was billed is never asked again** by an SDK; a failure in a stream never is.
"""

_REFUSED: Final = """## Refused: nothing was admitted, nothing billed

All ways to ask that an SDK has do the same.
"""

_COST: Final = """## Cost in the answer

For a key with `inject_cost` the usage that is told last has a member more, `cost`: what the client is charged, in US
dollars, as an exact number of at most nine decimals; the same as `settled` and `overrun` on the receipt together.

| client | whole | streamed |
|---|---|---|
| OpenAI SDK, chat | `answer.usage` | `chunk.usage` of the last chunk, where `stream_options` asks for usage |
| OpenAI SDK, responses | `response.usage` | `event.response.usage` of the last event |
| OpenAI SDK, embeddings | `answer.usage` | |
| Anthropic SDK | `message.usage` | `event.usage` of `message_delta` |

The types of the SDKs do not know it: it is read as `usage.model_extra["cost"]`, a float; the messages that the
Anthropic SDK puts together of a stream leave it out. A chat stream that was not asked for usage, and an answer in which
the provider tells none, tell no cost; the receipt does.
"""

_AGENTS: Final = """## Agent frameworks

As measured by `make agents`, with the versions in [agents.md](agents.md), which also says what follows for each.
"""


def document() -> str:
    """The page."""
    lines = [_HEAD, _REFUSED, *_refusals(), ""]
    for client in CLIENTS:
        lines += [f"## {TITLES[client.protocol]}", "", *_endings(client), ""]
    lines += [_COST, _AGENTS, *_agents()]
    return "\n".join(lines) + "\n"


def _refusals() -> Iterator[str]:
    yield f"| client | {' | '.join(refusal.title for refusal in REFUSALS)} |"
    yield "|---" * (len(REFUSALS) + 1) + "|"
    for client in CLIENTS:
        cells = [str(at_refusal(client, refusal)) for refusal in REFUSALS]
        yield f"| {TITLES[client.protocol]} | {' | '.join(cells)} |"


def _endings(client: Sdk) -> Iterator[str]:
    """Yield what a client makes of a rate limit and of the endings; helpers that do alike share a row."""
    rest = [ending for ending in SHOWN if ending.name != "completed"]
    yield f"| asked by | {RATE_LIMITED} | {' | '.join(ending.title for ending in rest)} |"
    yield "|---" * (len(rest) + 2) + "|"
    rows: dict[tuple[str, ...], list[Helper]] = {}
    for number, helper in enumerate(client.helpers):
        cells = (at_rate_limit(client, number), *(at_ending(client, number, ending) for ending in rest))
        rows.setdefault(tuple(map(str, cells)), []).append(helper)
    for cells, helpers in rows.items():
        yield f"| {'; '.join(helper.title for helper in helpers)} | {' | '.join(cells)} |"


def _agents() -> Iterator[str]:
    names = [event.name for event in EVENTS]
    yield f"| framework | protocol | {' | '.join(names)} |"
    yield "|---" * (len(names) + 2) + "|"
    for (framework, protocol), cells in written().items():
        yield f"| {framework} | {protocol} | {' | '.join(cells[name] for name in names)} |"


if __name__ == "__main__":
    PAGE.write_text(document())
    sys.stdout.write(f"{PAGE.relative_to(Path.cwd())} is written\n")
