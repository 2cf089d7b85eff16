"""Passages of real text, cut at the boundaries of a real tokenizer: English, Chinese, code and JSON.

All of it was written for this purpose; the cuts are those of o200k_base, the tokenizer of OpenAI's models since GPT-4o
(``benchmarks/tokenise.py`` made them, and says how). So an answer has a true number of tokens, which no ratio of bytes
gives away: that is what a meter is tried on.

A *piece* is what is said at once: a token, or the few tokens that only together are whole characters.
"""

import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Final

import attrs
import msgspec


class TextKind(StrEnum):
    """What kind of text is said."""

    ENGLISH = "english"
    CHINESE = "chinese"
    CODE = "code"
    JSON = "json"


@attrs.frozen
class Piece:
    """Whole tokens that are whole characters."""

    text: str
    tokens: int = 1


@attrs.frozen
class TextChoice:
    """Which text is said, and from where."""

    kinds: tuple[TextKind, ...]
    """Of which each answer is one, as the request's number has it."""
    passage: int | None = None
    """The passage that it begins with (counted round); None: any, and anywhere in it, by the number again."""
    step: int = 1
    offset: int = 0
    """Only each ``step``-th passage is said, from ``offset`` on: what was learnt of some is tried on others."""


_folder: Final = resources.files("ainf.simulator") / "corpora"


@cache
def passages(kind: TextKind) -> Sequence[Sequence[Piece]]:
    """Return all passages of a kind, in order."""
    cut = msgspec.json.decode((_folder / f"{kind}.json").read_bytes(), type=list[list[str | tuple[str, int]]])
    return tuple(tuple(Piece(p) if isinstance(p, str) else Piece(*p) for p in passage) for passage in cut)


@cache
def passage_texts(kind: TextKind) -> Sequence[str]:
    """Return the passages of a kind as texts, to be sent in requests."""
    return tuple("".join(piece.text for piece in passage) for passage in passages(kind))


@cache
def _token_counts() -> Mapping[str, int]:
    return {
        text: sum(piece.tokens for piece in passage)
        for kind in TextKind
        for text, passage in zip(passage_texts(kind), passages(kind), strict=True)
    }


def token_count(text: str) -> int | None:
    """Return the true number of tokens of a text that is a whole passage; None of any other."""
    return _token_counts().get(text)


def spoken(choice: TextChoice, *, seed: int, number: int) -> Iterator[Piece]:
    """Yield pieces without an end: a pure function of the arguments."""
    digest = hashlib.shake_128(b"%d/%d" % (seed, number)).digest(12)
    by_passage, by_place, by_kind = (int.from_bytes(digest[start : start + 4]) for start in (0, 4, 8))
    chosen = passages(choice.kinds[by_kind % len(choice.kinds)])[choice.offset :: choice.step]
    if choice.passage is not None:
        first, at = choice.passage % len(chosen), 0
    else:
        first = by_passage % len(chosen)
        at = by_place % len(chosen[first])
    text = itertools.chain(*chosen[first:], *chosen[:first])
    return itertools.islice(itertools.cycle(text), at, None)


def up_to(pieces: Iterator[Piece], tokens: int) -> Iterator[Piece]:
    """Yield pieces as long as they come to no more than so many tokens."""
    for piece in pieces:
        tokens -= piece.tokens
        if tokens < 0:
            return
        yield piece
