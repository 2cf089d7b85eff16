"""What an answer says, beat by beat, free of wire formats: text, reasoning, tool calls, finish, usage.

Tokens can be counted by hand: an output token is four ASCII bytes ("tok "), an input token four bytes of the messages'
contents, rounded up. Where real text is said (``ainf.simulator.passages``), tokens are those of a real tokenizer. Which
words are said is a pure function of the seed and the request's number.
"""

import base64
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from enum import Enum, StrEnum, auto
from typing import Final

import attrs
import msgspec

from ainf.simulator.behaviour import Behaviour, Say, Usage
from ainf.simulator.passages import Piece, spoken, up_to

TOKEN_BYTES: Final = 4
_ENDLESS_JSON_FACTOR = 4
_FIRST_CREATED = 1_750_000_000
UNKNOWN: Final = {"nested": [1, {"deep": None}], "text": "data: [DONE]\n\n"}
"""What stands as ``x_unknown`` where fields shall be there that no one knows."""

_TEXT: Final = (
    "act add aim air all and any arc ask bay bee bid big bit box bus can cup cut day dry ear egg end "
    "far few fig fit fly fog fun gap get gem hat ice ink jar joy key law let lid log map mix net new "
    "nod now oak oar off oil old one our own pay pen red run sea see "
)
_WORDS: Final = tuple(_TEXT[at : at + TOKEN_BYTES] for at in range(0, len(_TEXT), TOKEN_BYTES))
_AFTERTHOUGHT: Final = "yet "
_ENDLESS_CYCLE: Final = 4096
_PIECES: Final = {word: Piece(word) for word in _WORDS}
assert len(_WORDS) == 64


@attrs.frozen
class Tool:
    """A tool of the request: its name, and the argument to fill."""

    name: str
    argument: str


_DEFAULT_TOOL: Final = Tool("get_weather", "text")


class Task(StrEnum):
    """What a request wants done."""

    GENERATE = auto()
    EMBED = auto()
    COUNT = auto()
    """Its tokens counted; no model is set to work, and nothing is billed."""


@attrs.frozen
class Ask:
    """What a request asks for, free of the format."""

    model: str
    stream: bool
    include_usage: bool
    """Whether a stream was asked for its usage, in a format where that can be asked."""
    max_tokens: int | None
    input_tokens: int
    tools: tuple[Tool, ...] = ()
    may_call: bool = True
    """False when the request forbids calls, or brings the result of one."""
    task: Task = Task.GENERATE
    habit: Usage = Usage.ASKED
    """When a stream of this format tells its usage, unless a behaviour says otherwise."""
    echo: bytes = b""
    """What of the request the format needs to know again for its answer, as JSON of the format's own."""


class BeatKind(Enum):
    """What happens in a beat."""

    START = auto()
    HIDDEN = auto()
    REASONING = auto()
    TEXT = auto()
    REFUSAL = auto()
    TOOL_START = auto()
    TOOL_ARGUMENTS = auto()
    FINISH = auto()
    USAGE = auto()
    DONE = auto()


_REASONING: Final = frozenset({BeatKind.HIDDEN, BeatKind.REASONING})


@attrs.frozen
class Counts:
    """The tokens of an answer, as its usage tells them."""

    input: int
    cached: int
    output: int
    reasoning: int
    cache_write: int = 0
    """The part of the input that was written to a cache for the usual time; not among the cached."""
    long_cache_write: int = 0
    """The part that was written for longer."""


@attrs.frozen
class Beat:
    """One thing that happens in an answer; usually one frame."""

    kind: BeatKind
    text: str = ""
    """What is said; in ``TOOL_START`` the tool's name."""
    tokens: int = 0
    call: int = 0
    """Which tool call, from 0."""
    counts: Counts | None = None
    """The usage so far, where the beat tells it."""
    ends_call: bool = False
    """Whether the arguments of the call are whole with this beat."""

    @property
    def text_bytes(self) -> int:
        """Bytes of visible output in this beat."""
        if self.kind is BeatKind.TOOL_START:
            return 0
        return len(self.text) if self.text.isascii() else len(self.text.encode())


@attrs.frozen
class Answer:
    """An answer before any format."""

    number: int
    ask: Ask
    beats: Iterable[Beat]
    """A generator where the answer is endless, a list otherwise."""
    finish_reason: str
    """In the words of chat completions: stop, length, tool_calls, content_filter, or whatever was asked for."""
    counts: Counts | None
    """The usage of the whole answer; None where it is never told."""
    behaviour: Behaviour
    """For what only a format can show: odd fields, lies, the shape of reasoning."""

    @property
    def created(self) -> int:
        """Unix seconds: made up, so that the same request gives the same bytes."""
        return _FIRST_CREATED + self.number

    @property
    def serial(self) -> str:
        """The request's number as ids have it."""
        return f"sim_{self.number:08d}"

    @property
    def opaque(self) -> str:
        """What only this provider can read of its reasoning (a signature, an encrypted thought), in base64."""
        return base64.b64encode(b"reasoning of %d" % self.number).decode("ascii")

    def call_id(self, call: int) -> str:
        """Return the id of a tool call."""
        return f"call_{self.serial}_{call}"


def words(seed: int, number: int, count: int) -> Sequence[str]:
    """Return ``count`` tokens of text, a pure function of the arguments; fewer are a prefix of more."""
    digest = hashlib.shake_128(b"%d/%d" % (seed, number)).digest(count)
    return [_WORDS[byte & 63] for byte in digest]


def _pieces(behaviour: Behaviour, seed: int, number: int, tokens: int) -> Iterable[Piece]:
    """Return text of as many tokens; of fewer, where the last piece would be too many."""
    if behaviour.text is None:
        return [_PIECES[word] for word in words(seed, number, tokens)]
    return up_to(spoken(behaviour.text, seed=seed, number=number), tokens)


def compose(ask: Ask, behaviour: Behaviour, *, seed: int, number: int) -> Answer:
    """Return what is answered to request ``number``."""
    if behaviour.usage in {Usage.ASKED, Usage.ALWAYS} and ask.habit is not Usage.ASKED:
        behaviour = attrs.evolve(behaviour, usage=ask.habit)
    if behaviour.endless and not ask.stream:
        longer = _ENDLESS_JSON_FACTOR * (ask.max_tokens or behaviour.tokens)
        behaviour = attrs.evolve(behaviour, tokens=longer, unlimited=True, endless=False)
    if behaviour.endless:
        beats, finish_reason = _endless(behaviour, seed, number), "stop"
    elif ask.task is not Task.GENERATE:
        beats, finish_reason = iter(()), "stop"
    else:
        said, finish_reason = _said(ask, behaviour, seed, number)
        beats = iter(_closed(_grouped(said, behaviour.per_frame), ask, behaviour))
    told = _telling(beats, ask, behaviour)
    walked = told if behaviour.endless else list(told)
    never_told = behaviour.endless or behaviour.usage is Usage.NEVER
    return Answer(
        number=number,
        ask=ask,
        beats=walked,
        finish_reason=behaviour.finish or finish_reason,
        counts=None if never_told else _counts(walked, ask, behaviour),
        behaviour=behaviour,
    )


def _said(ask: Ask, behaviour: Behaviour, seed: int, number: int) -> tuple[list[Beat], str]:
    """Return what is said, a piece a beat, within the request's limit, and why it ends."""
    calls = _calls(ask, behaviour)
    beats = [Beat(BeatKind.HIDDEN, tokens=1)] * behaviour.hidden_reasoning
    beats += _as_beats(BeatKind.REASONING, _pieces(behaviour, seed, number, behaviour.reasoning))
    text = words(seed, number, behaviour.tokens * len(calls))
    for index, tool in enumerate(calls):
        beats += _call(index, tool, text[index * behaviour.tokens : (index + 1) * behaviour.tokens])
    if not calls:
        kind = BeatKind.REFUSAL if behaviour.say is Say.REFUSAL else BeatKind.TEXT
        beats += _as_beats(kind, _pieces(behaviour, seed, number, behaviour.tokens))
    limit = None if behaviour.unlimited else ask.max_tokens
    if limit is not None and sum(beat.tokens for beat in beats) > limit:
        return _first_tokens(beats, limit), "length"
    return beats, "tool_calls" if calls else "stop"


def _as_beats(kind: BeatKind, pieces: Iterable[Piece]) -> list[Beat]:
    return [Beat(kind, piece.text, piece.tokens) for piece in pieces]


def _calls(ask: Ask, behaviour: Behaviour) -> Sequence[Tool]:
    if behaviour.say not in {Say.TOOLS, Say.PARALLEL_TOOLS} or not ask.may_call:
        return ()
    tools = ask.tools or (_DEFAULT_TOOL,)
    return tools[:1] if behaviour.say is Say.TOOLS else (tools * 2)[:2]


def _call(index: int, tool: Tool, text: Sequence[str]) -> Iterator[Beat]:
    yield Beat(BeatKind.TOOL_START, tool.name, call=index)
    bare = len(msgspec.json.encode({tool.argument: ""}))
    said = "".join(text[-(-bare // TOKEN_BYTES) :] or text[-1:])
    arguments = msgspec.json.encode({tool.argument: said}).decode()
    for at in range(0, len(arguments), TOKEN_BYTES):
        is_last = at + TOKEN_BYTES >= len(arguments)
        yield Beat(BeatKind.TOOL_ARGUMENTS, arguments[at : at + TOKEN_BYTES], 1, index, ends_call=is_last)


def _first_tokens(beats: Iterable[Beat], limit: int) -> list[Beat]:
    first: list[Beat] = []
    for beat in beats:
        limit -= beat.tokens
        if limit < 0:
            break
        first.append(beat)
    return first


def _grouped(beats: Sequence[Beat], size: int) -> list[Beat]:
    """Return the beats with up to ``size`` neighbours of a kind made one."""
    if size == 1:
        return list(beats)
    grouped: list[Beat] = []
    for (kind, call), same in itertools.groupby(beats, key=lambda beat: (beat.kind, beat.call)):
        run = list(same)
        for at in range(0, len(run), size):
            part = run[at : at + size]
            text = "".join(beat.text for beat in part)
            tokens = sum(beat.tokens for beat in part)
            grouped.append(Beat(kind, text, tokens, call, ends_call=part[-1].ends_call))
    return grouped


def _closed(spoken: list[Beat], ask: Ask, behaviour: Behaviour) -> list[Beat]:
    """Return the beats of a whole stream: its start, what is said, and how it ends."""
    finish = Beat(BeatKind.FINISH)
    if behaviour.finish_with_content and spoken and spoken[-1].kind is BeatKind.TEXT:
        finish = attrs.evolve(spoken.pop(), kind=BeatKind.FINISH)
    beats = [Beat(BeatKind.START), *spoken]
    if behaviour.finishes:
        beats += [finish, *[Beat(BeatKind.FINISH)] * (behaviour.finishes - 1)]
    if behaviour.content_after_finish:
        beats.append(Beat(BeatKind.TEXT, _AFTERTHOUGHT, 1))
    beats += [Beat(BeatKind.USAGE)] * _usage_beats(ask, behaviour)
    if behaviour.done:
        beats.append(Beat(BeatKind.DONE))
    if behaviour.data_after_done:
        beats.append(Beat(BeatKind.TEXT, _AFTERTHOUGHT, 1))
    return beats


def _usage_beats(ask: Ask, behaviour: Behaviour) -> int:
    """Return how many beats of their own tell the usage; where the finish tells it, a second time is one more."""
    match behaviour.usage:
        case Usage.TWICE:
            return 2 if ask.habit is Usage.ASKED else 1
        case Usage.ALWAYS:
            return 1
        case Usage.ASKED | Usage.CONTINUOUS:
            return 1 if ask.include_usage else 0
        case Usage.NEVER | Usage.IN_FINISH:
            return 0


def _endless(behaviour: Behaviour, seed: int, number: int) -> Iterator[Beat]:
    yield Beat(BeatKind.START)
    text = _as_beats(BeatKind.TEXT, _pieces(behaviour, seed, number, _ENDLESS_CYCLE))
    yield from itertools.cycle(text)


def _telling(beats: Iterator[Beat], ask: Ask, behaviour: Behaviour) -> Iterator[Beat]:
    """Yield the beats, with the counts so far on those that tell their usage."""
    tellers = _tellers(ask, behaviour)
    output = reasoning = 0
    for beat in beats:
        output += beat.tokens
        reasoning += beat.tokens if beat.kind in _REASONING else 0
        if beat.kind in tellers:
            yield attrs.evolve(beat, counts=_told(ask, behaviour, output, reasoning))
        else:
            yield beat


def _tellers(ask: Ask, behaviour: Behaviour) -> AbstractSet[BeatKind]:
    """Return the beats that tell the usage so far."""
    match behaviour.usage:
        case Usage.NEVER:
            return set()
        case Usage.CONTINUOUS:
            return set(BeatKind)
        case Usage.IN_FINISH:
            tellers = {BeatKind.FINISH}
        case Usage.TWICE if ask.habit is not Usage.ASKED:
            tellers = {BeatKind.FINISH, BeatKind.USAGE}
        case _:
            tellers = {BeatKind.USAGE}
    # A format that tells its usage with the finish tells that of the input at the start.
    return tellers | {BeatKind.START} if ask.habit is Usage.IN_FINISH else tellers


def _counts(beats: Iterable[Beat], ask: Ask, behaviour: Behaviour) -> Counts:
    output = sum(beat.tokens for beat in beats)
    reasoning = sum(beat.tokens for beat in beats if beat.kind in _REASONING)
    return _told(ask, behaviour, output, reasoning)


def _told(ask: Ask, behaviour: Behaviour, output: int, reasoning: int) -> Counts:
    cached = min(behaviour.cached, ask.input_tokens)
    long_write = min(behaviour.long_cache_write, ask.input_tokens - cached)
    write = min(behaviour.cache_write, ask.input_tokens - cached - long_write)
    return Counts(ask.input_tokens, cached, output, reasoning, write, long_write)
