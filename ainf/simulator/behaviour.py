"""What a model's name asks the simulator to do.

A name is ``sim`` and any options after it, joined by ``-`` or ``+``: ``sim``, ``sim-tokens-500-pace-20ms``,
``sim-tools+reset-after-3``. Unknown words make the model unknown (404). N is a number, T a time such as ``20ms``,
``1.5s`` or ``2`` (seconds).

What is said
    ``tokens-N``                N output tokens (default 20); of each tool call's arguments, with tools
    ``per-frame-N``             N tokens in a content frame (default 1)
    ``text-english`` ``text-chinese`` ``text-code`` ``text-json`` ``text-mixed`` (one of them in each answer)
                                text and reasoning are real, with a real tokenizer's tokens (tool calls are not)
    ``passage-N``               ... from the beginning of passage N on (default: any, and anywhere in it)
    ``evens`` ``odds``          ... of only every other passage, from the first, from the second
    ``tools``                   calls the first tool of the request, arguments split token by token
    ``parallel-tools``          calls two tools (the first two, or the first one twice)
    ``reasoning-N``             N visible reasoning tokens before the text (chat: as ``reasoning_content``)
    ``raw-reasoning``           ... shown as it is, not as a summary (responses; the others know no difference)
    ``hidden-reasoning-N``      N reasoning tokens that are billed, not shown
    ``signature``               reasoning carries its opaque data also where it would not (see below)
    ``refusal``                 the text is a refusal
    ``blocked``                 nothing is said, for the prompt is blocked: a finish of ``content_filter``
    ``finish-WORD``             WORD as finish reason, in the words of chat; others come as they are
    ``cached-N``                N of the input tokens are reported as cached (at most all of them)
    ``cache-write-N`` ``cache-write-1h-N``
                                N as written to a cache for the usual time, for longer (Gemini does not tell)
    ``unlimited``               ignores the request's token limit
    ``endless``                 tokens for ever, past any limit (a JSON answer: four times the limit)
When
    ``delay-T``                 waits before the head
    ``pace-T``                  waits before each token
    ``bills-on``                a client that leaves does not stop the model: the answer is made, and billed, to its end
    ``burst``                   everything between two waits is one write (without pace: the whole answer)
    ``drip`` ``drip-every-T``   every byte is a write of its own
Usage (default: the format's habit, see below; a JSON answer always)
    ``no-usage`` ``usage-always`` ``usage-continuous`` (on every chunk) ``usage-in-finish`` (asked or not, in the
    finish chunk) ``usage-twice``, and lies: ``usage-negative`` ``usage-huge`` (over 64 bits) ``usage-float``
    ``usage-string`` ``usage-absurd`` (a billion too many) ``usage-null`` ``usage-bool`` ``usage-list`` ``usage-zero``
    ``usage-nan``
Errors
    ``error-N``                 status N with the format's error body, before anything else; 429 has ``retry-after: 2``
    ``overloaded``              the format's own status for it (503; messages 529)
    ``html``                    ... with a body of HTML that holds a trace and a host name
    ``error-list``              ... with the body in a JSON list, as Gemini may send it
    ``retry-after-WORD``        ... with this ``retry-after``
    ``redirect-N``              status N with a ``location``
    ``no-tools`` ``no-stream``  status 400 to a request with tools, to one for a stream
Endings that break off, at a point: ``before-head``, ``after-head``, ``after-N`` (tokens, or before the finish if there
are fewer; halfway the body of a JSON answer), ``after-finish``, ``after-usage``
    ``reset-POINT`` ``close-POINT`` (the framing unfinished) ``stall-POINT`` (until the client leaves)
    ``eof-POINT`` (a well-framed end, too early; not before the head)
    ``cut-chunk-after-N`` ``cut-json-after-N`` (ends inside an HTTP chunk; inside a frame)
    ``stall-mid-after-N`` (half a frame, then nothing)
    ``error-first`` ``error-after-N`` ``error-string-after-N`` ``error-event-after-N``
                                an error in the stream: an object, a string, a named event; then its end
    ``cut-length``              a content-length longer than the body
Bytes that are odd but right
    ``comments`` ``pings`` ``crlf`` ``multi-data`` (a JSON object over several data lines) ``unknown-fields``
    ``finish-with-content`` (content and finish in one chunk) ``no-done``
Bytes that are wrong
    ``broken-json-N``           N broken frames after the first token; they say nothing that was produced
    ``invalid-utf8`` ``done-only`` ([DONE], no finish) ``two-finishes`` ``content-after-finish`` ``data-after-done``
    ``endless-comments`` ``endless-line`` (after the first token, for ever)
    ``json-for-sse`` ``sse-for-json`` ``ndjson`` ``gzip`` (although identity was asked) ``type-json`` ``type-text``
    ``type-html`` ``no-type`` (a wrong content-type, or none)
Whole answers that are no answer
    ``not-http`` ``bad-status-line`` ``tls-bytes`` ``html-200`` ``binary-200`` ``empty-200`` ``empty-stream``
    ``status-204`` ``two-lengths`` ``huge-header``
How the formats differ
    chat: usage at the end and only if ``stream_options.include_usage`` asks; with ``signature`` reasoning carries
    ``reasoning_details`` as OpenRouter's does.
    messages: usage of the input in ``message_start``, all of it in ``message_delta``; ``message_stop`` is its
    ``[DONE]``; visible reasoning is always signed, hidden reasoning is a ``redacted_thinking`` block; a refusal is
    text with ``stop_reason`` ``refusal``.
    responses: usage in the last event, after which there is nothing; reasoning is an item, with ``encrypted_content``
    if ``include`` asks for it (or ``signature``); an error in the stream is ``response.failed``, as an event ``error``.
    gemini: usage in every chunk, no end but ``finishReason``; a call comes whole, when its last token is made (one that
    the limit cuts never comes); a ``thoughtSignature`` stands on the first call, else on the last part, with
    ``signature`` on a thought of its own; a refusal is text and ``SAFETY``, ``blocked`` is ``promptFeedback``.
    embeddings and token counts are JSON and know what a JSON answer can do: errors, breaking off, time, usage.
For benchmarks: ``bench-json`` (``sim-tokens-120``: a JSON answer of about 1 KB), ``bench-burst``
(``sim-tokens-200-burst``: 203 frames, 204 with usage, in one write), ``bench-paced`` (``sim-tokens-200-pace-20ms``).
Every answer of theirs has the same bytes, so that it is made once.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

import attrs

from ainf.simulator.passages import TextChoice, TextKind


class UnknownModelError(Exception):
    """The name asks for nothing that the simulator knows."""


class Fault(StrEnum):
    """A way for an answer to break off."""

    RESET = "reset"
    CLOSE = "close"
    STALL = "stall"
    EOF = "eof"
    CUT_CHUNK = "cut-chunk"
    CUT_JSON = "cut-json"
    STALL_MID = "stall-mid"
    ERROR = "error"
    ERROR_STRING = "error-string"
    ERROR_EVENT = "error-event"
    ENDLESS_COMMENTS = "endless-comments"
    ENDLESS_LINE = "endless-line"


class Point(StrEnum):
    """Where an answer breaks off."""

    BEFORE_HEAD = "before-head"
    AFTER_HEAD = "after-head"
    AFTER_TOKENS = "after"
    AFTER_FINISH = "after-finish"
    AFTER_USAGE = "after-usage"


@attrs.frozen
class Strike:
    """A fault at a point; ``tokens`` belongs to ``AFTER_TOKENS``."""

    fault: Fault
    point: Point
    tokens: int = 0


class Usage(StrEnum):
    """When a stream tells its usage."""

    ASKED = "asked"
    NEVER = "never"
    ALWAYS = "always"
    CONTINUOUS = "continuous"
    IN_FINISH = "in-finish"
    TWICE = "twice"


class Say(StrEnum):
    """What an answer says after its reasoning."""

    TEXT = "text"
    REFUSAL = "refusal"
    TOOLS = "tools"
    PARALLEL_TOOLS = "parallel-tools"


class Writes(StrEnum):
    """How frames become writes."""

    FRAME = "frame"
    BURST = "burst"
    DRIP = "drip"


@attrs.frozen
class Behaviour:
    """What to answer, when, and how to break it; the fields follow the options of the module's docstring."""

    say: Say = Say.TEXT
    tokens: int = 20
    per_frame: int = 1
    text_kinds: tuple[TextKind, ...] = ()
    """Empty: words of four bytes, each a token."""
    passage: int | None = None
    passage_step: int = 1
    passage_offset: int = 0
    reasoning: int = 0
    raw_reasoning: bool = False
    hidden_reasoning: int = 0
    signature: bool = False
    blocked: bool = False
    finish: str | None = None
    cached: int = 0
    cache_write: int = 0
    long_cache_write: int = 0
    unlimited: bool = False
    endless: bool = False
    delay_s: float = 0.0
    pace_s: float = 0.0
    bills_on: bool = False
    writes: Writes = Writes.FRAME
    drip_s: float = 0.0
    usage: Usage = Usage.ASKED
    usage_lie: str | None = None
    error_status: int | None = None
    overloaded: bool = False
    error_html: bool = False
    error_list: bool = False
    retry_after: str | None = None
    redirect: int | None = None
    takes_tools: bool = True
    streams: bool = True
    strike: Strike | None = None
    short_body: bool = False
    comments: bool = False
    pings: bool = False
    crlf: bool = False
    multi_data: bool = False
    unknown_fields: bool = False
    finish_with_content: bool = False
    done: bool = True
    finishes: int = 1
    content_after_finish: bool = False
    data_after_done: bool = False
    broken_frames: int = 0
    invalid_utf8: bool = False
    json_for_sse: bool = False
    sse_for_json: bool = False
    ndjson: bool = False
    gzip: bool = False
    content_type: str | None = None
    """None: the right one; empty: none at all."""
    whole: str | None = None
    """A key of ``faults.WHOLE``."""
    constant: bool = False
    """Every answer has the same bytes."""

    @property
    def text(self) -> TextChoice | None:
        """The real text that is said; None where words of four bytes are."""
        if not self.text_kinds:
            return None
        return TextChoice(self.text_kinds, self.passage, self.passage_step, self.passage_offset)


@attrs.frozen
class Option:
    """A word of a model's name: what it changes, given the value after it (if it takes one)."""

    changes: Callable[[str], Mapping[str, Any]]
    takes_value: bool = False


_TIME = re.compile(r"(\d{1,6}(?:\.\d{1,6})?)(ms|s)?", re.ASCII)
_NUMBER = re.compile(r"\d{1,9}", re.ASCII)
_BENCH: Final = MappingProxyType({
    "bench-json": "sim-tokens-120",
    "bench-burst": "sim-tokens-200-burst",
    "bench-paced": "sim-tokens-200-pace-20ms",
})


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise UnknownModelError(f"{text!r} is not a number")
    return int(text)


def _seconds(text: str) -> float:
    match = _TIME.fullmatch(text)
    if not match:
        raise UnknownModelError(f"{text!r} is not a time")
    return float(match[1]) / (1000 if match[2] == "ms" else 1)


def _status(text: str) -> int:
    if not 200 <= _number(text) <= 999:
        raise UnknownModelError(f"{text!r} is not a final status")
    return _number(text)


def _flag(**changes: object) -> Option:
    return Option(lambda _: changes)


def _valued(field: str, parse: Callable[[str], Any]) -> Option:
    return Option(lambda text: {field: parse(text)}, takes_value=True)


def _strikes() -> Iterator[tuple[str, Option]]:
    """Yield the options that break an answer off: each fault at each point where it means something."""
    everywhere = {Fault.RESET, Fault.CLOSE, Fault.STALL}
    endless = {Fault.ENDLESS_COMMENTS, Fault.ENDLESS_LINE}
    for fault in set(Fault) - endless:
        for point in Point:
            if point is Point.AFTER_TOKENS:
                yield f"{fault}-{point}", _strike_after(fault)
            elif fault in everywhere or (fault is Fault.EOF and point is not Point.BEFORE_HEAD):
                yield f"{fault}-{point}", _flag(strike=Strike(fault, point))
    yield "error-first", _flag(strike=Strike(Fault.ERROR, Point.AFTER_TOKENS, 0))
    for fault in endless:
        yield fault, _flag(strike=Strike(fault, Point.AFTER_TOKENS, 1))


def _strike_after(fault: Fault) -> Option:
    return Option(lambda text: {"strike": Strike(fault, Point.AFTER_TOKENS, _number(text))}, takes_value=True)


OPTIONS: Final[Mapping[str, Option]] = MappingProxyType({
    "tokens": _valued("tokens", _number),
    "per-frame": _valued("per_frame", lambda text: max(1, _number(text))),
    **{f"text-{kind}": _flag(text_kinds=(kind,)) for kind in TextKind},
    "text-mixed": _flag(text_kinds=tuple(TextKind)),
    "passage": _valued("passage", _number),
    "evens": _flag(passage_step=2, passage_offset=0),
    "odds": _flag(passage_step=2, passage_offset=1),
    "tools": _flag(say=Say.TOOLS),
    "parallel-tools": _flag(say=Say.PARALLEL_TOOLS),
    "reasoning": _valued("reasoning", _number),
    "raw-reasoning": _flag(raw_reasoning=True),
    "hidden-reasoning": _valued("hidden_reasoning", _number),
    "signature": _flag(signature=True),
    "refusal": _flag(say=Say.REFUSAL),
    "blocked": _flag(blocked=True, tokens=0, finish="content_filter"),
    "finish": _valued("finish", str),
    "cached": _valued("cached", _number),
    "cache-write": _valued("cache_write", _number),
    "cache-write-1h": _valued("long_cache_write", _number),
    "unlimited": _flag(unlimited=True),
    "endless": _flag(endless=True),
    "delay": _valued("delay_s", _seconds),
    "pace": _valued("pace_s", _seconds),
    "bills-on": _flag(bills_on=True),
    "burst": _flag(writes=Writes.BURST),
    "drip": _flag(writes=Writes.DRIP),
    "drip-every": Option(lambda text: {"writes": Writes.DRIP, "drip_s": _seconds(text)}, takes_value=True),
    "no-usage": _flag(usage=Usage.NEVER),
    "usage-always": _flag(usage=Usage.ALWAYS),
    "usage-continuous": _flag(usage=Usage.CONTINUOUS),
    "usage-in-finish": _flag(usage=Usage.IN_FINISH),
    "usage-twice": _flag(usage=Usage.TWICE),
    **{
        f"usage-{lie}": _flag(usage_lie=lie)
        for lie in ("negative", "huge", "float", "string", "absurd", "null", "bool", "list", "zero", "nan")
    },
    "error": _valued("error_status", _status),
    "overloaded": _flag(overloaded=True),
    "html": _flag(error_html=True),
    "error-list": _flag(error_list=True),
    "retry-after": _valued("retry_after", str),
    "redirect": _valued("redirect", _status),
    "no-tools": _flag(takes_tools=False),
    "no-stream": _flag(streams=False),
    **dict(_strikes()),
    "cut-length": _flag(short_body=True),
    "comments": _flag(comments=True),
    "pings": _flag(pings=True),
    "crlf": _flag(crlf=True),
    "multi-data": _flag(multi_data=True),
    "unknown-fields": _flag(unknown_fields=True),
    "finish-with-content": _flag(finish_with_content=True),
    "no-done": _flag(done=False),
    "broken-json": _valued("broken_frames", _number),
    "invalid-utf8": _flag(invalid_utf8=True),
    "done-only": _flag(finishes=0, usage=Usage.NEVER),
    "two-finishes": _flag(finishes=2),
    "content-after-finish": _flag(content_after_finish=True),
    "data-after-done": _flag(data_after_done=True),
    "json-for-sse": _flag(json_for_sse=True),
    "sse-for-json": _flag(sse_for_json=True),
    "ndjson": _flag(ndjson=True, content_type="application/x-ndjson"),
    "gzip": _flag(gzip=True),
    "type-json": _flag(content_type="application/json"),
    "type-text": _flag(content_type="text/plain"),
    "type-html": _flag(content_type="text/html; charset=utf-8"),
    "no-type": _flag(content_type=""),
    **{
        name: _flag(whole=name)
        for name in (
            "not-http",
            "bad-status-line",
            "tls-bytes",
            "html-200",
            "binary-200",
            "empty-200",
            "empty-stream",
            "status-204",
            "two-lengths",
            "huge-header",
        )
    },
})
_LONGEST_OPTION: Final = max(name.count("-") + 1 for name in OPTIONS)


@lru_cache(maxsize=1024)
def parse_model(name: str) -> Behaviour:
    """Return what a model's name asks for.

    Raises:
        UnknownModelError: the name is not of the grammar above; the message says which word.
    """
    constant = name in _BENCH
    first, *words = re.split(r"[-+]", _BENCH.get(name, name))
    if first != "sim":
        raise UnknownModelError(f"{name!r} does not begin with 'sim'")
    changes: dict[str, Any] = {}
    while words:
        option, words = _take_option(words)
        value = ""
        if option.takes_value:
            if not words:
                raise UnknownModelError(f"{name!r} lacks its last value")
            value, *words = words
        changes.update(option.changes(value))
    return Behaviour(**changes, constant=constant)


def _take_option(words: list[str]) -> tuple[Option, list[str]]:
    """Return the option that the first words name (the longest such) and the words after it."""
    for count in range(min(_LONGEST_OPTION, len(words)), 0, -1):
        option = OPTIONS.get("-".join(words[:count]))
        if option is not None:
            return option, words[count:]
    raise UnknownModelError(f"unknown option at {'-'.join(words)[:80]!r}")
