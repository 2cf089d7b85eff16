"""What the SDKs make of every ending: the table behind docs/clients.md.

``test_live_typed.py`` runs every cell against a gateway and holds it against what stands here;
``python -m tests.gateway.clients`` writes the page from it.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import attrs

from tests.gateway.client_helpers import SDKS, Helper, Sdk

PAGE: Final = Path(__file__).parents[2] / "docs" / "clients.md"

PAIRS: Final = {"chat": ("chat", "gemini"), "responses": ("responses", "messages"), "messages": ("messages", "chat")}
"""Protocol -> the provider formats that it is asked of: the one that is relayed, and one that is translated."""


@attrs.frozen
class Ending:
    """One row: an ending, and how a provider or the gateway is brought to it."""

    name: str
    title: str
    model: str = "sim-tokens-30"
    mode: str = "extended"
    """The key's ``finish_reasons``."""
    is_ours: bool = True
    """A failure that the gateway tells, not an end of the provider's own."""
    pairs: tuple[int, ...] = (0, 1)
    """For which of its protocol's formats it is a row."""

    @property
    def is_cap(self) -> bool:
        return self.name.startswith("cap_")


ENDINGS: Final = (
    Ending("completed", "completed", is_ours=False),
    Ending("length", "the request's own limit", is_ours=False),
    Ending("content_filter", "content filter", "sim-tokens-30-finish-content_filter", is_ours=False),
    Ending("refusal", "refusal", "sim-tokens-30-refusal", is_ours=False, pairs=(0,)),
    Ending("refusal_translated", "refusal, translated from `{format}`", "sim-tokens-30-refusal", is_ours=False,
           pairs=(1,)),
    Ending("cap_extended", "spend cap `extended`", "sim-tokens-500"),
    Ending("cap_strict", "spend cap `strict`", "sim-tokens-500", "strict"),
    Ending("cap_loud", "spend cap `loud`", "sim-tokens-500", "loud"),
    Ending("error_first", "upstream error before the head", "sim-error-500"),
    Ending("error", "upstream error", "sim-tokens-30-error-after-5", pairs=(0,)),
    Ending("error_translated", "upstream error, translated from `{format}`", "sim-tokens-30-error-after-5", pairs=(1,)),
    Ending("truncated", "upstream truncated", "sim-tokens-30-eof-after-5"),
    Ending("deadline", "deadline", "sim-tokens-30-stall-after-5"),
    Ending("shutdown", "shutdown", "sim-tokens-30-stall-after-5"),
    Ending("lost", "the connection is lost", "sim-tokens-30-stall-after-5"),
)  # fmt: skip

BREAKING: Final = ("shutdown", "lost")
"""Endings that the whole gateway comes to."""

_INVALID = "raises `ValidationError`"
_LENGTH, _FILTER = "raises `LengthFinishReasonError`", "raises `ContentFilterFinishReasonError`"
_INCOMPLETE = "raises `RuntimeError`"

Words = tuple[str, ...]


def _failed(status: str, code: str, in_stream: Words) -> Words:
    """A failure by its code: two helpers meet it before the head; ``in_stream`` is what the others make of it."""
    return (f"raises `{status}`: `{code}`",) * 2 + in_stream


def _chat(code: str, status: str = "InternalServerError") -> Words:
    return _failed(status, code, (f"raises `APIError`: `{code}`",) * 3)


def _responses(code: str, status: str = "InternalServerError") -> Words:
    return _failed(status, code, (f"`failed`: `{code}`", _INCOMPLETE, _INVALID))


def _messages(code: str, status: str) -> Words:
    whole = f"raises `{status}`: `{code}`"
    return (whole,) * 3 + (f"raises `APIStatusError`: `{code}`",) * 4 + (_INVALID,)


EXPECTED: Final[Mapping[str, Mapping[str, Words]]] = {
    "chat": {
        "completed": ("`stop`", "`stop`, parsed", "`stop`", "`stop`", "`stop`, parsed"),
        "length": ("`length`", _LENGTH, "`length`", _LENGTH, _LENGTH),
        "content_filter": ("`content_filter`", _FILTER, "`content_filter`", _FILTER, _FILTER),
        "refusal": ("`stop`", "`stop`, `None`", "`stop`", "`stop`", "`stop`, `None`"),
        "refusal_translated": ("`content_filter`", _FILTER, "`content_filter`", _FILTER, _FILTER),
        "cap_extended": ("`spend_cap_exceeded`", _INVALID, "`spend_cap_exceeded`", "`spend_cap_exceeded`", _INVALID),
        "cap_strict": ("`length`", _LENGTH, "`length`", _LENGTH, _LENGTH),
        "cap_loud": ("`spend_cap_exceeded`", _INVALID, *["raises `APIError`: `spend_cap_exceeded`"] * 3),
        "error_first": ("raises `InternalServerError`: `upstream_error`",) * 5,
        "error": _chat("upstream_overloaded"),
        "error_translated": _chat("upstream_overloaded"),
        "truncated": _chat("upstream_truncated"),
        "deadline": _chat("deadline_exceeded"),
        "shutdown": _chat("shutting_down"),
        "lost": ("raises `APIConnectionError`",) * 5,
    },
    "responses": {
        "completed": ("`completed`", "`completed`, parsed", "`completed`", "`completed`", "`completed`, parsed"),
        "length": ("`max_output_tokens`", _INVALID, "`max_output_tokens`", _INCOMPLETE, _INVALID),
        "content_filter": ("`content_filter`", "`content_filter`, parsed", "`content_filter`", *[_INCOMPLETE] * 2),
        "refusal": ("`completed`", "`completed`, `None`", "`completed`", "`completed`", "`completed`, `None`"),
        "refusal_translated": ("`content_filter`", "`content_filter`, parsed", "`content_filter`", *[_INCOMPLETE] * 2),
        "cap_extended": ("`spend_cap_exceeded`", _INVALID, "`spend_cap_exceeded`", _INCOMPLETE, _INVALID),
        "cap_strict": ("`max_output_tokens`", _INVALID, "`max_output_tokens`", _INCOMPLETE, _INVALID),
        "cap_loud": ("`failed`: `insufficient_quota`", _INVALID, "`failed`: `insufficient_quota`", _INCOMPLETE,
                     _INVALID),
        "error_first": ("raises `InternalServerError`: `upstream_error`",) * 5,
        "error": _responses("upstream_error"),  # its in-band error says no more than "server_error"
        "error_translated": _responses("upstream_overloaded"),
        "truncated": _responses("upstream_truncated"),
        "deadline": _responses("deadline_exceeded"),
        "shutdown": _responses("shutting_down"),
        "lost": ("raises `APIConnectionError`",) * 5,
    },
    "messages": {
        "completed": ("`end_turn`", "`end_turn`, parsed", *["`end_turn`"] * 3, *["the text"] * 2,
                      "`end_turn`, parsed"),
        "length": ("`max_tokens`", _INVALID, *["`max_tokens`"] * 3, *["the text"] * 2, _INVALID),
        "content_filter": ("`refusal`", "`refusal`, parsed", *["`refusal`"] * 3, *["the text"] * 2,
                           "`refusal`, parsed"),
        "refusal": ("`refusal`", "`refusal`, parsed", *["`refusal`"] * 3, *["the text"] * 2, "`refusal`, parsed"),
        "refusal_translated": ("`refusal`", "`refusal`, parsed", *["`refusal`"] * 3, *["the text"] * 2,
                               "`refusal`, parsed"),
        "cap_extended": ("`spend_cap_exceeded`", _INVALID, *["`spend_cap_exceeded`"] * 3, *["the text"] * 2, _INVALID),
        "cap_strict": ("`max_tokens`", _INVALID, *["`max_tokens`"] * 3, *["the text"] * 2, _INVALID),
        "cap_loud": ("`spend_cap_exceeded`", _INVALID, "`spend_cap_exceeded`",
                     *["raises `APIStatusError`: `spend_cap_exceeded`"] * 4, _INVALID),
        "error_first": ("raises `InternalServerError`: `upstream_error`",) * 8,
        "error": _messages("upstream_overloaded", "ServiceUnavailableError"),
        "error_translated": _messages("upstream_overloaded", "ServiceUnavailableError"),
        "truncated": _messages("upstream_truncated", "InternalServerError"),
        "deadline": _messages("deadline_exceeded", "GatewayTimeoutError"),
        "shutdown": _messages("shutting_down", "ServiceUnavailableError"),
        "lost": (*["raises `APIConnectionError`"] * 3, *["raises `ReadError`"] * 5),
    },
}  # fmt: skip

PLACES: Final[Mapping[str, Mapping[str, str]]] = {
    "openai, a status": {
        "code": "error.code", "inference id": "error.request_id", "billed": 'error.body["billed"]',
        "verdict on retries": 'error.response.headers["x-should-retry"]',
    },
    "openai, in a stream": {
        "code": "error.code", "inference id": 'error.body["inference_id"]', "billed": 'error.body["billed"]',
        "verdict on retries": 'error.body["retryable"]',
    },
    "openai, `response.failed`": {
        "code": "response.error.code", "inference id": "response.error.inference_id",
        "billed": "response.error.billed", "verdict on retries": "response.error.retryable",
    },
    "anthropic, a status": {
        "code": 'error.body["error"]["code"]', "inference id": 'error.body["error"]["inference_id"]',
        "billed": 'error.body["error"]["billed"]',
        "verdict on retries": 'error.response.headers["x-should-retry"]',
    },
    "anthropic, in a stream": {
        "code": 'error.body["error"]["code"]', "inference id": 'error.body["error"]["inference_id"]',
        "billed": 'error.body["error"]["billed"]', "verdict on retries": 'error.body["error"]["retryable"]',
    },
}  # fmt: skip
"""Where a failure was met -> what is to be known of it -> the expression that has it, of ``error`` or ``response``."""


@attrs.frozen
class Retried:
    """A failure that an SDK with its default of two retries may ask again after."""

    title: str
    requests: int
    """How many come, with the first."""
    model: str = "sim"
    stream: bool = False
    money_refusal: str = ""
    """... with an account that has no money; how it is told."""
    draining: bool = False
    headers: Mapping[str, str] = attrs.field(factory=dict)


RETRIED: Final = (
    Retried("402 `spend_cap_exceeded`", 1, money_refusal="402"),
    Retried('429 `insufficient_quota` (`money_refusal = "429"`)', 1, money_refusal="429"),
    Retried("400 of the provider", 1, "sim-error-400"),
    Retried("502 `upstream_auth`", 1, "sim-error-401"),
    Retried("503 `upstream_overloaded`: the provider's 429", 3, "sim-error-429-retry-after-1"),
    Retried("502 `upstream_error`: the provider's 500", 3, "sim-error-500"),
    Retried("502 `upstream_unreachable`: reset before the head", 3, "sim-reset-before-head"),
    Retried("503 `shutting_down`, not begun", 3, draining=True),
    Retried("502 `upstream_truncated`, billed", 1, "sim-tokens-30-eof-after-5"),
    Retried("504 `deadline_exceeded`, billed", 1, "sim-stall-after-5", headers={"x-ainf-deadline-ms": "500"}),
    Retried("any failure in a stream", 1, "sim-tokens-30-error-after-5", stream=True),
)

_HEAD: Final = """# What the SDKs make of every ending

Made by `python -m tests.gateway.clients`, checked by `tests/gateway/test_live_typed.py`: the unmodified OpenAI SDK
(3.54) and Anthropic SDK (2.12) against a gateway on a socket. A row holds for a provider of the protocol's own format
and for one that is translated. "Parsed" is an object of the type asked for, `None` is none. **Bold** is what looks like
a whole answer and is not. A cut leaves the text invalid JSON here; where it happens to leave valid JSON, a helper that
raises `ValidationError` returns a parsed object instead.
"""

_PROSE: Final = {
    "chat": """## OpenAI SDK, chat completions

Under `strict` the `parse` and `stream` helpers raise, as at any length limit; `loud` gives all streams an exception
with our code. A whole `create` never raises at a cap: read `finish_reason`.
""",
    "responses": """## OpenAI SDK, responses

The SDK raises nothing of its own at `response.failed` and `response.incomplete`: a loop over events must look at the
last one's type, `create` at `status`. `RuntimeError` is "Didn't receive a `response.completed` event", whatever came.
""",
    "messages": """## Anthropic SDK

It passes any stop reason on, and `text_stream` and `get_final_text` show none: at a cap only `loud` makes them raise.
By default `tool_runner` has the provider store a thread, which is refused by name: give it `thread=False`.
""",
}

_TYPED: Final = """A typed stream (`text_format`, `output_format`) parses a text as soon as it ends, and what is open is
ended before the last frame: where an answer is cut it raises `ValidationError` before it reads our error, and only the
receipt (`x-ainf-audit-url`) has the code.
"""


def expected(sdk: Sdk, ending: Ending) -> Words:
    """What the helpers of an SDK make of an ending, in their order."""
    words = EXPECTED[sdk.protocol][ending.name]
    assert len(words) == len(sdk.helpers), ending.name
    return words


def looks_whole(ending: Ending, helper: Helper, word: str) -> bool:
    """Whether what a helper returned looks like a whole answer, and is none."""
    if ending.name == "completed" or word.startswith("raises"):
        return False
    is_normal = word.strip("`").partition("`")[0] in {"stop", "end_turn", "completed"} and not word.endswith("`None`")
    return is_normal or not helper.tells_reason or word.endswith(", parsed")


def document() -> str:
    """The page."""
    lines = [_HEAD]
    for sdk in SDKS:
        lines += [_PROSE[sdk.protocol], *_endings(sdk), ""]
    lines += [_TYPED, "## Failures without an exception", "", *_unraised(), ""]
    lines += ["## Where a failure says what", "", *_places(), ""]
    lines += ["## What is asked again", "", *_retries()]
    return "\n".join(lines) + "\n"


def _endings(sdk: Sdk) -> Iterator[str]:
    columns: dict[Words, list[str]] = {}
    for number, helper in enumerate(sdk.helpers):
        column = tuple(_shown(sdk, ending, number) for ending in ENDINGS)
        columns.setdefault(column, []).append(helper.title)
    yield f"| ending | {' | '.join('; '.join(titles) for titles in columns.values())} |"
    yield "|---" * (len(columns) + 1) + "|"
    for row, ending in enumerate(ENDINGS):
        yield f"| {_title(sdk, ending)} | {' | '.join(column[row] for column in columns)} |"


def _title(sdk: Sdk, ending: Ending) -> str:
    return ending.title.format(format=PAIRS[sdk.protocol][1])


def _shown(sdk: Sdk, ending: Ending, number: int) -> str:
    word = expected(sdk, ending)[number]
    return f"**{word}**" if looks_whole(ending, sdk.helpers[number], word) else word


def _unraised() -> Iterator[str]:
    """Yield the table of our own failures that a helper returns from; what is alike shares a row."""
    yield "| SDK | helper | ending | all that tells | at a cap it raises under |"
    yield "|---|---|---|---|---|"
    for sdk in SDKS:
        rows: dict[tuple[str, str, str], list[str]] = {}
        for number, helper in enumerate(sdk.helpers):
            endings: dict[str, list[str]] = {}
            for ending in ENDINGS:
                word = expected(sdk, ending)[number]
                if ending.is_ours and not word.startswith("raises"):
                    tells = word.partition(":")[0] if helper.tells_reason else "nothing"
                    endings.setdefault(tells, []).append(_title(sdk, ending))
            for tells, titles in endings.items():
                rows.setdefault(("; ".join(titles), tells, _raising(sdk, number)), []).append(helper.title)
        for (titles, tells, modes), helpers in rows.items():
            yield f"| {sdk.protocol} | {'; '.join(helpers)} | {titles} | {tells} | {modes} |"


def _raising(sdk: Sdk, number: int) -> str:
    """The modes under which a helper raises at a cap."""
    modes = [
        f"`{ending.mode}`" for ending in ENDINGS if ending.is_cap and expected(sdk, ending)[number].startswith("raises")
    ]
    return ", ".join(modes) or "none"


def _places() -> Iterator[str]:
    wanted = list(next(iter(PLACES.values())))
    yield f"| | {' | '.join(wanted)} |"
    yield "|---" * (len(wanted) + 1) + "|"
    for title, places in PLACES.items():
        yield f"| {title} | {' | '.join(f'`{places[name]}`' for name in wanted)} |"


def _retries() -> Iterator[str]:
    yield "Both SDKs obey `x-should-retry`. Requests that come, with the default of two retries:"
    yield ""
    yield "| failure | requests |"
    yield "|---|---|"
    for retried in RETRIED:
        yield f"| {retried.title} | {retried.requests} |"
    yield "| the connection is lost before the head (no header can say anything) | 3 |"


if __name__ == "__main__":
    sys.stdout.write(f"writing {PAGE}\n")
    PAGE.write_text(document())
