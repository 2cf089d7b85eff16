"""The targets: what is fuzzed, with what it begins and how it is changed. A target raises where a promise is broken."""

import base64
import zlib
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Final

import attrs

from ainf.formats.registry import FORMATS
from ainf.protocols.registry import ENDPOINTS
from tests.fuzz import answers, asked, corpus, edge, kept, mutate, provider
from tests.fuzz.mutate import Mutator


@attrs.frozen
class Target:
    """One kind of input."""

    name: str
    check: Callable[[bytes], None]
    """Takes an input (``mutate.HEAD_BYTES`` of choices, then a body); raises where a promise is broken."""
    seeds: Callable[[], Sequence[bytes]]
    """Bodies to begin with."""
    mutator: Mutator
    weight: int = 1
    """How many inputs it gets where another gets one: the cheaper, the more."""


def _all() -> list[Target]:
    return [
        Target("sse", answers.events, corpus.streams, mutate.mutate_stream, 4),
        *(
            Target(
                f"answer-{name}",
                partial(answers.generated, name),
                partial(corpus.answers, name),
                mutate.mutate_answer,
                3,
            )
            for name in FORMATS
        ),
        Target("answer-embeddings", answers.embeddings, corpus.embeddings, mutate.mutate_json),
        Target("answer-count", answers.counts, corpus.counts, mutate.mutate_json),
        Target("refusal", answers.refusals, corpus.refusals, mutate.mutate_refusal, 4),
        *(
            Target(_named(path), partial(asked.request, path), partial(corpus.requests, path), mutate.mutate_json, 4)
            for path in ENDPOINTS
        ),
        Target("headers", asked.headers, corpus.headers, mutate.mutate_lines, 2),
        Target("edge", edge.connection, corpus.connections, mutate.mutate_http, 4),
        Target("provider", provider.answer, corpus.http_answers, mutate.mutate_http, 4),
        Target("configuration", kept.configuration, corpus.configurations, mutate.mutate_lines),
        Target("spool", kept.spool, corpus.spools, mutate.mutate_spool, 2),
    ]


def _named(path: str) -> str:
    return f"request-{path.removeprefix('/v1/').replace('/', '-')}"


def reproduction(name: str, data: bytes) -> str:
    """Return the line that runs one input again."""
    return f"python -m tests.fuzz {name} --input {base64.b85encode(zlib.compress(data, 9)).decode()!r}"


def input_of(text: str) -> bytes:
    """Return the input in such a line."""
    return zlib.decompress(base64.b85decode(text))


TARGETS: Final[Mapping[str, Target]] = MappingProxyType({target.name: target for target in _all()})
